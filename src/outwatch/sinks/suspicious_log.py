"""The suspicious log: one line for each suspicious connection, for people and for grep."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from outwatch.engine.verdict import ORDER
from outwatch.guard.files import append_line
from outwatch.guard.text import printable
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Band, Connection, Record, asked_name
from outwatch.net.endpoints import endpoint

_REMEMBERED = 100_000


class SuspiciousLogConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``enabled``: write the log also without ``--log``; ``file``: its name in ``log_dir``, or a whole path."""

    enabled: bool = False
    file: str = "suspicious.log"


class SuspiciousLog:
    """Appends a line when a connection's verdict reaches the level, and another only if it gets worse."""

    name: ClassVar[str] = "suspicious_log"
    settled: ClassVar[bool] = True  # a line can't be taken back when a checksum turns up that an entry allows

    def __init__(self, _config: SuspiciousLogConfig, *, path: Path, level: Band) -> None:
        """Take the file and the band from which a connection is written; ``OutputError`` if it can't be written to."""
        self._path = path
        self._level = max(ORDER[level], ORDER["normal"])
        self._written: OrderedDict[str, int] = OrderedDict()
        append_line(path, [])

    async def write(self, records: Sequence[Record]) -> None:
        """Append lines for those records that are bad enough and not there yet."""
        lines: list[str] = []
        noted: dict[str, int] = {}
        for record in records:
            if not isinstance(record, Connection) or record.outwatch.verdict is None:
                continue
            badness = ORDER[record.outwatch.verdict]
            if badness >= self._level and badness > noted.get(record.id, self._written.get(record.id, 0)):
                lines.append(line(record))
                noted[record.id] = badness
        if lines:
            append_line(self._path, lines)
        for identity, badness in noted.items():
            self._written[identity] = badness
            if len(self._written) > _REMEMBERED:
                self._written.popitem(last=False)

    async def close(self) -> None:
        """Nothing is held open between lines."""


def line(record: Connection) -> str:
    """Spell a record in the log's form (``docs/reference/suspicious-log.md``): local time, process, ends, and why."""
    process, source, destination, findings = record.process, record.source, record.destination, record.outwatch
    try:
        when = record.timestamp.astimezone()
    except OverflowError:  # year 1 or 9999: local time lies outside of the calendar
        when = record.timestamp
    name = printable(process.name or process.executable or "unknown", 100) if process else "unknown"
    pid = process.pid if process and process.pid is not None else "unknown"
    reason = printable(findings.reasons[0].reason, 200) if findings.reasons else "no reason given"
    asked = asked_name(record)
    domain = printable(asked, 253) if asked else "no name"
    return (
        f"{when.isoformat(' ', 'seconds')[:19]} - WARNING - Process: {name} (PID: {pid}) => {endpoint(destination.ip, destination.port)}"
        f" (local port {source.port if source.port is not None else 'unknown'})"
        f" [{domain}; {findings.verdict} {findings.score}; {reason}]"
    )


PART = Part(name="suspicious_log", config=SuspiciousLogConfig, build=SuspiciousLog)

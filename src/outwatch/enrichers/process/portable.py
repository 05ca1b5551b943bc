"""Processes on systems without /proc, through psutil."""

from collections.abc import Callable
from typing import TypeVar

import psutil

from outwatch.enrichers.process.facts import Birth, Facts, bounded_args
from outwatch.guard.text import cleaned

_Value = TypeVar("_Value")


class PortableReader:
    """Reads processes through psutil; whatever can't be read is ``None``."""

    def birth(self, pid: int) -> Birth | None:
        """Give the process that has ``pid`` now."""
        start = _ask(lambda: psutil.Process(pid).create_time())
        return None if start is None else Birth(pid, start, f"{start:.6f}")

    def mark(self, pid: int) -> str | None:
        """Give what changes when the process executes another program."""
        return _ask(lambda: psutil.Process(pid).exe())

    def facts(self, pid: int) -> Facts:
        """Read everything about ``pid``."""
        process = _ask(lambda: psutil.Process(pid))
        if process is None:
            return Facts()
        with process.oneshot():
            name, executable, args = _ask(process.name), _ask(process.exe), _ask(process.cmdline)
            directory, user = _ask(process.cwd), _ask(process.username)
            uids = getattr(process, "uids", None)
            uid = _ask(uids) if uids else None
            return Facts(
                name=cleaned(name) if name else None,
                executable=cleaned(executable) if executable else None,
                args=bounded_args(args) if args else None,
                working_directory=cleaned(directory) if directory else None,
                user_id=str(uid.effective) if uid else None,
                user_name=cleaned(user) if user else None,
                parent=_ask(process.ppid) or None,
                mark=executable,
            )

    def user_name(self, user: str | None) -> str | None:  # noqa: ARG002
        """Know no names by id: psutil gives them with the process."""
        return None


def _ask(question: Callable[[], _Value]) -> _Value | None:
    try:
        return question()
    except (psutil.Error, OSError):
        return None

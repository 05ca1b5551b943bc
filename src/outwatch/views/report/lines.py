"""A report as JSON lines: a record for each row, ``outwatch.count`` says for how many it stands; the summary last."""

from typing import BinaryIO

from outwatch.model import wire
from outwatch.views.report import Report


def render(report: Report, out: BinaryIO) -> None:
    """Write the records and the summary."""
    out.writelines(wire.encode(row.record) + b"\n" for row in report.rows)
    out.write(wire.encode(report.summary) + b"\n")

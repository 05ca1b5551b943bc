"""A report as one JSON document, in the form of ``--json``."""

from typing import BinaryIO

from outwatch.model import wire
from outwatch.views.report import Report


def render(report: Report, out: BinaryIO) -> None:
    """Write the document."""
    out.writelines(wire.document_pieces((row.record for row in report.rows), report.summary))
    out.write(b"\n")

"""Makes the pictures of the documentation: ``python docs/pictures/make.py`` (needs LibreOffice and pdftoppm).

A made-up recording becomes a workbook, LibreOffice prints it, and the upper parts of the first pages are kept as PNG.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from outwatch.model import wire
from sample import records

_HERE = Path(__file__).parent
_PUBLIC = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]
_DOTS_PER_INCH = "130"
_PICTURES = {"workbook-summary": 960, "workbook-connections": 220}  # pages of the print in their order, and how much of each, in dots


def workbook(folder: Path) -> Path:
    """Make the workbook of the sample as a user would."""
    recording, made, settings = folder / "sample.jsonl", folder / "report.xlsx", folder / "config.toml"
    recording.write_bytes(b"".join(wire.encode(record) + b"\n" for record in records()))
    settings.write_text(f"[scope]\npublic = {_PUBLIC}\n")
    arguments = ["report", "--from", str(recording), "-o", str(made), "--config", str(settings), "--no-dns", "--lookups", "off", "--quiet"]
    subprocess.run([sys.executable, "-m", "outwatch", *arguments], check=True, stdout=subprocess.DEVNULL)
    return made


def printed(book: Path, folder: Path) -> Path:
    """Print a workbook and give the PDF."""
    home = (folder / "office").as_uri()
    office = ["soffice", "--headless", f"-env:UserInstallation={home}", "--convert-to", "pdf", "--outdir", str(folder), str(book)]
    subprocess.run(office, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return book.with_suffix(".pdf")


def main() -> None:
    """Make the pictures anew."""
    with tempfile.TemporaryDirectory() as name:
        pages = printed(workbook(Path(name)), Path(name))
        for number, (target, height) in enumerate(_PICTURES.items(), 1):
            crop = ["-x", "30", "-y", "40", "-W", "1465", "-H", str(height)]
            page = ["-f", str(number), "-l", str(number), "-singlefile"]
            subprocess.run(["pdftoppm", "-png", "-r", _DOTS_PER_INCH, *page, *crop, str(pages), str(_HERE / target)], check=True)


if __name__ == "__main__":
    main()

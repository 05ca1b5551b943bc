"""Package databases as their managers write them, below a folder of the test."""

import base64
import gzip
import hashlib
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path

STATUS = """Package: {name}
Status: {state}
Priority: optional
Architecture: {architecture}
Version: {version}
Description: a tool
 Package: nothing

"""


def write(path: Path, data: bytes | str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def merged(root: Path) -> None:
    """Make /bin and /sbin links into /usr."""
    for name in ("bin", "sbin"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")


def dpkg(
    root: Path, name: str, files: dict[str, bytes], version: str = "1.0-1", architecture: str = "", state: str = "install ok installed"
) -> None:
    """Install a package of Debian; ``name`` is that of its lists, with ``:amd64`` where there may be several."""
    info = root / "var/lib/dpkg/info"
    folders = sorted({f"/{'/'.join(path.split('/')[1:end])}" for path in files for end in range(2, path.count("/") + 1)})
    write(info / f"{name}.list", "\n".join(["/.", *folders, *files]) + "\n")
    sums = [f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}  {path[1:]}" for path, content in files.items()]
    write(info / f"{name}.md5sums", "\n".join(sums) + "\n")
    status = root / "var/lib/dpkg/status"
    before = status.read_text() if status.exists() else ""
    text = STATUS.format(name=name.partition(":")[0], version=version, architecture=architecture or "amd64", state=state)
    write(status, before + text)


def apk_paragraph(name: str, files: dict[str, bytes], version: str = "1.0-r0") -> str:
    """Write a package of Alpine as its database has it."""
    lines = ["C:Q1AAAA", f"P:{name}", f"V:{version}", "A:x86_64", "S:1", "T:a tool"]
    for path, content in files.items():
        folder, _, file = path[1:].rpartition("/")
        digest = base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()
        lines += [f"F:{folder}", "M:0:0:1777", f"R:{file}", "a:0:0:755", f"Z:Q1{digest}"]
    return "\n".join(lines) + "\n\n"


def pacman(root: Path, name: str, files: dict[str, bytes], version: str = "1.0-1", *, mtree: bytes | None = None) -> Path:
    """Install a package of Arch."""
    folder = root / "var/lib/pacman/local" / f"{name}-{version}"
    write(folder / "desc", f"%NAME%\n{name}\n\n%VERSION%\n{version}\n\n%DESC%\na tool\n\n")
    write(folder / "files", "%FILES%\nusr/\nusr/bin/\n" + "".join(f"{path[1:]}\n" for path in files) + "\n%BACKUP%\netc/x\tabc\n")
    lines = ["#mtree", "/set type=file uid=0 gid=0 mode=644"]
    for path, content in files.items():
        spelled = path[1:].replace(" ", "\\040")
        lines.append(f"./{spelled} time=1.0 mode=755 size={len(content)} sha256digest={hashlib.sha256(content).hexdigest()}")
    write(folder / "mtree", gzip.compress("\n".join(lines).encode() + b"\n") if mtree is None else mtree)
    return folder


def header(tags: dict[int, tuple[int, Sequence[bytes] | Sequence[int]]]) -> bytes:
    """Write a header of the RPM file format: 4 are numbers of 32 bits, 6 one text, 8 several."""
    entries, data = b"", b""
    for tag, (kind, values) in tags.items():
        if kind == 4:
            data += bytes(-len(data) % 4)
        entries += struct.pack(">IIII", tag, kind, len(data), len(values))
        for value in values:
            data += struct.pack(">I", value) if isinstance(value, int) else value + b"\0"
    return struct.pack(">II", len(tags), len(data)) + entries + data


def rpm_header(name: str, files: dict[str, bytes], version: str = "1.0", release: str = "1.fc40", epoch: int | None = None) -> bytes:
    """Describe a package of Fedora."""
    folders = sorted({path.rpartition("/")[0] + "/" for path in files})
    return header(
        {
            1000: (6, [name.encode()]), 1001: (6, [version.encode()]), 1002: (6, [release.encode()]),
            **({1003: (4, [epoch])} if epoch is not None else {}),
            1035: (8, [hashlib.sha256(content).hexdigest().encode() for content in files.values()]),
            1116: (4, [folders.index(path.rpartition("/")[0] + "/") for path in files]),
            1117: (8, [path.rpartition("/")[2].encode() for path in files]),
            1118: (8, [folder.encode() for folder in folders]),
            5011: (4, [8]),
        }
    )  # fmt: skip


def rpm(place: Path, packages: dict[bytes, list[str]]) -> None:
    """Write a database of headers, each with the names of its files, in the tables that rpm makes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(place)
    database.execute("CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    database.execute("CREATE TABLE 'Basenames' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)")
    for number, (blob, names) in enumerate(packages.items(), 1):
        database.execute("INSERT INTO Packages VALUES (?, ?)", (number, blob))
        database.executemany("INSERT INTO Basenames VALUES (?, ?, ?)", [(name, number, at) for at, name in enumerate(names)])
    database.commit()
    database.close()

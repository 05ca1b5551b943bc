"""Each package manager's own files say whose a path is; what lies or is broken is one error and never another."""

import gzip
import hashlib
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outwatch.lookups.packages.apk import Apk
from outwatch.lookups.packages.claims import Claim, DatabaseBroken, Root, read
from outwatch.lookups.packages.dpkg import Dpkg
from outwatch.lookups.packages.pacman import Pacman
from outwatch.lookups.packages.rpm import Header, Rpm

from .trees import apk_paragraph, dpkg, header, merged, pacman, rpm, rpm_header, write

TOOL = b"\x7fELF tool"
SHA1, SHA256 = hashlib.sha1(TOOL, usedforsecurity=False).hexdigest(), hashlib.sha256(TOOL).hexdigest()
MD5 = hashlib.md5(TOOL, usedforsecurity=False).hexdigest()
APK, RPM = "lib/apk/db/installed", "usr/lib/sysimage/rpm/rpmdb.sqlite"


def of_dpkg(root: Path, path: str = "/usr/bin/tool") -> Claim | None:
    return Dpkg(Root(str(root))).claims([path]).get(path)


def test_a_file_belongs_to_the_package_whose_list_has_it(tmp_path: Path) -> None:
    dpkg(tmp_path, "other", {"/usr/bin/other": b"x"})
    dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL, "/usr/bin/tool2": b"y"}, version="2:1.5-3+deb12u1")
    assert of_dpkg(tmp_path) == Claim("dpkg", "tools", "2:1.5-3+deb12u1", "md5", MD5)


@pytest.mark.parametrize(
    "path", ["/usr/bin/too", "/usr/bin/tool ", "/bin/tool", "tool", "/usr/bin/tool\n/usr/bin/other", "/usr/bin/\udc80"]
)
def test_a_path_that_no_list_has_belongs_to_nobody(tmp_path: Path, path: str) -> None:
    dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL, "/usr/bin/tool2": b"y"})
    assert of_dpkg(tmp_path, path) is None


@pytest.mark.parametrize("piece", [1, 2, 7, 33, 64, 100])
def test_what_is_cut_anywhere_is_put_together_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr("outwatch.lookups.packages.claims._PIECE", piece)
    dpkg(tmp_path, "other", {"/usr/bin/other": b"x", "/usr/bin/tool.1": b"z"}, version="9")
    dpkg(tmp_path, "tools", {"/usr/bin/before": b"b", "/usr/bin/tool": TOOL, "/usr/bin/tool2": b"y"}, version="2:1.5-3+deb12u1")
    dpkg(tmp_path, "tool-extras", {"/usr/share/tool": b"x"}, version="7")
    assert of_dpkg(tmp_path) == Claim("dpkg", "tools", "2:1.5-3+deb12u1", "md5", MD5)
    assert of_dpkg(tmp_path, "/usr/bin/too") is None


def test_many_paths_are_answered_together(tmp_path: Path) -> None:
    for number in range(20):
        dpkg(tmp_path, f"p{number}", {f"/usr/bin/t{number}": b"%d" % number})
    found = Dpkg(Root(str(tmp_path))).claims([f"/usr/bin/t{number}" for number in range(25)])
    assert {path: claim.name for path, claim in found.items()} == {f"/usr/bin/t{number}": f"p{number}" for number in range(20)}


def test_the_lists_are_not_read_when_the_package_is_called_like_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dpkg(tmp_path, "tool", {"/usr/bin/tool": TOOL})
    monkeypatch.setattr("outwatch.lookups.packages.dpkg.os.listdir", lambda _: pytest.fail("all lists were read"))
    claim = of_dpkg(tmp_path)
    assert claim is not None
    assert claim.name == "tool"


def test_a_package_that_is_only_called_like_the_program_does_not_get_it(tmp_path: Path) -> None:
    dpkg(tmp_path, "tool", {"/usr/share/doc/tool": b""})
    dpkg(tmp_path, "real", {"/usr/bin/tool": TOOL})
    claim = of_dpkg(tmp_path)
    assert claim is not None
    assert claim.name == "real"


@pytest.mark.parametrize(
    ("listed", "asked"), [("/bin/tool", "/usr/bin/tool"), ("/usr/bin/tool", "/bin/tool"), ("/sbin/tool", "/usr/sbin/tool")]
)
def test_a_merged_usr_has_two_names_for_a_file(tmp_path: Path, listed: str, asked: str) -> None:
    dpkg(tmp_path, "tools", {listed: TOOL})
    assert of_dpkg(tmp_path, asked) is None
    merged(tmp_path)
    claim = of_dpkg(tmp_path, asked)
    assert claim is not None
    assert (claim.name, claim.digest) == ("tools", MD5)


def test_one_of_several_architectures_has_its_own_version(tmp_path: Path) -> None:
    dpkg(tmp_path, "tools:i386", {"/usr/lib/i386/tool": b"x"}, version="1", architecture="i386")
    dpkg(tmp_path, "tools:amd64", {"/usr/bin/tool": TOOL}, version="2", architecture="amd64")
    assert of_dpkg(tmp_path) == Claim("dpkg", "tools", "2", "md5", MD5)


def test_a_package_that_was_removed_has_no_version(tmp_path: Path) -> None:
    dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL}, state="deinstall ok config-files")
    claim = of_dpkg(tmp_path)
    assert claim is not None
    assert claim.version is None


def test_a_diverted_file_belongs_to_the_package_that_brought_it(tmp_path: Path) -> None:
    dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL})
    dpkg(tmp_path, "better", {"/usr/bin/tool": b"better"})
    write(tmp_path / "var/lib/dpkg/diversions", "/usr/bin/tool\n/usr/bin/tool.distrib\nbetter\n")
    moved, placed = of_dpkg(tmp_path, "/usr/bin/tool.distrib"), of_dpkg(tmp_path, "/usr/bin/tool")
    assert moved is not None
    assert (moved.name, moved.digest) == ("tools", MD5)
    assert placed is not None
    assert placed.name == "better"


def test_a_file_that_the_administrator_put_in_place_of_a_packages_belongs_to_nobody(tmp_path: Path) -> None:
    dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL})
    write(tmp_path / "var/lib/dpkg/diversions", "/usr/bin/tool\n/usr/bin/tool.real\n:\n")
    assert of_dpkg(tmp_path, "/usr/bin/tool") is None
    moved = of_dpkg(tmp_path, "/usr/bin/tool.real")
    assert moved is not None
    assert moved.name == "tools"


def test_a_package_without_checksums_is_claimed_without_one(tmp_path: Path) -> None:
    dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL})
    (tmp_path / "var/lib/dpkg/info/tools.md5sums").unlink()
    assert of_dpkg(tmp_path) == Claim("dpkg", "tools", "1.0-1")


def of_apk(root: Path, path: str = "/usr/bin/tool") -> Claim | None:
    return Apk(Root(str(root))).claims([path]).get(path)


@pytest.mark.parametrize("place", [APK, "usr/lib/apk/db/installed"])
def test_alpines_database_is_one_text(tmp_path: Path, place: str) -> None:
    text = (
        apk_paragraph("musl", {"/lib/tool": b"x"})
        + apk_paragraph("tools", {"/bin/x": b"y", "/usr/bin/tool": TOOL})
        + apk_paragraph("z", {})
    )
    write(tmp_path / place, text)
    assert of_apk(tmp_path) == Claim("apk", "tools", "1.0-r0", "sha1", SHA1)
    assert of_apk(tmp_path, "/usr/sbin/tool") is None
    assert of_apk(tmp_path, "/bin/tool") is None


@pytest.mark.parametrize(
    "cut",
    [
        "P:tools\nV:1\nF:usr/bin\nR:tool",
        "P:tools\nV:1\nF:usr/bin\nR:tool\nZ:Q1!!!!\n",
        "P:tools\nV:1\nF:usr/bin\nR:tool\nZ:Q1AAAA\n",
        "P:tools\nV:1\nF:usr/bin\nR:tool\na:0:0:755\nZ:",
    ],
)
def test_a_checksum_that_is_cut_off_is_none(tmp_path: Path, cut: str) -> None:
    write(tmp_path / APK, cut + "\n" if not cut.endswith("Z:") else cut)
    assert of_apk(tmp_path) == Claim("apk", "tools", "1")


def test_a_file_without_a_package_is_nobodys(tmp_path: Path) -> None:
    write(tmp_path / APK, "F:usr/bin\nR:tool\n")
    assert of_apk(tmp_path) is None


def of_pacman(root: Path, path: str = "/usr/bin/tool") -> Claim | None:
    return Pacman(Root(str(root))).claims([path]).get(path)


def test_archs_packages_are_folders(tmp_path: Path) -> None:
    pacman(tmp_path, "other", {"/usr/bin/other": b"x"})
    pacman(tmp_path, "tools", {"/usr/bin/a b": b"y", "/usr/bin/tool": TOOL}, version="1:2.0-3")
    write(tmp_path / "var/lib/pacman/local/ALPM_DB_VERSION", "9\n")
    assert of_pacman(tmp_path) == Claim("pacman", "tools", "1:2.0-3", "sha256", SHA256)
    spaced = of_pacman(tmp_path, "/usr/bin/a b")
    assert spaced is not None
    assert spaced.digest == hashlib.sha256(b"y").hexdigest()
    assert of_pacman(tmp_path, "/etc/x") is None
    assert of_pacman(tmp_path, "/etc/x\tabc") is None


def test_without_a_list_of_checksums_a_package_is_claimed_without_one(tmp_path: Path) -> None:
    (pacman(tmp_path, "tools", {"/usr/bin/tool": TOOL}) / "mtree").unlink()
    assert of_pacman(tmp_path) == Claim("pacman", "tools", "1.0-1")


@pytest.mark.security
def test_a_list_of_checksums_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outwatch.lookups.packages.pacman._MOST", 1 << 20)
    pacman(tmp_path, "tools", {"/usr/bin/tool": TOOL}, mtree=gzip.compress(bytes(50 << 20)))
    with pytest.raises(DatabaseBroken, match="larger than 1 MiB"):
        of_pacman(tmp_path)


def of_rpm(root: Path, path: str = "/usr/bin/tool") -> Claim | None:
    return Rpm(Root(str(root))).claims([path]).get(path)


@pytest.mark.parametrize("place", [RPM, "var/lib/rpm/rpmdb.sqlite"])
def test_fedoras_database_is_asked_by_the_files_name(tmp_path: Path, place: str) -> None:
    other = rpm_header("other", {"/usr/lib/tool": b"x"})
    tools = rpm_header("tools", {"/usr/bin/a": b"y", "/usr/bin/tool": TOOL, "/usr/share/tool": b"z"}, epoch=2)
    rpm(tmp_path / place, {other: ["tool"], tools: ["a", "tool", "tool"]})
    assert of_rpm(tmp_path) == Claim("rpm", "tools", "2:1.0-1.fc40", "sha256", SHA256)
    assert of_rpm(tmp_path, "/usr/sbin/tool") is None
    assert of_rpm(tmp_path, "/usr/bin/nothing") is None


def test_a_database_that_is_looked_at_stays_as_it_is(tmp_path: Path) -> None:
    rpm(tmp_path / RPM, {rpm_header("tools", {"/usr/bin/tool": TOOL}): ["tool"]})
    database = sqlite3.connect(tmp_path / RPM)
    database.execute("PRAGMA journal_mode=WAL")
    database.close()
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / RPM).parent.iterdir())
    assert of_rpm(tmp_path) is not None
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / RPM).parent.iterdir()) == before


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({1000: (6, [b"t"])}, Claim("rpm", "t")),
        ({1000: (6, [b"t"]), 1001: (6, [b"1"])}, Claim("rpm", "t", "1")),
        ({1000: (6, [b"t"]), 1035: (8, [b"a" * 32])}, Claim("rpm", "t", None, "md5", "a" * 32)),
        ({1000: (6, [b"t"]), 1035: (8, [b"a" * 64])}, Claim("rpm", "t")),
        ({1000: (6, [b"t"]), 1035: (8, [b""]), 5011: (4, [8])}, Claim("rpm", "t")),
        ({1000: (6, [b"t"]), 1035: (8, [b"a" * 64]), 5011: (4, [99])}, Claim("rpm", "t")),
        ({1000: (4, [1])}, None),
        ({}, None),
    ],
)
def test_a_header_says_what_it_has(tags: Any, expected: Claim | None) -> None:
    assert Header(header(tags)).claim(0) == expected


GOOD = rpm_header("tools", {"/usr/bin/tool": TOOL})


@pytest.mark.security
@pytest.mark.parametrize(
    "blob",
    [
        b"",
        bytes(7),
        struct.pack(">II", 2**32 - 1, 2**32 - 1),
        struct.pack(">II", 1, 0),
        GOOD[:-1],
        struct.pack(">II", 5000, 0) + bytes(80_000),
        struct.pack(">II", 1, 4) + struct.pack(">IIII", 1000, 6, 0, 1) + b"abcd",
        struct.pack(">II", 1, 4) + struct.pack(">IIII", 1000, 6, 2**31, 1) + bytes(4),
        struct.pack(">II", 1, 4) + struct.pack(">IIII", 1000, 6, 0, 2**31) + bytes(4),
    ],
)
def test_a_header_that_lies_about_its_lengths_is_refused(blob: bytes) -> None:
    with pytest.raises(DatabaseBroken):
        Header(blob).text(1000)


@pytest.mark.security
def test_numbers_behind_the_end_of_a_header_are_refused() -> None:
    blob = struct.pack(">II", 1, 4) + struct.pack(">IIII", 1116, 4, 0, 2**32 - 1) + bytes(4)
    with pytest.raises(DatabaseBroken, match="numbers are cut off"):
        Header(blob).numbers(1116)


@pytest.mark.security
def test_a_database_that_reckons_for_ever_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outwatch.lookups.packages.rpm._MOST_STEPS", 10)
    (tmp_path / RPM).parent.mkdir(parents=True)
    database = sqlite3.connect(tmp_path / RPM)
    database.execute("CREATE TABLE Packages (hnum INTEGER, blob BLOB)")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'tool' AS key, 1 AS hnum, 0 AS idx FROM n"
    database.execute(f"CREATE VIEW Basenames AS {endless}")
    database.close()
    with pytest.raises(DatabaseBroken, match="interrupted"):
        of_rpm(tmp_path)


Ask = Callable[[Path], Claim | None]


@pytest.mark.parametrize("ask", [of_dpkg, of_apk, of_pacman, of_rpm])
def test_a_machine_without_this_manager_claims_nothing(tmp_path: Path, ask: Ask) -> None:
    assert ask(tmp_path) is None


@pytest.mark.security
@pytest.mark.parametrize(
    "data", [b"", b"\0" * 5000, b"\xff" * 5000, b"SQLite format 3\0" + b"\xff" * 5000, b"\n" * 5000, b"/usr/bin/tool\n" * 300]
)
@pytest.mark.parametrize(
    ("ask", "place"),
    [
        (of_dpkg, "var/lib/dpkg/info/tool.list"),
        (of_dpkg, "var/lib/dpkg/status"),
        (of_dpkg, "var/lib/dpkg/diversions"),
        (of_dpkg, "var/lib/dpkg/info/tools.md5sums"),
        (of_apk, APK),
        (of_pacman, "var/lib/pacman/local/tools-1.0-1/files"),
        (of_pacman, "var/lib/pacman/local/tools-1.0-1/desc"),
        (of_pacman, "var/lib/pacman/local/tools-1.0-1/mtree"),
        (of_rpm, RPM),
    ],
)
def test_a_broken_file_is_one_error_or_nothing(tmp_path: Path, ask: Ask, place: str, data: bytes) -> None:
    if "dpkg" in place:
        dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL})
    if "pacman" in place:
        pacman(tmp_path, "tools", {"/usr/bin/tool": TOOL})
    write(tmp_path / place, data)
    try:
        claim = ask(tmp_path)
    except DatabaseBroken:
        return
    assert claim is None or claim.name in {"tools", "tool"}


@pytest.mark.security
@pytest.mark.parametrize(
    ("ask", "place"), [(of_dpkg, "var/lib/dpkg/info"), (of_apk, APK), (of_pacman, "var/lib/pacman/local"), (of_rpm, RPM)]
)
def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path, ask: Ask, place: str) -> None:
    dpkg(tmp_path / "real", "tools", {"/usr/bin/tool": TOOL})
    files = {"dpkg": "tools.list", "pacman": "tools-1.0-1/files"}
    folder = tmp_path / place
    target = folder / next((name for kind, name in files.items() if kind in place), "") if folder.name != "installed" else folder
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(tmp_path / "real/var/lib/dpkg/info/tools.list")
    try:
        claim = ask(tmp_path)
    except DatabaseBroken:
        return
    assert claim is None


def test_a_file_that_is_larger_than_allowed_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x", bytes(100))
    assert read(str(tmp_path / "x"), 100) == bytes(100)
    with pytest.raises(DatabaseBroken, match="larger"):
        read(str(tmp_path / "x"), 99)


def test_a_pipe_in_place_of_a_file_holds_nobody(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "x")
    assert read(str(tmp_path / "x"), 100) == b""

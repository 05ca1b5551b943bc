"""The hosts file is read like the C library reads it (hosts(5)), again when it has changed, and never believed beyond its lines."""

import os
from pathlib import Path

import pytest

from outwatch.lookups.reverse_names import hosts
from outwatch.lookups.reverse_names.hosts import HostsFile


def read(folder: Path, data: str | bytes) -> HostsFile:
    path = folder / "hosts"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    file = HostsFile(path)
    file.refresh()
    return file


@pytest.mark.parametrize(
    ("data", "ip", "names"),
    [
        ("203.0.113.5 intranet.example intranet\n", "203.0.113.5", ("intranet.example", "intranet")),
        ("  203.0.113.5\t\tintranet.example\t# the new one\r\n", "203.0.113.5", ("intranet.example",)),
        ("203.0.113.5 one.example\n203.0.113.5 two.example\n", "203.0.113.5", ("one.example", "two.example")),
        ("203.0.113.5 one.example one.example ONE.example.\n", "203.0.113.5", ("one.example",)),
        ("203.0.113.5 last.example", "203.0.113.5", ("last.example",)),
        ("2001:DB8:0::7 six.example\n", "2001:db8::7", ("six.example",)),
        ("::ffff:203.0.113.5 mapped.example\n", "203.0.113.5", ("mapped.example",)),
        ("fe80::1%lo0 local.example\n", "fe80::1", ("local.example",)),
        ("# 203.0.113.5 old.example\n", "203.0.113.5", ()),
        ("203.0.113.5#intranet.example\n", "203.0.113.5", ()),
        ("203.0.113.5\n", "203.0.113.5", ()),
        ("203.0.113.05 octal.example\n", "203.0.113.5", ()),
        ("nonsense intranet.example\n203.0.113.5 good.example\n", "203.0.113.5", ("good.example",)),
        ("203.0.113.5 <b> -x- 203.0.113.6 good.example\n", "203.0.113.5", ("good.example",)),
        (b"203.0.113.5 caf\xe9.example good.example\n", "203.0.113.5", ("good.example",)),
        (b"\x00\xff\xfe\n203.0.113.5 good.example\n", "203.0.113.5", ("good.example",)),
        ("", "203.0.113.5", ()),
    ],
)
def test_an_address_has_the_names_that_stand_beside_it(tmp_path: Path, data: str | bytes, ip: str, names: tuple[str, ...]) -> None:
    assert read(tmp_path, data).names(ip) == names


@pytest.mark.security
@pytest.mark.parametrize(
    "data",
    [
        "203.0.113.5 " + " ".join(f"n{number}.example" for number in range(500)),
        "\n".join(f"203.0.113.5 n{number}.example" for number in range(500)),
    ],
    ids=["in one line", "in many lines"],
)
def test_of_hundreds_of_names_the_first_few_are_kept(tmp_path: Path, data: str) -> None:
    assert read(tmp_path, data).names("203.0.113.5") == tuple(f"n{number}.example" for number in range(4))


def test_a_file_that_has_changed_is_read_again_and_one_that_has_not_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read(tmp_path, "203.0.113.5 old.example\n")
    path = tmp_path / "hosts"
    with monkeypatch.context() as patch:
        patch.setattr(hosts, "_read", lambda _data: pytest.fail("read though nothing has changed"))
        file.refresh()
    assert file.names("203.0.113.5") == ("old.example",)
    before = path.stat()
    path.write_text("203.0.113.5 new.example\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    file.refresh()
    assert file.names("203.0.113.5") == ("new.example",)


def test_a_file_of_another_size_is_read_again_whatever_its_time_says(tmp_path: Path) -> None:
    file = read(tmp_path, "203.0.113.5 old.example\n")
    path = tmp_path / "hosts"
    before = path.stat()
    path.write_text("203.0.113.5 much.newer.example\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    file.refresh()
    assert file.names("203.0.113.5") == ("much.newer.example",)


def test_without_a_file_there_are_no_names_until_it_comes_back(tmp_path: Path) -> None:
    file = read(tmp_path, "203.0.113.5 old.example\n")
    path = tmp_path / "hosts"
    aside = path.rename(tmp_path / "aside")
    file.refresh()
    assert file.names("203.0.113.5") == ()
    aside.rename(path)
    file.refresh()
    assert file.names("203.0.113.5") == ("old.example",)


def test_a_folder_in_its_place_is_no_file(tmp_path: Path) -> None:
    file = HostsFile(tmp_path)
    file.refresh()
    assert file.names("203.0.113.5") == ()


@pytest.mark.security
def test_of_a_huge_file_no_half_name_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name cut at the end of what is read would be another name, and be taken as confirmed.
    line = "203.0.113.5 mail.example.com\n"
    monkeypatch.setattr(hosts, "_MOST", len("203.0.113.4 first.example\n") + len("203.0.113.5 mail.example.co"))
    file = read(tmp_path, f"203.0.113.4 first.example\n{line}203.0.113.6 late.example\n")
    assert file.names("203.0.113.4") == ("first.example",)
    assert file.names("203.0.113.5") == ()
    assert file.names("203.0.113.6") == ()


def test_the_systems_file_is_read_if_no_other_is_given() -> None:
    assert hosts._system_path().name == "hosts"
    assert HostsFile()._path == hosts._system_path()

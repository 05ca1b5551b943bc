"""The machine is named without giving its machine id away."""

import hashlib
import hmac
import socket
from pathlib import Path
from typing import Any

import pytest

from outwatch.engine.host import this_host
from outwatch.model.records import Boot

MACHINE = "0123456789abcdef0123456789abcdef"
FILES = {"/etc/machine-id": f"{MACHINE}\n", "/proc/sys/kernel/random/boot_id": "b7f0-1\n"}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the files of a made-up system, to be changed by the test."""
    files = dict(FILES)

    def read_text(path: Path, *_args: Any, **_kwargs: Any) -> str:
        try:
            return files[path.as_posix()]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    return files


def test_the_id_is_derived_from_the_machine_id_and_is_not_it(system: dict[str, str]) -> None:
    host = this_host()
    assert host.id == hmac.new(MACHINE.encode(), b"outwatch host.id", hashlib.sha256).hexdigest()[:32]
    assert host.boot == Boot(id="b7f0-1")
    assert host.name == "here"
    assert MACHINE not in repr(host)


def test_the_id_outlives_a_boot_and_differs_between_machines(system: dict[str, str]) -> None:
    first = this_host()
    system["/proc/sys/kernel/random/boot_id"] = "other"
    assert this_host().id == first.id
    system["/etc/machine-id"] = MACHINE[::-1]
    assert this_host().id != first.id


def test_the_id_of_the_message_bus_serves_where_there_is_no_other(system: dict[str, str]) -> None:
    expected = this_host().id
    system["/var/lib/dbus/machine-id"] = system.pop("/etc/machine-id")
    assert this_host().id == expected
    system["/etc/machine-id"] = "\n"
    assert this_host().id == expected


def test_what_a_system_does_not_have_is_unknown(system: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    system.clear()
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    host = this_host()
    assert (host.name, host.id, host.boot) == (None, None, None)


def test_a_machine_id_that_is_not_made_yet_is_unknown(system: dict[str, str]) -> None:
    """machine-id(5): images carry the word until the first boot, so all of them would be one host."""
    system["/etc/machine-id"] = "uninitialized\n"
    assert this_host().id is None


@pytest.mark.security
def test_a_host_name_that_is_no_unicode_or_too_long_is_cleaned(system: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "a\udcff" + "x" * 1000)
    name = this_host().name
    assert name is not None
    assert name.startswith("a\\xff")
    assert name.encode()
    assert len(name) < 300

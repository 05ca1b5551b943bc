"""What the kernel does not take is left out, as little as possible, and said."""

import contextlib
import os
import struct
import sys
import time
from collections.abc import Collection, Iterator

import pytest

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.errors import SensorUnavailable
from outwatch.sensors.ebpf import hooks as module
from outwatch.sensors.ebpf.hooks import Hooks


class Loaded:
    """An object in a kernel that refuses to attach some programs."""

    def __init__(self, programs: Collection[str], settings: bytes, refused: Collection[str]) -> None:
        self.programs, self.settings, self.refused = programs, settings, refused
        self.attached: list[str] = []
        self.iterators: list[str] = []

    def attach(self, name: str, _cgroup: int | None = None) -> None:
        if name in self.refused:
            raise SensorUnavailable(f"{name} can't be attached", "")
        self.attached.append(name)

    def iterator(self, name: str, _over: str | None = None) -> int:
        self.iterators.append(name)
        return len(self.iterators)

    def close(self) -> None:
        """Nothing was loaded."""


class Kernel:
    """Loads everything but ``unknown`` programs, and attaches everything but ``refused`` ones."""

    def __init__(self) -> None:
        self.unknown: set[str] = set()
        self.refused: set[str] = set()
        self.loaded: list[Loaded] = []

    def load(self, _ring: int, settings: bytes, wanted: Collection[str]) -> Loaded:
        lacking = sorted(self.unknown & set(wanted))
        if lacking:
            raise SensorUnavailable(f"no hook for {lacking[0]}", "")
        self.loaded.append(Loaded(wanted, settings, self.refused))
        return self.loaded[-1]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    @contextlib.contextmanager
    def root() -> Iterator[int]:
        yield 3

    kernel = Kernel()
    monkeypatch.setattr(module, "_loaded", kernel.load)
    monkeypatch.setattr(module, "capabilities", lambda: frozenset({"CAP_SYS_ADMIN"}))
    monkeypatch.setattr(module, "_BTF", "/")
    monkeypatch.setattr(module, "cgroup_root", root)
    return kernel


def test_everything_is_on_where_the_kernel_has_everything(kernel: Kernel) -> None:
    assert Hooks(4096).blind() == []
    assert {"tcp_held", "packet_in", "socket_sent", "process_exec"} <= set(kernel.loaded[0].attached)
    assert kernel.loaded[0].iterators == ["existing", "stream_totals", "running", "datagram_totals", "talk_totals", "burst_totals"]


@pytest.mark.parametrize(
    ("unknown", "off"),
    [
        ({"socket_sent"}, {"sharing"}),
        ({"packet_in"}, {"datagrams"}),
        ({"burst_totals"}, {"storms"}),
        ({"socket_received", "talk_totals"}, {"sharing", "datagrams"}),
        ({"socket_sent", "burst_totals", "socket_create"}, {"sharing", "datagrams", "storms"}),
    ],
)
def test_only_what_the_kernel_lacks_is_left_out_and_the_reason_is_said(kernel: Kernel, unknown: set[str], off: set[str]) -> None:
    kernel.unknown = unknown
    hooks = Hooks(4096)
    assert hooks.off.keys() == off
    assert all("no hook for" in line for line in hooks.blind())
    assert len(hooks.blind()) == len(off)
    assert not unknown & set(kernel.loaded[0].programs)


@pytest.mark.parametrize(
    ("release", "twice"), [("5.11.0", False), ("6.18.44-a", False), ("6.19.14+deb13-amd64", True), ("7.0.1", True), ("odd", False)]
)
def test_kernels_that_let_others_go_on_get_second_programs(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, release: str, twice: bool
) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "here", release, "", "x86_64")))
    Hooks(4096)
    second = {name for name in kernel.loaded[0].attached if name.endswith("_again")}
    assert second == (
        {"tcp_held_again", "tcp_free_again", "process_exec_again", "process_fork_again", "process_exit_again"} if twice else set()
    )


@pytest.mark.parametrize("name", ["tcp_held", "process_exec", "existing", "running"])
def test_without_connections_and_processes_there_is_no_sensor(kernel: Kernel, name: str) -> None:
    kernel.unknown = {name}
    with pytest.raises(SensorUnavailable, match=f"no hook for {name}"):
        Hooks(4096)


def test_a_hook_that_can_not_be_attached_is_off_and_said(kernel: Kernel) -> None:
    kernel.refused = {"packet_out"}
    hooks = Hooks(4096)
    assert hooks.off == {"datagrams": "packet_out can't be attached"}
    assert hooks.blind() == ["UDP, ICMP, SCTP and raw sockets are not seen, nor who accepts connections (packet_out can't be attached)"]
    assert "talk_totals" not in kernel.loaded[0].iterators


def test_connections_that_can_not_be_attached_are_the_end(kernel: Kernel) -> None:
    kernel.refused = {"tcp_free"}
    with pytest.raises(SensorUnavailable, match="tcp_free"):
        Hooks(4096)


def test_what_the_user_switches_off_is_not_loaded(kernel: Kernel) -> None:
    hooks = Hooks(4096, without=("sharing",), storm=0)
    assert hooks.off == {"sharing": "switched off", "storms": "switched off"}
    assert not {"socket_sent", "socket_received", "burst_totals"} & set(kernel.loaded[0].programs)
    assert struct.unpack("=2I2Q", kernel.loaded[0].settings) == (0, 1, 1024, 0)


def test_without_names_no_bytes_of_connections_are_copied(kernel: Kernel) -> None:
    Hooks(4096, names=False)
    assert struct.unpack("=2I2Q", kernel.loaded[0].settings) == (2000, 0, 1024, 0)


def test_a_single_look_loads_no_more_than_it_needs(kernel: Kernel) -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    Hooks(4096, once=True)
    assert (kernel.loaded[0].attached, sorted(kernel.loaded[0].programs)) == ([], ["existing", "running"])
    looked = struct.unpack("=2I2Q", kernel.loaded[0].settings)[3]
    assert before <= looked <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)

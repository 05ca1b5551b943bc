"""The capture socket and the sensor that reads it, put together without rights: what one is given the other tells."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import FileRefused, SensorFailed, SensorUnavailable
from outwatch.guard.sockets import Listening, peer_of
from outwatch.model import wire
from outwatch.model.records import Connection, Event, EventsLost, Observation, Record, Summary
from outwatch.sensors.remote import BROKEN, Remote, RemoteConfig
from outwatch.sinks import handover
from outwatch.sinks.handover import Handover

from .child import LONG

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="outwatch capture is Linux's")]
Make = Callable[..., Connection]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o750)
    return tmp_path / "run" / "capture.sock"


class Server:
    """A capture whose sensor is the test: it runs its loop in a thread."""

    def __init__(self, path: Path) -> None:
        self.handover = Handover(Listening(path), group=os.getegid(), user=os.geteuid(), health=Health())
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.loop.call_soon_threadsafe(self.handover.begin, lambda: Summary(sensor="ebpf", blind=("the dark",), verdicts={"normal": 3}))

    def look(self, size: int) -> None:
        self.loop.call_soon_threadsafe(self.handover.first_look, size)

    def write(self, *records: Record) -> None:
        asyncio.run_coroutine_threadsafe(self.handover.write(records), self.loop).result(LONG)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.handover.close(), self.loop).result(LONG)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    with contextlib.closing(Server(path)) as server:
        yield server


class Reading:
    """A sensor that reads in a thread until it is told to stop, or ends by itself."""

    def __init__(self, path: Path) -> None:
        self.health, self.stop = Health(), threading.Event()
        self.sensor = Remote(RemoteConfig(socket=str(path)), health=self.health)
        self.batches: list[Sequence[Observation]] = []
        self.failure: Exception | None = None
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for batch in self.sensor.observe(self.stop):
                self._keep(batch)
        except SensorFailed as error:
            self.failure = error

    def _keep(self, batch: Sequence[Observation]) -> None:
        with self._came:
            self.batches.append(batch)
            self._came.notify()

    def wait(self, count: int) -> list[Observation]:
        """Wait for so many observations, and give all that came."""
        with self._came:
            assert self._came.wait_for(lambda: sum(map(len, self.batches)) >= count, LONG)
            return [one for batch in self.batches for one in batch]

    def end(self) -> Exception | None:
        self.stop.set()
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        return self.failure


@pytest.fixture
def read(path: Path) -> Iterator[Callable[[], Reading]]:
    """Start sensors, and end them with the test."""
    started: list[Reading] = []

    def start() -> Reading:
        started.append(Reading(path))
        return started[-1]

    yield start
    for one in started:
        one.end()


def issued(make: Make, identity: str, revision: int = 1, action: str = "connect") -> Connection:
    return make(id=identity, revision=revision, event=Event(action=action))  # type: ignore[arg-type]


def told(record: Connection) -> Connection:
    return replace(record, revision=0)


def test_the_picture_is_the_first_batch_and_holds_the_latest_of_what_is_open(
    server: Server, read: Callable[[], Reading], connection: Make
) -> None:
    server.look(3)
    server.write(issued(connection, "a"), issued(connection, "b"), issued(connection, "c"))
    latest = issued(connection, "a", 2, "traffic")
    server.write(latest, issued(connection, "b", 2, "close"))
    reading = read()
    assert set(reading.wait(2)) == {told(latest), told(issued(connection, "c"))}
    assert len(reading.batches) == 1
    assert list(reading.sensor.blind()) == ["the dark"]
    over, loss = issued(connection, "a", 3, "close"), EventsLost(layer="kernel ring", count=2)
    server.write(over, loss)
    assert reading.wait(4)[2:] == [told(over), loss]


def test_a_reader_waits_until_the_first_picture_is_whole(server: Server, read: Callable[[], Reading], connection: Make) -> None:
    reading = read()
    server.look(3)
    server.write(issued(connection, "a"), issued(connection, "b"))
    server.write(issued(connection, "a", 2))  # a later word on one of them is not the third
    server.write(issued(connection, "c"))
    assert set(reading.wait(3)) == {told(issued(connection, name)) for name in ("a", "b", "c")}
    assert len(reading.batches) == 1


def test_the_greeting_says_nothing_of_verdicts(server: Server, path: Path) -> None:
    server.look(0)
    with socket.socket(socket.AF_UNIX) as one, one.makefile("rb") as file:
        one.settimeout(LONG)
        one.connect(str(path))
        greeting = wire.decode(file.readline())
    assert isinstance(greeting, Summary)
    assert (greeting.sensor, greeting.blind, greeting.verdicts) == ("ebpf", ("the dark",), {})


def test_a_capture_that_ends_is_a_failure_of_the_sensor_and_another_one_goes_on(path: Path, connection: Make) -> None:
    sensor = Remote(RemoteConfig(socket=str(path)), health=Health())
    pictures = []
    for turn in range(2):
        with contextlib.closing(Server(path)) as server:
            server.look(1)
            server.write(issued(connection, f"c{turn}"))
            seen = sensor.observe(threading.Event())
            pictures.append(next(seen))
        with pytest.raises(SensorFailed, match="has ended"):
            list(seen)
    with pytest.raises(SensorFailed, match="no capture listens"):
        next(sensor.observe(threading.Event()))
    assert [one.id for one in pictures[1] if isinstance(one, Connection)] == ["c0"], "its ends are the same"


def test_what_came_before_the_stop_is_still_told(server: Server, path: Path, connection: Make) -> None:
    sensor, stop = Remote(RemoteConfig(socket=str(path)), health=Health()), threading.Event()
    server.look(0)
    batches = sensor.observe(stop)
    assert next(batches) == []
    server.write(*(issued(connection, f"c{number}") for number in range(500)))
    stop.set()
    assert sum(map(len, batches)) == 500


@contextlib.contextmanager
def speaking(path: Path, data: bytes) -> Iterator[None]:
    """Listen, say something to whoever comes, and hang up."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def speak() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as one:
                one.sendall(data)

        thread = threading.Thread(target=speak)
        thread.start()
        yield
        thread.join(LONG)


@pytest.mark.security
def test_lines_that_are_no_records_cost_no_others(path: Path, connection: Make) -> None:
    good, greeting = wire.encode(connection(id="good")), wire.encode(Summary())
    data = b"\n".join([b"{", good, b"x" * (3 * wire.MOST), b"\xff", greeting, b"null", good, b"y" * (2 * wire.MOST), good, b"unfinished"])
    health = Health()
    sensor = Remote(RemoteConfig(socket=str(path)), health=health)
    found: list[Observation] = []
    with speaking(path, data):
        batches = sensor.observe(threading.Event())
        assert next(batches) == [connection(id="good", revision=0)]
        with pytest.raises(SensorFailed):
            found.extend(chain.from_iterable(batches))
    assert [one.id for one in found if isinstance(one, Connection)] == ["good", "good"]
    assert health.lost == {BROKEN: 5}


def test_who_hangs_up_at_once_is_no_capture(path: Path) -> None:
    sensor = Remote(RemoteConfig(socket=str(path)), health=Health())
    with speaking(path, b""), pytest.raises(SensorUnavailable, match="refused"):
        sensor.check()


@pytest.mark.security
@pytest.mark.parametrize("mode", [0o770, 0o757, 0o777, 0o1777])
def test_a_socket_that_others_could_have_put_there_is_not_believed(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    sensor = Remote(RemoteConfig(socket=str(path)), health=Health())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(SensorUnavailable, match="others may write"):
            sensor.check()


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair()
    with one, other:
        peer = peer_of(one)
    assert peer.user == os.geteuid()
    assert peer.groups >= {os.getegid()}
    assert peer.groups <= {os.getegid(), *os.getgroups()}


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with contextlib.closing(Listening(path)), socket.socket(socket.AF_UNIX) as one:
        one.connect(str(path))
        with pytest.raises(FileRefused, match="another capture"):
            Listening(path)
        assert path.exists()
    assert not path.exists()


def test_what_took_the_place_of_the_socket_is_not_removed_at_the_end(path: Path) -> None:
    listening = Listening(path)
    path.unlink()
    path.write_text("another")
    listening.close()
    assert path.read_text() == "another"


class Stream:
    """What a program gets that reads the socket: it can stand still, or read until it has enough."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LONG)
        self.socket.connect(str(path))
        self._file = self.socket.makefile("rb")
        assert isinstance(self.next(), Summary)

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def next(self) -> Record:
        record = wire.decode(self._file.readline().rstrip(b"\n"))
        assert record is not None
        return record

    def up_to(self, wanted: Callable[[Record], bool]) -> list[Record]:
        told = [self.next()]
        while not wanted(told[-1]):
            told.append(self.next())
        return told


def is_lost(record: Record) -> bool:
    return isinstance(record, EventsLost) and record.layer == "capture socket"


def test_what_a_slow_reader_can_not_take_is_told_to_it_to_the_last_record_and_holds_nobody_up(
    server: Server, path: Path, connection: Make
) -> None:
    server.look(0)
    names = [f"c{number:05}" for number in range(20_000)]  # together more than the 4 MiB that may wait
    with contextlib.closing(Stream(path)) as slow, contextlib.closing(Stream(path)) as quick:
        whole: list[Record] = []
        for at in range(0, len(names), 250):
            server.write(*(issued(connection, name) for name in names[at : at + 250]))
            whole += [quick.next() for _ in range(250)]  # it has all, although the other has stood still since the beginning
        late = slow.up_to(is_lost)
        server.write(issued(connection, "last"))
        late += slow.up_to(lambda record: isinstance(record, Connection) and record.id == "last")
    assert [one.id for one in whole if isinstance(one, Connection)] == names
    losses = [one for one in late if isinstance(one, EventsLost)]
    kept = [one.id for one in late if isinstance(one, Connection)]
    assert len(losses) == 1, "one for all that was lost at once"
    assert len(kept) + losses[0].count == len(names) + 1
    assert kept == [*names[: len(kept) - 1], "last"]
    assert losses[0].from_ is not None
    assert losses[0].until is not None
    assert losses[0].from_ <= losses[0].until


def test_a_reader_that_stands_still_before_the_end_of_its_first_picture_is_let_go(
    server: Server, path: Path, connection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "_PATIENCE", -1.0)
    count = 5_000  # more than the system takes for a reader that does not read
    server.look(count)
    server.write(*(issued(connection, f"c{number}") for number in range(count)))
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(LONG)
        one.connect(str(path))
        assert one.recv(1, socket.MSG_PEEK)
        server.write(issued(connection, "later"))
        told = 0
        while piece := one.recv(1 << 20):
            told += piece.count(b"\n")
    assert 0 < told < count

"""What every part must keep, whoever writes it: found through the registry, so that a new one is tested from its first day."""

import asyncio
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from outwatch.engine import registry
from outwatch.engine.health import Health
from outwatch.engine.registry import Room
from outwatch.errors import RuleError, SensorUnavailable
from outwatch.model.interfaces import Detector, Enricher, Field, Lookup, NoOwners, Part, Sensor, Sink
from outwatch.model.records import (
    Connection,
    Destination,
    Detection,
    Dns,
    DnsQuestion,
    Event,
    EventsLost,
    Family,
    FileState,
    Findings,
    Hash,
    Judged,
    Name,
    Network,
    Process,
    Question,
    Record,
    Source,
    Summary,
    Tls,
    TlsClient,
    User,
)
from outwatch.net.addresses import Scopes

KINDS: dict[Room, type] = {"sensors": Sensor, "enrichers": Enricher, "lookups": Lookup, "detectors": Detector, "sinks": Sink}
WHEN = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)
NASTY = (
    "", " ", ".", "..", "a..b", "-", "*", "[", "(", "\\", "%", "\0", "\n", "\x1b]8;;https://x.test\x1b\\x\x1b]8;;\x1b\\",
    "\u202egnp.exe", "\u2028", "\x9b31m", "[link=https://x.test]x[/link]", "x" * 5000, "a." * 3000, "/" * 5000,
    "::", "1.2.3", "0x7f.1", "/tmp/", "C:", "\\\\?\\", "/memfd:", "🦜" * 100, "ä.test",
)  # fmt: skip
SURROGATES = ("\ud800", "x\udcff.test", "/tmp/\udc80")


def _parts() -> Iterator[tuple[Room, Part]]:
    for room in KINDS:
        for module in registry.names(room):
            part = registry.part(room, module)
            if part is not None:
                yield room, part


PARTS = list(_parts())
each_part = pytest.mark.parametrize(("room", "part"), PARTS, ids=[f"{room}.{part.name}" for room, part in PARTS])


def of(*rooms: Room) -> pytest.MarkDecorator:
    """Run a test over the parts of these rooms."""
    chosen = [part for room, part in PARTS if room in rooms]
    return pytest.mark.parametrize("part", chosen, ids=[part.name for part in chosen])


class Nobody:
    """A table of processes without any."""

    def identify(self, pid: int, seen_at: float) -> Process | None:
        return None


def build(part: Part, tmp_path: Path) -> Any:
    """Make a part with its default settings."""
    offers: dict[str, object] = {
        "health": Health(),
        "host": None,
        "boot": "boot",
        "place": lambda key, _value, reason: RuleError(key, None, reason),
        "scopes": Scopes(),
        "paths": [],
        "broken": lambda _problem: None,
        "processes": Nobody(),
        "owners": NoOwners(),
        "state_dir": tmp_path / "state",
        "path": tmp_path / "out",
        "resolvers": tuple,
        "namespace": None,
        "level": "low",
    }
    return registry.build(part, part.config(), offers)


def _hostile_connection(text: str, parent: Process, state: FileState) -> Connection:
    process = Process(
        pid=2**31,
        name=text,
        executable=text,
        args=(text,),
        entity_id=text,
        hash=Hash(sha256=text),
        working_directory=text,
        parent=parent,
    )
    return Connection(
        id=text,
        timestamp=WHEN,
        event=Event(action="connect", start=WHEN, end=WHEN - timedelta(days=1)),
        network=Network(transport=text, direction="egress", scope="public", namespace=text),
        source=Source(ip=text, port=0, address=text),
        destination=Destination(ip=text, port=65535, domain=text, service=text),
        process=process,
        user=User(id=text, name=text),
        tls=Tls(client=TlsClient(server_name=text, ja4=text)),
        outwatch=Findings(subject=text, executable=state, names=tuple(Name(name=text, origin="ptr") for _ in range(20))),
    )


def hostile(texts: tuple[str, ...] = NASTY) -> list[Judged]:
    """Make records with a hostile text in every place that takes one, and records that have nothing."""
    made: list[Judged] = [Connection(id="bare", timestamp=WHEN), Question(id="bare question", timestamp=WHEN)]
    for text in texts:
        parent = Process(pid=0, name=text, executable=text, args=(text, text))
        made.extend(_hostile_connection(text, parent, state) for state in get_args(FileState))
        asked = Dns(question=DnsQuestion(name=text, type=text), resolved_ip=(text,))
        made.append(Question(id=text, timestamp=WHEN, destination=Destination(ip=text, domain=text), dns=asked))
    return made


def test_every_room_has_parts() -> None:
    assert {room for room, _ in PARTS} == set(KINDS)


@each_part
def test_a_part_has_the_shape_of_the_house(room: Room, part: Part) -> None:
    assert part.name.replace("_", "").isalnum()
    assert part.name == part.name.lower()
    assert callable(part.build)
    assert isinstance(part.live_only, bool)
    assert part.name in registry.names(room)


@each_part
def test_a_part_can_be_switched_on_and_off_and_refuses_unknown_settings(room: Room, part: Part) -> None:
    assert issubclass(part.config, msgspec.Struct)
    for enabled in (True, False):
        assert getattr(msgspec.convert({"enabled": enabled}, part.config), "enabled", None) is enabled
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"no_such_setting": 1}, part.config)


@each_part
def test_a_part_is_what_its_room_asks_for_and_shares_its_name(room: Room, part: Part, tmp_path: Path) -> None:
    built = build(part, tmp_path)
    assert isinstance(built, KINDS[room])
    assert getattr(built, "name", part.name) == part.name


@each_part
def test_a_part_and_what_it_offers_are_explained(room: Room, part: Part, tmp_path: Path) -> None:
    built = build(part, tmp_path)
    module = inspect.getmodule(type(built))
    offered = [method for name, method in inspect.getmembers(type(built), inspect.isfunction) if not name.startswith("_")]
    assert offered
    for thing in (module, type(built), part.config, *offered):
        assert inspect.getdoc(thing), thing


@of("detectors")
def test_a_detector_says_what_it_is_and_what_it_needs(part: Part, tmp_path: Path) -> None:
    detector = build(part, tmp_path)
    assert detector.family in get_args(Family)
    assert detector.needs <= set(get_args(Field))
    assert list(detector.problems) == []


@pytest.mark.security
@of("detectors")
def test_hostile_records_raise_nothing_and_reasons_are_of_their_kind(part: Part, tmp_path: Path) -> None:
    detector = build(part, tmp_path)
    found: list[Detection] = []
    for record in [*hostile(), *hostile(SURROGATES)]:
        found += detector.inspect(record)
    for one in found:
        assert one.detector == part.name
        assert -100 <= one.points <= 100
        assert one.family in get_args(Family)
        assert one.reason


@of("detectors")
def test_the_same_record_always_gives_the_same_reasons(part: Part, tmp_path: Path) -> None:
    first, second = build(part, tmp_path), build(part, tmp_path)
    records = hostile()
    once = [list(first.inspect(record)) for record in records]
    again = [list(first.inspect(record)) for record in reversed(records)]
    assert once == list(reversed(again))
    assert once == [list(second.inspect(record)) for record in records]


@of("enrichers", "lookups")
def test_hostile_records_pass_enrichers_and_keep_what_they_are(part: Part, tmp_path: Path) -> None:
    enricher = build(part, tmp_path)
    for record in [*hostile(), *hostile(SURROGATES)]:
        if isinstance(record, Connection):
            found = enricher.enrich(record)
            assert (found.id, found.timestamp, found.event) == (record.id, record.timestamp, record.event)
            assert enricher.enrich(record) == found


@of("lookups")
def test_hostile_records_raise_nothing_in_a_lookup(part: Part, tmp_path: Path) -> None:
    lookup = build(part, tmp_path)

    async def ask() -> int:
        asked = 0
        for record in [*hostile(), *hostile(SURROGATES)]:
            if isinstance(record, Connection):
                key = lookup.missing(record)
                hash(key)
                await lookup.find(key if key is not None else "no key", record)
                asked += 1
        return asked

    assert asyncio.run(ask()) > 100


@of("sensors")
def test_a_sensor_says_what_it_can_not_see_and_whether_it_is_live(part: Part, tmp_path: Path) -> None:
    sensor = build(part, tmp_path)
    assert isinstance(sensor.live, bool)
    assert all(isinstance(said, str) and said and said.isprintable() for said in sensor.blind())
    assert sensor.blind()
    # The registry hands a recording no path, and a live sensor may lack rights: a refusal then gives reason and remedy.
    refusal = _refusal(sensor)
    assert refusal is None or (refusal.reason and refusal.remedy)


def _refusal(sensor: Sensor) -> SensorUnavailable | None:
    try:
        sensor.check()
    except SensorUnavailable as error:
        return error
    return None


@of("sinks")
def test_a_sink_takes_every_kind_of_record_and_can_be_closed(part: Part, tmp_path: Path) -> None:
    sink = build(part, tmp_path)
    findings = Findings(verdict="critical", score=99, reasons=(Detection(detector="x", points=99, reason="\x1b[m\n"),))
    judged: list[Record] = [msgspec.structs.replace(record, outwatch=findings) for record in hostile()]

    async def use() -> None:
        await sink.write([*judged, EventsLost(layer="\n", count=1), Summary()])
        await sink.write([])
        await sink.close()

    asyncio.run(use())
    for file in tmp_path.iterdir():
        if file.is_file():
            assert all(line.isprintable() for line in file.read_text().split("\n"))

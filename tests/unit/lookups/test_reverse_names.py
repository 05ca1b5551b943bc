"""Names of destinations: only what leads back to the address is believed, and nobody is asked twice or without need."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from outwatch.errors import LookupFailed
from outwatch.lookups.reverse_names import ReverseNames, ReverseNamesConfig
from outwatch.lookups.reverse_names.asking import Answer, Asker, Kind
from outwatch.lookups.reverse_names.hosts import HostsFile
from outwatch.model import wire
from outwatch.model.records import Connection, Findings, Name, Network

MAKE = Callable[..., Connection]
V4, V6 = "198.51.100.7", "2001:db8::7"
REVERSE = {V4: "7.100.51.198.in-addr.arpa", V6: "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"}
GOOD = "www.good.example"
NOBODY = LookupFailed("name server did not answer")
Zone = Mapping[tuple[str, str], Answer | Exception]


class Says(Asker):
    """A name server that knows a zone; all other names have no records for an hour."""

    def __init__(self, zone: Zone) -> None:
        super().__init__()
        self.zone = dict(zone)
        self.asked: list[tuple[str, str]] = []

    async def ask(self, name: str, kind: Kind, until: float) -> Answer:
        self.asked.append((name, kind))
        answer = self.zone.get((name, kind), Answer((), 3600.0))
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hosts(HostsFile):
    """A hosts file that is no file."""

    def __init__(self, names: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(Path("/nonexistent"))
        self.known = {ip: tuple(given) for ip, given in (names or {}).items()}
        self.looks = 0

    def names(self, ip: str) -> tuple[str, ...]:
        return self.known.get(ip, ())

    def refresh(self) -> None:
        self.looks += 1


def zone(*names: str, ip: str = V4, leads_to: str | None = None, seconds: float = 600.0) -> dict[tuple[str, str], Answer | Exception]:
    """Describe an address with names that all lead back to it, or to somewhere else."""
    kind = "AAAA" if ":" in ip else "A"
    forward = {(name, kind): Answer((leads_to or ip,), seconds) for name in names}
    return {(REVERSE[ip], "PTR"): Answer(names, seconds), **forward}


class Part:
    """The part under test, with all that it talks to."""

    def __init__(self, known: Zone | None = None, *, hosts: Mapping[str, Sequence[str]] | None = None, **how: Any) -> None:
        self.server, self.clock, self.hosts = Says(known or {}), Clock(), Hosts(hosts)
        settings = {name: how.pop(name) for name in list(how) if name in ReverseNamesConfig.__struct_fields__}
        self.names = ReverseNames(ReverseNamesConfig(**settings), asker=self.server, hosts=self.hosts, clock=self.clock, **how)

    def find(self, connection: Connection) -> Connection:
        """Look up what is missing, and give the connection with it."""
        with contextlib.suppress(LookupFailed):
            self.ask(connection)
        return self.names.enrich(connection)

    def ask(self, connection: Connection) -> None:
        key = self.names.missing(connection)
        if key is not None:
            asyncio.run(self.names.find(key, connection))


def ptr(name: str, *, confirmed: bool) -> Name:
    return Name(name=name, origin="ptr", confirmed=confirmed)


@pytest.mark.parametrize(("ip", "kind"), [(V4, "A"), (V6, "AAAA")])
def test_a_name_that_leads_back_to_the_address_is_the_destinations(connection: MAKE, ip: str, kind: str) -> None:
    part = Part(zone(GOOD, ip=ip))
    found = part.find(connection(ip=ip))
    assert found.destination.domain == GOOD
    assert found.outwatch.names == (ptr(GOOD, confirmed=True),)
    assert part.server.asked == [(REVERSE[ip], "PTR"), (GOOD, kind)]


@pytest.mark.security
@pytest.mark.parametrize(
    "known",
    [
        pytest.param(zone("google.com", leads_to="203.0.113.80"), id="it leads elsewhere"),
        pytest.param({(REVERSE[V4], "PTR"): Answer(("google.com",), 600)}, id="it leads nowhere"),
        pytest.param({**zone("google.com"), ("google.com", "A"): NOBODY}, id="nobody could be asked"),
        pytest.param(zone("google.com", leads_to="not an address"), id="it leads to nonsense"),
        pytest.param(
            {(REVERSE[V4], "PTR"): Answer(("google.com",), 600), ("google.com", "AAAA"): Answer((f"::ffff:{V4}",), 600)},
            id="only records of the other family lead back",
        ),
    ],
)
def test_a_name_that_does_not_lead_back_is_told_and_not_believed(connection: MAKE, known: Zone) -> None:
    found = Part(known).find(connection(ip=V4))
    assert found.destination.domain is None
    assert found.outwatch.names == (ptr("google.com", confirmed=False),)


def test_the_first_name_that_leads_back_counts(connection: MAKE) -> None:
    known = {**zone("liar.example", GOOD, "other.example"), ("liar.example", "A"): Answer(("203.0.113.80",), 600)}
    found = Part(known).find(connection(ip=V4))
    assert found.destination.domain == GOOD
    names = {"liar.example": False, GOOD: True, "other.example": True}
    assert found.outwatch.names == tuple(ptr(name, confirmed=confirmed) for name, confirmed in names.items())


def test_one_of_many_addresses_of_a_name_is_enough(connection: MAKE) -> None:
    known = {**zone(GOOD), (GOOD, "A"): Answer(("203.0.113.1", V4, "203.0.113.2"), 600)}
    assert Part(known).find(connection(ip=V4)).destination.domain == GOOD


@pytest.mark.security
def test_of_an_address_with_hundreds_of_names_a_few_are_looked_at(connection: MAKE) -> None:
    names = [f"n{number}.example" for number in range(300)]
    part = Part({(REVERSE[V4], "PTR"): Answer(tuple(names), 600)})
    found = part.find(connection(ip=V4))
    assert part.server.asked[1:] == [(name, "A") for name in names[:4]]
    assert [one.name for one in found.outwatch.names or ()] == names[:4]


def test_a_name_is_told_in_its_one_spelling(connection: MAKE) -> None:
    part = Part({(REVERSE[V4], "PTR"): Answer(("WWW.Good.Example.",), 600), (GOOD, "A"): Answer((V4,), 600)})
    assert part.find(connection(ip=V4)).destination.domain == GOOD


def test_a_known_domain_stays_and_the_names_stand_beside_it(connection: MAKE) -> None:
    said = Name(name="shop.example", origin="sni", confirmed=True)
    seen = connection(ip=V4, domain="shop.example", outwatch=Findings(names=(said,)))
    found = Part(zone(GOOD)).find(seen)
    assert found.destination.domain == "shop.example"
    assert found.outwatch.names == (said, ptr(GOOD, confirmed=True))


def test_a_recordings_names_are_those_of_its_time(connection: MAKE) -> None:
    then = connection(ip=V4, domain="then.example", outwatch=Findings(names=(ptr("then.example", confirmed=True),)))
    assert Part(zone(GOOD), this_machine=False).find(then) == then
    assert Part(zone(GOOD), this_machine=False).find(connection(ip=V4)).destination.domain == GOOD


def test_what_is_known_already_changes_nothing(connection: MAKE) -> None:
    part = Part(zone(GOOD))
    once = part.find(connection(ip=V4))
    assert part.names.enrich(once) == once


@pytest.mark.security
def test_a_name_that_no_longer_leads_back_is_taken_away_again(connection: MAKE) -> None:
    # A record is issued with what is remembered, and once more when the fresh answer has come.
    part = Part(zone(GOOD))
    part.find(connection(ip=V4))
    part.server.zone = dict(zone(GOOD, leads_to="203.0.113.80"))
    part.clock.now += 700
    issued = part.names.enrich(connection(ip=V4))
    assert issued.destination.domain == GOOD
    again = part.find(issued)
    assert again.outwatch.names == (ptr(GOOD, confirmed=False),)
    assert again.destination.domain is None


def test_a_name_that_has_changed_takes_the_place_of_the_old_one(connection: MAKE) -> None:
    part = Part(zone("old.example"))
    issued = part.find(connection(ip=V4))
    part.server.zone = dict(zone("new.example"))
    part.clock.now += 700
    again = part.find(issued)
    assert again.destination.domain == "new.example"
    assert again.outwatch.names == (ptr("new.example", confirmed=True),)


@pytest.mark.parametrize(
    ("said", "kept"), [(0, 30), (29, 30), (31, 31), (86_399, 86_399), (10**9, 86_400)], ids=["0", "29", "31", "a day", "years"]
)
def test_a_name_is_remembered_as_long_as_it_says_within_bounds(connection: MAKE, said: float, kept: float) -> None:
    part = Part(zone(GOOD, seconds=said))
    part.find(connection(ip=V4))
    part.clock.now += kept - 0.5
    assert part.names.missing(connection(ip=V4)) is None
    part.clock.now += 1
    assert part.names.missing(connection(ip=V4)) == V4
    assert part.names.enrich(connection(ip=V4)).destination.domain == GOOD, "until the new answer is there the old one is better than none"


@pytest.mark.parametrize(("reverse", "forward", "kept"), [(50, 600, 50), (600, 50, 50)])
def test_a_name_is_remembered_no_longer_than_the_shorter_of_its_two_answers(
    connection: MAKE, reverse: float, forward: float, kept: float
) -> None:
    part = Part({(REVERSE[V4], "PTR"): Answer((GOOD,), reverse), (GOOD, "A"): Answer((V4,), forward)})
    part.find(connection(ip=V4))
    part.clock.now += kept - 0.5
    assert part.names.missing(connection(ip=V4)) is None
    part.clock.now += 1
    assert part.names.missing(connection(ip=V4)) == V4


@pytest.mark.parametrize(("said", "kept"), [(0, 30), (900, 900), (10**9, 10_800)], ids=["0", "900", "years"])
def test_that_there_is_no_name_is_remembered_too(connection: MAKE, said: float, kept: float) -> None:
    part = Part({(REVERSE[V4], "PTR"): Answer((), said)})
    found = part.find(connection(ip=V4))
    assert found == connection(ip=V4)
    part.clock.now += kept - 0.5
    assert part.names.missing(connection(ip=V4)) is None
    part.clock.now += 1
    assert part.names.missing(connection(ip=V4)) == V4


@pytest.mark.security
def test_who_did_not_answer_is_left_alone_for_a_minute_and_the_reason_is_passed_on(connection: MAKE) -> None:
    part = Part({(REVERSE[V4], "PTR"): NOBODY})
    with pytest.raises(LookupFailed, match="name server did not answer"):
        part.ask(connection(ip=V4))
    part.clock.now += 59
    assert part.names.missing(connection(ip=V4)) is None
    part.clock.now += 2
    assert part.names.missing(connection(ip=V4)) == V4


@pytest.mark.parametrize("question", [(REVERSE[V4], "PTR"), (GOOD, "A")], ids=["for the name", "whether it leads back"])
def test_a_name_survives_a_failure_to_ask_again(connection: MAKE, question: tuple[str, str]) -> None:
    part = Part(zone(GOOD))
    part.find(connection(ip=V4))
    part.clock.now += 700
    part.server.zone[question] = NOBODY
    assert part.find(connection(ip=V4)).destination.domain == GOOD


def test_a_name_that_could_not_be_confirmed_is_tried_again_after_a_minute(connection: MAKE) -> None:
    part = Part({**zone(GOOD), (GOOD, "A"): NOBODY})
    with pytest.raises(LookupFailed, match="name server did not answer"):
        part.ask(connection(ip=V4))
    part.server.zone = dict(zone(GOOD))
    part.clock.now += 61
    assert part.find(connection(ip=V4)).destination.domain == GOOD


def test_an_address_is_asked_about_once(connection: MAKE) -> None:
    part = Part(zone(GOOD))
    for port in range(5):
        part.find(connection(id=f"c{port}", ip=V4))
    assert len(part.server.asked) == 2


@pytest.mark.security
def test_no_more_addresses_are_remembered_than_configured(connection: MAKE) -> None:
    part = Part(remembered=3)
    addresses = [f"198.51.100.{number}" for number in range(5)]
    for ip in addresses:
        part.find(connection(ip=ip))
    assert [part.names.missing(connection(ip=ip)) for ip in addresses] == [*addresses[:2], None, None, None]
    assert len(part.names._known) == 3


def test_the_hosts_file_wins_and_nobody_is_asked(connection: MAKE) -> None:
    part = Part(zone(GOOD), hosts={V4: ["intranet.example", "intranet"]})
    found = part.find(connection(ip=V4))
    assert found.destination.domain == "intranet.example"
    names = ("intranet.example", "intranet")
    assert found.outwatch.names == tuple(Name(name=name, origin="hosts", confirmed=True) for name in names)
    assert part.server.asked == []


def test_the_hosts_file_speaks_of_addresses_of_every_scope(connection: MAKE) -> None:
    seen = connection(ip="192.168.1.7", network=Network(direction="egress", scope="private"))
    assert Part(hosts={"192.168.1.7": ["printer"]}).find(seen).destination.domain == "printer"


def test_the_hosts_file_is_looked_at_at_most_once_a_second(connection: MAKE) -> None:
    part = Part()
    for _ in range(100):
        part.names.enrich(connection(ip=V4))
        part.names.missing(connection(ip=V4))
    assert part.hosts.looks == 1
    part.clock.now += 1.5
    part.hosts.known[V4] = ("late.example",)
    assert part.names.enrich(connection(ip=V4)).destination.domain == "late.example"
    assert part.hosts.looks == 2


def test_the_hosts_file_of_this_machine_says_nothing_about_anothers_recording(connection: MAKE) -> None:
    found = Part(hosts={V4: ["intranet.example"]}, this_machine=False).names.enrich(connection(ip=V4))
    assert found == connection(ip=V4)


@pytest.mark.security
def test_who_must_not_ask_asks_nothing_and_still_reads_the_hosts_file(connection: MAKE) -> None:
    part = Part(zone(GOOD), hosts={"203.0.113.5": ["intranet.example"]}, asks=False, private=True)
    for scope in ("public", "private"):
        assert part.names.missing(connection(ip=V4, network=Network(direction="egress", scope=scope))) is None
    assert part.find(connection(ip=V4)) == connection(ip=V4)
    assert part.find(connection(ip="203.0.113.5")).destination.domain == "intranet.example"
    assert part.server.asked == []


@pytest.mark.security
@pytest.mark.parametrize(
    ("scope", "asked", "asked_if_private"),
    [
        ("public", True, True),
        ("private", False, True),
        ("loopback", False, False),
        ("link_local", False, False),
        ("multicast", False, False),
        ("unclassified", False, False),
        (None, False, False),
    ],
)
def test_only_public_addresses_are_asked_about_and_private_ones_on_request(
    connection: MAKE, scope: Any, *, asked: bool, asked_if_private: bool
) -> None:
    seen = connection(ip=V4, network=Network(transport="tcp", direction="egress", scope=scope))
    assert (Part().names.missing(seen) is not None) == asked
    assert (Part(private=True).names.missing(seen) is not None) == asked_if_private


@pytest.mark.security
def test_nothing_is_asked_about_callers_about_own_traffic_or_without_an_address(connection: MAKE) -> None:
    part = Part(zone(GOOD), hosts={"203.0.113.5": ["intranet.example"]})
    caller = connection(ip=V4, network=Network(transport="tcp", direction="ingress", scope="public"))
    own = connection(ip=V4, outwatch=Findings(own=True))
    for seen in (caller, own, connection(ip=None)):
        assert part.find(seen) == seen
    known = replace(caller, destination=replace(caller.destination, ip="203.0.113.5"))
    assert part.names.enrich(known) == known, "the destination of a caller is this machine"
    assert part.server.asked == []


@pytest.mark.security
@pytest.mark.parametrize(
    "claimed",
    [
        "\x1b[31mevil\x07.example",
        "\\027[31mevil.example",
        "two words.example",
        "line\nbreak.example",
        "a" * 1000,
        f"{'a' * 64}.example",
        "=cmd|'/c calc'!A0",
        "<script>alert(1)</script>.example",
        "192.0.2.1",
        "-dash.example",
        "\u202egoogle.com",
        "\udcff.example",
        ".",
    ],
)
def test_what_can_be_no_name_is_never_believed_nor_asked_for(connection: MAKE, claimed: str) -> None:
    part = Part({(REVERSE[V4], "PTR"): Answer((claimed,), 600), (claimed, "A"): Answer((V4,), 600)})
    found = part.find(connection(ip=V4))
    assert found.destination.domain is None
    assert part.server.asked == [(REVERSE[V4], "PTR")]
    for name in found.outwatch.names or ():
        assert name.confirmed is False
        assert 0 < len(name.name) <= 253
    line = wire.encode(found)
    assert not any(byte < 0x20 or byte == 0x7F for byte in line), "one line without control characters"
    assert wire.decode(line) == found


@pytest.mark.parametrize(
    "wrong", [{"at_once": 0}, {"at_once": 1001}, {"seconds": 0}, {"seconds": 31}, {"remembered": 0}, {"server": "192.0.2.1"}]
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, ReverseNamesConfig)


def test_as_many_are_asked_at_once_as_configured() -> None:
    assert Part(at_once=7).names.at_once == 7

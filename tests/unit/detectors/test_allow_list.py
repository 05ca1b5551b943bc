"""The allow list: what each key of an entry means, and whom an entry must never cover."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from outwatch.detectors.allow_list import AllowList, AllowListConfig, Entry
from outwatch.errors import RuleError
from outwatch.model.records import (
    Connection,
    Destination,
    Detection,
    Dns,
    DnsQuestion,
    Findings,
    Hash,
    Name,
    Network,
    Process,
    Question,
    User,
)

Place = Callable[[str, str, str], RuleError]
Make = Callable[..., Connection]
CURL = Process(pid=77, name="curl", executable="/usr/bin/curl", entity_id="e1")


@pytest.fixture
def verdict_of(place: Place) -> Callable[..., list[Detection]]:
    """Inspect a record with a list made of the given entries."""

    def inspect(record: Connection | Question, *entries: dict[str, Any], **settings: Any) -> list[Detection]:
        config = AllowListConfig(entries=tuple(Entry(**entry) for entry in entries), **settings)
        detector = AllowList(config, place=place)
        assert detector.problems == []
        return list(detector.inspect(record))

    return inspect


Inspect = Callable[..., list[Detection]]


def _allowed(found: list[Detection]) -> bool:
    return [one.points for one in found] == [-50]


@pytest.mark.parametrize(
    ("destination", "ip", "covered"),
    [
        ("203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "203.0.113.8", False),
        ("203.0.113.0/24", "203.0.113.255", True),
        ("203.0.113.0/24", "203.0.114.0", False),
        ("203.0.113.77/24", "203.0.113.1", True),  # host bits say nothing
        ("0.0.0.0/0", "198.51.100.1", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("2001:DB8:0:0::9", "2001:db8::9", True),
        ("::ffff:203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "::ffff:203.0.113.9", True),
        ("::ffff:203.0.113.0/120", "203.0.113.200", True),
        ("::ffff:203.0.113.0/120", "203.0.114.200", False),
        ("64:ff9b::cb00:7109", "203.0.113.9", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("203.0.113.9", "2002:cb00:7109::1", True),  # 6to4 goes to the host in it
        ("203.0.113.9", "not an address", False),
        ("203.0.113.9", None, False),
    ],
)
def test_a_destination_covers_addresses_in_every_spelling(
    verdict_of: Inspect, connection: Make, destination: str, ip: str | None, *, covered: bool
) -> None:
    assert _allowed(verdict_of(connection(ip=ip), {"destination": destination})) is covered


@pytest.mark.parametrize(
    ("destination", "domain", "covered"),
    [
        ("example.com", "example.com", True),
        ("example.com", "deep.below.EXAMPLE.com.", True),
        ("*.example.com", "www.example.com", True),
        ("Example.COM.", "example.com", True),
        ("example.com", "notexample.com", False),
        ("example.com", "example.com.evil.test", False),
        ("www.example.com", "example.com", False),
    ],
)
def test_a_domain_covers_itself_and_what_is_below_it(
    verdict_of: Inspect, connection: Make, destination: str, domain: str, *, covered: bool
) -> None:
    assert _allowed(verdict_of(connection(domain=domain), {"destination": destination})) is covered


@pytest.mark.parametrize(
    ("port", "seen", "covered"),
    [
        (443, 443, True),
        (443, 80, False),
        ("443", 443, True),
        ("8000-8100", 8000, True),
        ("8000 - 8100", 8100, True),
        ("8000-8100", 8101, False),
        ("8000-8100", 7999, False),
        (443, None, False),
        ("0-1024", None, False),  # what is not known can't fit
    ],
)
def test_a_port_or_a_range_must_hold_the_port(
    verdict_of: Inspect, connection: Make, port: int | str, seen: int | None, *, covered: bool
) -> None:
    record = connection(destination=Destination(ip="203.0.113.9", port=seen))
    assert _allowed(verdict_of(record, {"port": port})) is covered


@pytest.mark.parametrize(
    ("entry", "covered"),
    [
        ({"transport": "tcp"}, True),
        ({"transport": "TCP"}, True),
        ({"transport": "udp"}, False),
        ({"user": "alice"}, True),
        ({"user": "1000"}, True),
        ({"user": "bob"}, False),
        ({"program": "/usr/bin/curl"}, True),
        ({"program": "curl"}, False),  # a name is chosen by whoever runs it
        ({"program": "/usr/bin/curl", "user": "bob"}, False),
        ({"destination": "203.0.113.9", "port": 443, "transport": "tcp", "program": "/usr/bin/curl", "user": "alice"}, True),
        ({"destination": "203.0.113.9", "port": 443, "transport": "udp", "program": "/usr/bin/curl", "user": "alice"}, False),
        ({"destination": "203.0.113.9", "port": 444}, False),
    ],
)
def test_every_key_that_is_there_must_fit(verdict_of: Inspect, connection: Make, entry: dict[str, Any], *, covered: bool) -> None:
    assert _allowed(verdict_of(connection(), entry)) is covered


@pytest.mark.parametrize("entry", [{"user": "alice"}, {"program": "/usr/bin/curl"}, {"sha256": "a" * 64}])
def test_what_is_not_known_of_a_connection_never_fits(verdict_of: Inspect, connection: Make, entry: dict[str, str]) -> None:
    assert verdict_of(connection(user=None, process=None), entry) == []
    assert verdict_of(connection(user=User(), process=Process()), entry) == []


def test_a_checksum_fits_in_any_case_and_only_itself(verdict_of: Inspect, connection: Make) -> None:
    record = connection(process=replace(CURL, hash=Hash(sha256="ab" * 32)))
    assert _allowed(verdict_of(record, {"sha256": "AB" * 32}))
    assert not _allowed(verdict_of(record, {"sha256": "ac" * 32}))
    assert not _allowed(verdict_of(record, {"sha256": "ac" * 32, "program": "/usr/bin/curl"}))


@pytest.mark.parametrize(("day", "covered"), [("2025-07-11", True), ("2025-07-10", False), ("2025-07-01", False)])
def test_an_entry_is_void_from_the_day_it_expires(verdict_of: Inspect, connection: Make, day: str, *, covered: bool) -> None:
    found = verdict_of(connection(), {"destination": "203.0.113.9", "expires": date.fromisoformat(day)})
    assert _allowed(found) is covered


def test_an_expired_entry_leaves_the_place_to_a_later_one(verdict_of: Inspect, connection: Make) -> None:
    entries = [{"destination": "203.0.113.9", "expires": date(2020, 1, 1)}, {"destination": "203.0.113.0/24", "comment": "mirror"}]
    (found,) = verdict_of(connection(), *entries)
    assert "203.0.113.0/24" in found.reason
    assert "mirror" in found.reason


def test_a_program_may_be_given_by_its_subject(verdict_of: Inspect, connection: Make) -> None:
    record = connection(outwatch=Findings(subject="/usr/bin/python3 /opt/backup.py"), process=None)
    assert _allowed(verdict_of(record, {"program": "/usr/bin/python3 /opt/backup.py"}))
    assert not _allowed(verdict_of(record, {"program": "/usr/bin/python3 /opt/other.py"}))


@pytest.mark.security
@pytest.mark.parametrize("state", ["deleted", "memfd", "replaced", "other_namespace"])
@pytest.mark.parametrize("subject", [None, "/usr/bin/curl"])
def test_a_disguised_executable_is_never_allowed_by_its_path(
    verdict_of: Inspect, connection: Make, state: Any, subject: str | None
) -> None:
    record = connection(outwatch=Findings(executable=state, subject=subject))
    assert verdict_of(record, {"program": "/usr/bin/curl"}) == []


@pytest.mark.security
@pytest.mark.parametrize("origin", ["ptr", "sni", "http", "quic", "dns", "hosts", None])
@pytest.mark.parametrize("confirmed", [False, None])
def test_a_name_that_is_only_claimed_allows_nothing(verdict_of: Inspect, connection: Make, origin: Any, *, confirmed: bool | None) -> None:
    names = (Name(name="example.com", origin=origin, confirmed=confirmed),)
    record = connection(domain="example.com", outwatch=Findings(names=names))
    assert verdict_of(record, {"destination": "example.com"}) == []


@pytest.mark.security
def test_a_confirmed_name_does_not_vouch_for_the_claimed_one_beside_it(verdict_of: Inspect, connection: Make) -> None:
    names = (Name(name="host.evil.test", origin="dns", confirmed=True), Name(name="example.com", origin="ptr", confirmed=False))
    record = connection(domain="example.com", outwatch=Findings(names=names))
    assert verdict_of(record, {"destination": "example.com"}) == []
    assert _allowed(verdict_of(record, {"destination": "evil.test"}))


def test_an_empty_list_of_names_is_no_word_for_the_domain(verdict_of: Inspect, connection: Make) -> None:
    record = connection(domain="example.com", outwatch=Findings(names=()))
    assert verdict_of(record, {"destination": "example.com"}) == []


@pytest.mark.security
@pytest.mark.parametrize(
    "program",
    [
        "/usr/bin/python3",
        "/usr/bin/python3.12",
        "/bin/bash",
        "/usr/bin/perl",
        "/usr/bin/node",
        "/usr/lib/jvm/java-21/bin/java",
        "C:\\Python311\\python.exe",
        "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\PowerShell.exe",
        "/usr/bin/env",
        "/bin/tcsh",
        "/bin/csh",
        "/bin/rbash",
        "C:\\Python311\\pythonw.exe",
        "C:\\Program Files\\Java\\bin\\javaw.exe",
        "C:\\Windows\\System32\\cmd.exe",
    ],
)
@pytest.mark.parametrize("more", [{}, {"port": 443}, {"user": "alice"}, {"transport": "tcp"}])
def test_an_interpreter_is_refused_without_a_destination(place: Place, program: str, more: dict[str, Any]) -> None:
    detector = AllowList(AllowListConfig(entries=(Entry(program=program, **more),)), place=place)
    (problem,) = detector.problems
    assert problem.path == "detectors.allow_list.entries[0].program"
    assert "interpreter" in problem.reason


@pytest.mark.parametrize(
    ("program", "taken"),
    [
        ("/usr/bin/python* script:/opt/backup.py", True),
        ("/usr/bin/bash code:0123456789abcdef", True),
        ("/usr/bin/python* script:backup.py", False),
        ("/usr/bin/python* module:backup", False),
        ("/usr/bin/bash stdin:-", False),
        ("/usr/bin/timeout", False),
    ],
)
def test_an_interpreter_is_taken_by_a_subject_that_says_what_it_runs(place: Place, program: str, *, taken: bool) -> None:
    detector = AllowList(AllowListConfig(entries=(Entry(program=program),)), place=place)
    assert bool(detector.problems) is not taken


@pytest.mark.security
def test_the_checksum_of_an_interpreter_does_not_stand_for_its_script(place: Place) -> None:
    entry = Entry(program="/usr/bin/python3.12", sha256="a" * 64)
    assert len(AllowList(AllowListConfig(entries=(entry,)), place=place).problems) == 1


def test_an_interpreter_with_a_destination_is_allowed_there_and_nowhere_else(verdict_of: Inspect, connection: Make) -> None:
    python = replace(CURL, executable="/usr/bin/python3")
    entry = {"program": "/usr/bin/python3", "destination": "203.0.113.9"}
    assert _allowed(verdict_of(connection(process=python), entry))
    assert not _allowed(verdict_of(connection(process=python, ip="203.0.113.10"), entry))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({}, "entries[1]"),
        ({"comment": "only a comment"}, "entries[1]"),
        ({"expires": date(2030, 1, 1)}, "entries[1]"),
        ({"destination": ""}, "entries[1].destination"),
        ({"destination": "999.1.1.1"}, "entries[1].destination"),
        ({"destination": "10.0.0.0/33"}, "entries[1].destination"),
        ({"destination": "2001:db8::/129"}, "entries[1].destination"),
        ({"destination": "https://example.com/"}, "entries[1].destination"),
        ({"destination": "example.com:443"}, "entries[1].destination"),
        ({"destination": "two words"}, "entries[1].destination"),
        ({"destination": "a..b"}, "entries[1].destination"),
        ({"port": 65536}, "entries[1].port"),
        ({"port": -1}, "entries[1].port"),
        ({"port": "https"}, "entries[1].port"),
        ({"port": "8100-8000"}, "entries[1].port"),
        ({"port": "1-70000"}, "entries[1].port"),
        ({"port": ""}, "entries[1].port"),
        ({"port": "5" * 5000}, "entries[1].port"),
        ({"sha256": "abc"}, "entries[1].sha256"),
        ({"sha256": "g" * 64}, "entries[1].sha256"),
        ({"sha256": "a" * 64 + "\n"}, "entries[1].sha256"),
    ],
)
def test_a_broken_entry_is_listed_with_its_place_and_the_others_work(
    place: Place, connection: Make, entry: dict[str, Any], key: str
) -> None:
    config = AllowListConfig(entries=(Entry(destination="198.51.100.1"), Entry(**entry), Entry(destination="203.0.113.9")))
    detector = AllowList(config, place=place)
    assert [problem.path for problem in detector.problems] == [f"detectors.allow_list.{key}"]
    assert _allowed(list(detector.inspect(connection())))


@pytest.mark.parametrize(
    "table",
    [
        {"entries": [{"destinaton": "203.0.113.9"}]},
        {"entries": [{"destination": 5}]},
        {"unlisted": "critical"},
        {"unlisted_scopes": ["everywhere"]},
        {"points": 101},
        {"points": -1},
    ],
)
def test_the_settings_refuse_unknown_keys_and_wrong_values(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, AllowListConfig)


@pytest.mark.parametrize(("level", "points"), [("low", 30), ("medium", 50), ("high", 70)])
def test_what_no_entry_covers_gets_the_unlisted_level(verdict_of: Inspect, connection: Make, level: str, points: int) -> None:
    (found,) = verdict_of(connection(domain="example.com"), {"destination": "198.51.100.1"}, unlisted=level)
    assert (found.points, found.family) == (points, "rarity")
    assert found.evidence == {"ip": "203.0.113.9", "domain": "example.com"}


@pytest.mark.parametrize(
    ("scope", "reported"),
    [("public", True), ("unclassified", True), ("private", False), ("loopback", False), ("link_local", False), ("multicast", False)],
)
def test_unlisted_speaks_only_of_what_leaves_for_the_outside(verdict_of: Inspect, connection: Make, scope: Any, *, reported: bool) -> None:
    record = connection(network=Network(transport="tcp", direction="egress", scope=scope))
    assert bool(verdict_of(record, unlisted="medium")) is reported


def test_the_user_chooses_in_which_scopes_unlisted_speaks(verdict_of: Inspect, connection: Make) -> None:
    private = connection(network=Network(transport="tcp", direction="egress", scope="private"))
    assert len(verdict_of(private, unlisted="low", unlisted_scopes=("private",))) == 1
    assert verdict_of(connection(), unlisted="low", unlisted_scopes=("private",)) == []


def test_a_covered_connection_is_not_called_unlisted(verdict_of: Inspect, connection: Make) -> None:
    assert _allowed(verdict_of(connection(), {"destination": "203.0.113.9"}, unlisted="high"))


def test_the_points_of_an_entry_are_configurable(verdict_of: Inspect, connection: Make) -> None:
    (found,) = verdict_of(connection(), {"destination": "203.0.113.9"}, points=20)
    assert found.points == -20


def test_a_question_is_covered_by_the_name_it_asks_for(verdict_of: Inspect) -> None:
    when = datetime(2025, 7, 10, 17, 0, tzinfo=UTC)
    asked = Dns(question=DnsQuestion(name="www.example.com", type="A"))
    question = Question(id="q1", timestamp=when, destination=Destination(ip="198.51.100.53", port=53), dns=asked)
    assert _allowed(verdict_of(question, {"destination": "example.com"}))
    assert verdict_of(question, {"destination": "example.org"}, unlisted="high") == []


def test_twenty_thousand_entries_are_each_found(place: Place, connection: Make) -> None:
    count = 20_000
    entries = [Entry(destination=f"198.18.{at // 256}.{at % 256}", comment=f"entry {at}") for at in range(count // 2)]
    entries += [Entry(destination=f"host{at}.example.com", comment=f"entry {at}") for at in range(count // 2, count)]
    detector = AllowList(AllowListConfig(entries=tuple(entries), unlisted="medium"), place=place)
    assert detector.problems == []
    for at in (0, 255, 256, count // 2 - 1):
        (found,) = detector.inspect(connection(ip=f"198.18.{at // 256}.{at % 256}"))
        assert f"(entry {at})" in found.reason
    for at in (count // 2, count - 1):
        (found,) = detector.inspect(connection(domain=f"www.host{at}.example.com"))
        assert f"(entry {at})" in found.reason
    (missed,) = detector.inspect(connection(domain=f"host{count}.example.com"))
    assert missed.points == 50

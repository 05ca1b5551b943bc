"""Names that were heard are joined to the right connections, and none is believed more than it deserves."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from outwatch.enrichers import names as module
from outwatch.enrichers.names import Names, NamesConfig
from outwatch.model.records import (
    Connection,
    Destination,
    Dns,
    DnsAnswer,
    DnsQuestion,
    Findings,
    Name,
    NameOrigin,
    Network,
    Process,
    Question,
)

Make = Callable[..., Connection]
WHEN = datetime(2025, 7, 10, 12, tzinfo=UTC)
OURS, STRANGE = "192.0.2.53", "198.51.100.53"
HOME, CONTAINER = "4026531840", "4026532999"
IP, OTHER = "203.0.113.9", "203.0.113.10"
ME, SOMEBODY = Process(pid=1, entity_id="me"), Process(pid=2, entity_id="somebody")


@pytest.fixture
def names() -> Names:
    return Names(NamesConfig(), resolvers=frozenset({OURS}), namespace=HOME)


def question(
    name: str, *ips: str, ttl: int = 300, process: Process | None = ME, resolver: str = OURS, at: datetime = WHEN, namespace: str = HOME
) -> Question:
    return Question(
        id="q",
        timestamp=at,
        network=Network(transport="udp", direction="egress", namespace=namespace),
        destination=Destination(ip=resolver, port=53),
        process=process,
        dns=Dns(question=DnsQuestion(name=name, type="A"), answers=tuple(DnsAnswer(data=ip, ttl=ttl) for ip in ips) or None),
    )


def call(
    make: Make, *, ip: str = IP, process: Process = ME, at: datetime = WHEN, said: tuple[Name, ...] = (), name: str = "c1"
) -> Connection:
    return make(id=name, ip=ip, process=process, timestamp=at, outwatch=Findings(names=said or None))


def best(connection: Connection) -> tuple[str | None, list[tuple[str, NameOrigin | None, bool | None]]]:
    return connection.destination.domain, [(one.name, one.origin, one.confirmed) for one in connection.outwatch.names or ()]


def test_the_name_that_a_process_asked_for_is_that_of_its_connection(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP))
    assert best(names.enrich(call(connection))) == ("www.example.com", [("www.example.com", "dns", True)])
    assert best(names.enrich(call(connection, ip=OTHER))) == (None, [])


def test_of_two_names_of_one_address_each_process_has_its_own(names: Names, connection: Make) -> None:
    names.learn(question("mine.example", IP))
    names.learn(question("other.example", IP, process=SOMEBODY))
    assert names.enrich(call(connection)).destination.domain == "mine.example"
    assert names.enrich(call(connection, process=SOMEBODY)).destination.domain == "other.example"


def test_who_did_not_ask_gets_the_last_answer_while_it_holds(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP, ttl=300))
    stranger = Process(pid=3, entity_id="stranger")
    assert names.enrich(call(connection, process=stranger, at=WHEN + timedelta(seconds=299))).destination.domain == "www.example.com"
    assert names.enrich(call(connection, process=stranger, at=WHEN + timedelta(seconds=301))).destination.domain is None


def test_who_asked_may_use_an_answer_for_longer_than_it_holds(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP, ttl=1))
    assert names.enrich(call(connection, at=WHEN + timedelta(minutes=30))).destination.domain == "www.example.com"
    assert names.enrich(call(connection, at=WHEN + timedelta(hours=2))).destination.domain is None


def test_a_name_that_comes_late_names_the_connections_that_waited(names: Names, connection: Make) -> None:
    names.enrich(call(connection, name="early"))
    names.enrich(call(connection, name="elsewhere", ip=OTHER))
    assert list(names.learn(question("www.example.com", IP))) == ["early"]
    assert list(names.learn(question("www.example.com", IP))) == []


@pytest.mark.parametrize("origin", ["sni", "http", "quic"])
def test_what_a_client_says_and_a_name_server_confirms_comes_first(names: Names, connection: Make, origin: NameOrigin) -> None:
    names.learn(question("asked.example", IP, process=SOMEBODY))
    names.learn(question("cdn.example", IP))
    said = (Name(name="asked.example", origin=origin),)
    domain, found = best(names.enrich(call(connection, said=said)))
    assert domain == "asked.example"
    assert ("asked.example", origin, True) in found
    assert ("cdn.example", "dns", True) in found


@pytest.mark.security
def test_a_name_that_only_the_client_says_is_not_confirmed_and_comes_after_an_answer(names: Names, connection: Make) -> None:
    claimed = (Name(name="google.com", origin="sni"),)
    assert best(names.enrich(call(connection, said=claimed))) == ("google.com", [("google.com", "sni", None)])
    names.learn(question("evil.example", IP))
    domain, found = best(names.enrich(call(connection, said=claimed)))
    assert domain == "evil.example"
    assert ("google.com", "sni", None) in found


@pytest.mark.security
def test_a_name_server_that_is_not_the_systems_confirms_nothing(names: Names, connection: Make) -> None:
    names.learn(question("google.com", IP, resolver=STRANGE))
    claimed = (Name(name="google.com", origin="sni"),)
    domain, found = best(names.enrich(call(connection, said=claimed)))
    assert domain == "google.com"
    assert {confirmed for _, _, confirmed in found} == {None}


def test_a_name_server_on_this_machine_is_the_systems(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP, resolver="127.0.0.53"))
    assert best(names.enrich(call(connection)))[1] == [("www.example.com", "dns", True)]


@pytest.mark.security
@pytest.mark.parametrize("resolver", [OURS, "127.0.0.53"])
def test_in_a_namespace_of_their_own_everybody_can_answer_so_nothing_is_confirmed(names: Names, connection: Make, resolver: str) -> None:
    names.learn(question("google.com", IP, resolver=resolver, namespace=CONTAINER))
    assert best(names.enrich(call(connection))) == ("google.com", [("google.com", "dns", None)])


def test_a_name_server_that_the_user_declares_is_believed_in_containers_too(connection: Make) -> None:
    names = Names(NamesConfig(resolvers=(STRANGE,)), resolvers=frozenset(), namespace=HOME)
    names.learn(question("www.example.com", IP, resolver=STRANGE, namespace=CONTAINER))
    assert best(names.enrich(call(connection)))[1] == [("www.example.com", "dns", True)]


def test_names_from_elsewhere_stay_and_a_heard_one_goes_before_them(names: Names, connection: Make) -> None:
    reverse = Name(name="host.isp.example", origin="ptr", confirmed=True)
    seen = replace(call(connection, said=(reverse,)), destination=Destination(ip=IP, port=443, domain="host.isp.example"))
    names.learn(question("www.example.com", IP))
    domain, found = best(names.enrich(seen))
    assert domain == "www.example.com"
    assert ("host.isp.example", "ptr", True) in found


def test_accepted_connections_have_no_name_of_a_destination(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP))
    accepted = replace(call(connection), network=Network(transport="tcp", direction="ingress"))
    assert names.enrich(accepted) is accepted


def test_enriching_again_changes_nothing(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP))
    once = names.enrich(call(connection, said=(Name(name="www.example.com", origin="sni"),)))
    assert names.enrich(once) == once


@pytest.mark.security
@pytest.mark.parametrize("name", ["", "a" * 300, "no name\x00", "..", "\x1b[m"])
def test_what_is_no_host_name_is_not_learnt(names: Names, connection: Make, name: str) -> None:
    names.learn(question(name, IP))
    assert names.enrich(call(connection)).outwatch.names is None


@pytest.mark.security
def test_memory_is_bounded_however_many_answers_there_are(names: Names, connection: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 100)
    monkeypatch.setattr(module, "_MOST_WAITING", 50)
    for number in range(1000):
        names.learn(question(f"n{number}.example", IP, f"198.51.{number // 250}.{number % 250}"))
        names.enrich(call(connection, ip=f"2001:db8::{number:x}", name=f"c{number}"))
    assert len(names._of_process) <= 100
    assert len(names._of_address) <= 100
    assert all(len(one) <= 4 for one in names._of_address.values())
    assert sum(map(len, names._waiting.values())) <= 50
    assert names.enrich(call(connection)).destination.domain == "n999.example"


def test_a_connection_to_an_encrypted_resolver_says_so_and_explains_names_that_are_missing(names: Names, connection: Make) -> None:
    asks = names.enrich(call(connection, ip="9.9.9.9"))
    assert asks.outwatch.encrypted_dns == "Quad9 (DNS over HTTPS)"
    nameless = names.enrich(call(connection, name="c2"))
    assert "Quad9" in (nameless.outwatch.no_name or "")
    assert names.enrich(call(connection, name="c3", process=SOMEBODY)).outwatch.no_name is None
    names.learn(question("www.example.com", IP))
    assert names.enrich(nameless).outwatch.no_name is None

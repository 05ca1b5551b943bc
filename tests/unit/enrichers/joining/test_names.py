"""Names that were heard are joined to the right connections."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from outwatch.enrichers.names import Names, NamesConfig
from outwatch.model.records import Destination, Name, NameOrigin, Network, Process

from .heard import CONTAINER, HOME, IP, ME, OTHER, OURS, SOMEBODY, STRANGE, STRANGER, WHEN, Clock, Make, best, call, question


def test_the_name_that_a_process_asked_for_is_that_of_its_connection(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP))
    assert best(names.enrich(call(connection))) == ("www.example.com", [("www.example.com", "dns", True)])
    assert best(names.enrich(call(connection, ip=OTHER))) == (None, [])


def test_of_two_names_of_one_address_each_process_has_its_own(names: Names, connection: Make) -> None:
    names.learn(question("mine.example", IP))
    names.learn(question("other.example", IP, process=SOMEBODY))
    assert names.enrich(call(connection)).destination.domain == "mine.example"
    assert names.enrich(call(connection, process=SOMEBODY)).destination.domain == "other.example"


@pytest.mark.parametrize("resolver", [OURS, STRANGE])
def test_a_connection_keeps_its_name_when_its_process_asks_for_another_of_the_same_address(
    names: Names, connection: Make, resolver: str
) -> None:
    names.learn(question("first.example", IP, resolver=resolver))
    names.enrich(call(connection, name="first"))
    names.learn(question("second.example", IP, resolver=resolver, at=WHEN + timedelta(seconds=1)))
    later = WHEN + timedelta(seconds=2)
    assert names.enrich(call(connection, at=later)).destination.domain == "second.example"
    assert names.enrich(call(connection, name="first", action="traffic")).destination.domain == "first.example"
    assert names.enrich(call(connection, name="first", action="close")).destination.domain == "first.example"


@pytest.mark.parametrize(
    ("heard", "began", "expected"),
    [
        ("a1 b2", 3, "b"),
        ("a1 b3", 2, "a"),  # told in one batch: answers come first
        ("a1 b3 a5", 2, "a"),
        ("a1 b3 a5", 4, "b"),
        ("a1 b3 a5", 6, "a"),
        ("a2 b3", 1, "a"),
        ("a1 a2 a3 b5", 4, "a"),
    ],
)
def test_a_connection_goes_back_to_what_was_answered_last_before_it_began(
    names: Names, connection: Make, heard: str, began: int, expected: str
) -> None:
    for one in heard.split():
        names.learn(question(f"{one[0]}.example", IP, at=WHEN + timedelta(milliseconds=int(one[1]))))
    assert names.enrich(call(connection, at=WHEN + timedelta(milliseconds=began))).destination.domain == f"{expected}.example"


@pytest.mark.parametrize(("ttl", "holds"), [(300, 300), (0, 60), (2**31 - 1, 3600)], ids=["as it says", "none", "for 68 years"])
def test_who_did_not_ask_gets_an_answer_while_it_holds(names: Names, connection: Make, clock: Clock, ttl: int, holds: int) -> None:
    names.learn(question("www.example.com", IP, ttl=ttl))
    clock.now += holds - 1
    assert names.enrich(call(connection, process=STRANGER)).destination.domain == "www.example.com"
    clock.now += 2
    assert names.enrich(call(connection, process=STRANGER)).destination.domain is None


def test_who_asked_may_use_an_answer_for_longer_than_it_holds(names: Names, connection: Make, clock: Clock) -> None:
    names.learn(question("www.example.com", IP, ttl=1))
    clock.now += 1800
    assert names.enrich(call(connection)).destination.domain == "www.example.com"
    clock.now += 3600
    assert names.enrich(call(connection)).destination.domain is None


@pytest.mark.parametrize(
    ("asker", "after", "expected"),
    [(ME, 3599, ["early"]), (ME, 3601, []), (SOMEBODY, 59, ["early"]), (SOMEBODY, 61, []), (None, 59, ["early"])],
)
def test_a_name_that_comes_late_names_the_connections_that_waited_but_not_for_ever(
    names: Names, connection: Make, clock: Clock, asker: Process | None, after: int, expected: list[str]
) -> None:
    first = names.enrich(call(connection, name="early"))
    names.enrich(call(connection, name="elsewhere", ip=OTHER))
    clock.now += after
    later = WHEN + timedelta(seconds=after)
    assert list(names.learn(question("www.example.com", IP, process=asker, at=later))) == expected
    assert (names.enrich(first).destination.domain == "www.example.com") is bool(expected)
    assert list(names.learn(question("www.example.com", IP, process=asker, at=later))) == []


def test_a_connection_without_a_name_takes_none_that_comes_too_late_when_it_is_told_again(
    names: Names, connection: Make, clock: Clock
) -> None:
    names.enrich(call(connection, name="old"))
    clock.now += 7200
    names.learn(question("www.example.com", IP, process=SOMEBODY, at=WHEN + timedelta(hours=2)))
    assert names.enrich(call(connection, name="old", action="traffic")).destination.domain is None


def test_a_believed_answer_that_comes_late_takes_the_place_of_a_strangers(names: Names, connection: Make) -> None:
    names.learn(question("claimed.example", IP, process=SOMEBODY, resolver=STRANGE))
    first = names.enrich(call(connection, name="early"))
    assert best(first) == ("claimed.example", [("claimed.example", "dns", None)])
    assert list(names.learn(question("another.example", IP, process=SOMEBODY, resolver=STRANGE))) == []
    assert list(names.learn(question("www.example.com", IP, process=SOMEBODY))) == ["early"]
    assert best(names.enrich(first)) == ("www.example.com", [("www.example.com", "dns", True)])


def test_a_name_stays_with_its_connection_when_nobody_remembers_the_answer(names: Names, connection: Make, clock: Clock) -> None:
    names.learn(question("www.example.com", IP))
    said = (Name(name="shop.example.com", origin="sni"),)
    names.learn(question("shop.example.com", IP, process=SOMEBODY))
    before = best(names.enrich(call(connection, name="long", said=said)))
    assert before[1][1] == ("shop.example.com", "sni", True)
    clock.now += 100_000
    assert best(names.enrich(call(connection, name="long", said=said, action="traffic"))) == before
    assert best(names.enrich(call(connection, name="long", said=said, action="close"))) == before


@pytest.mark.parametrize("origin", ["sni", "http", "quic"])
def test_what_a_client_says_and_a_name_server_confirms_comes_first(names: Names, connection: Make, origin: NameOrigin) -> None:
    names.learn(question("asked.example", IP, process=SOMEBODY))
    names.learn(question("cdn.example", IP))
    said = (Name(name="asked.example", origin=origin),)
    domain, found = best(names.enrich(call(connection, said=said)))
    assert domain == "asked.example"
    assert ("asked.example", origin, True) in found
    assert ("cdn.example", "dns", True) in found


def test_a_name_server_on_this_machine_is_the_systems(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP, resolver="127.0.0.53"))
    assert best(names.enrich(call(connection)))[1] == [("www.example.com", "dns", True)]


def test_a_name_server_that_the_user_declares_is_believed_in_containers_too(connection: Make) -> None:
    names = Names(NamesConfig(resolvers=(STRANGE,)), resolvers=tuple, namespace=HOME)
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


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.251"])
def test_an_address_that_is_nobodys_has_the_name_that_its_process_asked_for_and_no_other(names: Names, connection: Make, ip: str) -> None:
    names.learn(question("blocked.example", ip))
    assert names.enrich(call(connection, ip=ip)).destination.domain == "blocked.example"
    assert names.enrich(call(connection, ip=ip, process=SOMEBODY)).destination.domain is None


@pytest.mark.parametrize(
    ("resolver", "asked_in", "ip", "seen_in", "named"),
    [
        (OURS, HOME, IP, CONTAINER, True),
        (OURS, HOME, "10.0.0.5", HOME, True),
        (OURS, HOME, "10.0.0.5", CONTAINER, False),  # another 10.0.0.5
        (OURS, HOME, "fe80::5", CONTAINER, False),
        (OURS, CONTAINER, "10.0.0.5", CONTAINER, True),
        (OURS, CONTAINER, "10.0.0.5", HOME, False),
        (OURS, CONTAINER, IP, HOME, False),  # whoever has a namespace can answer himself
        (STRANGE, HOME, IP, HOME, True),
        (STRANGE, HOME, IP, CONTAINER, False),
        (OURS, None, IP, HOME, True),
        (OURS, HOME, "10.0.0.5", None, True),
    ],
)
def test_an_answer_names_others_only_where_its_address_means_the_same(
    names: Names, connection: Make, resolver: str, asked_in: str | None, ip: str, seen_in: str | None, named: bool
) -> None:
    names.learn(question("www.example.com", ip, resolver=resolver, namespace=asked_in))
    seen = names.enrich(call(connection, ip=ip, process=STRANGER, namespace=seen_in))
    assert (seen.destination.domain == "www.example.com") is named


@pytest.mark.parametrize("written", ["::ffff:203.0.113.9", "64:ff9b::203.0.113.9", "203.0.113.9"])
def test_an_address_in_another_spelling_is_the_same(names: Names, connection: Make, written: str) -> None:
    names.learn(question("www.example.com", written))
    assert names.enrich(call(connection, ip="203.0.113.9", process=STRANGER)).destination.domain == "www.example.com"


def test_a_name_server_of_a_link_is_known_without_the_name_of_the_link(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP, resolver="fe80::53"))
    assert best(names.enrich(call(connection)))[1] == [("www.example.com", "dns", True)]


def test_a_name_that_a_stranger_answered_and_ours_too_is_confirmed(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP, process=SOMEBODY))
    names.learn(question("www.example.com", IP, resolver=STRANGE))
    assert best(names.enrich(call(connection)))[1] == [("www.example.com", "dns", True)]


def test_what_a_client_says_twice_is_told_once(names: Names, connection: Make) -> None:
    said = (Name(name="www.example.com", origin="http"), Name(name="www.example.com", origin="http"))
    assert best(names.enrich(call(connection, said=said)))[1] == [("www.example.com", "http", None)]


def test_a_connection_to_an_encrypted_resolver_says_so_and_explains_names_that_are_missing(names: Names, connection: Make) -> None:
    asks = names.enrich(call(connection, ip="9.9.9.9"))
    assert asks.outwatch.encrypted_dns == "Quad9 (DNS over HTTPS)"
    nameless = names.enrich(call(connection))
    assert "Quad9" in (nameless.outwatch.no_name or "")
    assert names.enrich(call(connection, process=SOMEBODY)).outwatch.no_name is None
    names.learn(question("www.example.com", IP))
    assert names.enrich(nameless).outwatch.no_name is None


def test_name_servers_that_the_system_takes_later_are_believed_within_seconds(connection: Make, clock: Clock) -> None:
    servers = [OURS]
    names = Names(NamesConfig(), resolvers=lambda: servers, namespace=HOME, clock=clock)
    names.learn(question("first.example", IP))
    servers[:] = [STRANGE]
    clock.now += 6
    names.learn(question("second.example", IP))
    assert best(names.enrich(call(connection)))[1] == [("second.example", "dns", None)]
    names.learn(question("third.example", IP, resolver=STRANGE))
    assert best(names.enrich(call(connection)))[1] == [("third.example", "dns", True)]


def test_a_connection_that_is_over_keeps_its_name_when_something_else_comes_to_light(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP))
    over = names.enrich(call(connection, action="close"))
    for number in range(20):
        names.learn(question(f"n{number}.example", IP))
    found = (*(over.outwatch.names or ()), Name(name="host.isp.example", origin="ptr", confirmed=True))
    again = names.enrich(replace(over, outwatch=replace(over.outwatch, names=found)))
    assert best(again) == ("www.example.com", [("www.example.com", "dns", True), ("host.isp.example", "ptr", True)])

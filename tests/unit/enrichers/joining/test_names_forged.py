"""No name that was heard is believed more than it deserves, and nobody drives out the names of others."""

from datetime import timedelta

import pytest

from outwatch.engine.health import Health
from outwatch.enrichers import names as module
from outwatch.enrichers.names import Names, NamesConfig, waiting
from outwatch.model.records import Name, Process

from .heard import CONTAINER, HOME, IP, ME, OTHER, OURS, SOMEBODY, STRANGE, STRANGER, WHEN, Clock, Make, best, call, question


@pytest.mark.security
@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)], ids=["forth", "back"])
@pytest.mark.parametrize("process", [ME, STRANGER], ids=["who asked", "another"])
def test_a_clock_that_is_set_makes_no_answer_hold_shorter_or_longer(
    names: Names, connection: Make, clock: Clock, process: Process, jump: timedelta
) -> None:
    names.learn(question("www.example.com", IP, ttl=300))
    assert names.enrich(call(connection, process=process, at=WHEN + jump)).destination.domain == "www.example.com"
    clock.now += 3601
    assert names.enrich(call(connection, process=process, at=WHEN + jump)).destination.domain is None


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


@pytest.mark.security
@pytest.mark.parametrize("resolver", [OURS, "127.0.0.53"])
def test_in_a_namespace_of_their_own_everybody_can_answer_so_nothing_is_confirmed(names: Names, connection: Make, resolver: str) -> None:
    names.learn(question("google.com", IP, resolver=resolver, namespace=CONTAINER))
    assert best(names.enrich(call(connection))) == ("google.com", [("google.com", "dns", None)])


@pytest.mark.security
@pytest.mark.parametrize("name", ["", "a" * 300, "no name\x00", "..", "\x1b[m"])
def test_what_is_no_host_name_is_not_learnt(names: Names, connection: Make, name: str) -> None:
    names.learn(question(name, IP))
    assert names.enrich(call(connection)).outwatch.names is None


@pytest.mark.security
def test_memory_is_bounded_however_many_answers_there_are(connection: Make, monkeypatch: pytest.MonkeyPatch, health: Health) -> None:
    for limit, most in {
        "_MOST_OF_PROCESSES": 100,
        "_MOST_TRUSTED": 80,
        "_MOST_OTHERS": 60,
        "_MOST_JOINED": 50,
        "_MOST_SECRETIVE": 5,
    }.items():
        monkeypatch.setattr(module, limit, most)
    monkeypatch.setattr(waiting, "_MOST", 40)
    names = Names(NamesConfig(), resolvers=lambda: {OURS}, namespace=HOME, health=health)
    for number in range(1000):
        process = Process(pid=number, entity_id=f"e{number}")
        many = f"198.51.{number // 250}.{number % 250}"
        names.learn(question(f"n{number}.example", IP, many, process=process))
        names.learn(question(f"x{number}.example", IP, many, process=process, resolver=STRANGE))
        names.enrich(call(connection, ip=f"2001:db8::{number:x}", process=process))
        names.enrich(call(connection, ip="9.9.9.9", process=process))
        names.enrich(call(connection, process=process))
    assert (len(names._of_process), len(names._trusted), len(names._others)) == (100, 80, 60)
    assert (len(names._joined), len(names._waiting), len(names._secretive)) == (50, 40, 5)
    assert names.enrich(call(connection)).destination.domain == "n999.example"
    assert health.lost["heard names"] >= 1000


@pytest.mark.security
def test_ten_thousand_names_of_one_address_cost_whoever_asked_nothing(names: Names, connection: Make, health: Health) -> None:
    names.learn(question("mine.example", IP))
    for number in range(10_000):
        names.learn(question(f"n{number}.evil.example", IP, f"2001:db8::{number:x}", process=SOMEBODY))
    assert best(names.enrich(call(connection))) == ("mine.example", [("mine.example", "dns", True)])
    assert len(names._trusted.get(IP) or ()) == 8
    assert len(names._of_process) == 4_001
    assert health.lost["heard names"] >= 9_990  # of those that still held


@pytest.mark.security
def test_answers_of_strangers_take_no_name_away(names: Names, connection: Make) -> None:
    names.learn(question("www.example.com", IP))
    for number in range(200):
        ips = [f"2001:db8:{number:x}::{at:x}" for at in range(64)]
        names.learn(question("www.example.com", IP, *ips, process=SOMEBODY, resolver=STRANGE))
        names.learn(question(f"n{number}.example", IP, process=SOMEBODY, resolver=STRANGE))
    said = (Name(name="www.example.com", origin="sni"),)
    for process in (ME, STRANGER):
        found = best(names.enrich(call(connection, process=process, said=said)))
        assert found == ("www.example.com", [("www.example.com", "dns", True), ("www.example.com", "sni", True)])


@pytest.mark.security
def test_an_answer_that_no_longer_holds_confirms_nothing_that_others_say(names: Names, connection: Make, clock: Clock) -> None:
    names.learn(question("moved.example", IP, ttl=300))
    said = (Name(name="moved.example", origin="sni"),)
    clock.now += 301
    assert best(names.enrich(call(connection, process=SOMEBODY, said=said)))[1] == [("moved.example", "sni", None)]


@pytest.mark.security
def test_who_only_says_that_he_asks_a_resolver_is_not_taken_at_his_word(names: Names, connection: Make) -> None:
    said = (Name(name="dns.google", origin="sni"),)
    claims = names.enrich(call(connection, said=said)).outwatch.encrypted_dns
    assert claims == "Google (DNS over HTTPS), by the name that it gives"
    names.learn(question("dns.google", OTHER))
    assert names.enrich(call(connection, said=said, ip=OTHER)).outwatch.encrypted_dns == "Google (DNS over HTTPS)"
    assert names.enrich(call(connection, said=said, ip="8.8.8.8")).outwatch.encrypted_dns == "Google (DNS over HTTPS)"


@pytest.mark.security
def test_an_answer_with_hundreds_of_addresses_names_whichever_its_process_takes_and_few_for_others(names: Names, connection: Make) -> None:
    ips = [f"2001:db8::{number:x}" for number in range(1, 400)]
    names.learn(question("many.example", *ips))
    assert {names.enrich(call(connection, ip=ip)).destination.domain for ip in ips} == {"many.example"}
    assert [names.enrich(call(connection, ip=ip, process=STRANGER)).destination.domain for ip in ips].count("many.example") == 64


@pytest.mark.security
def test_one_answer_names_only_so_many_connections_afterwards(names: Names, connection: Make) -> None:
    for _ in range(1000):
        names.enrich(call(connection))
    assert len(names._waiting) == 256
    assert len(list(names.learn(question("www.example.com", IP)))) == 256
    assert len(names._waiting) == 0

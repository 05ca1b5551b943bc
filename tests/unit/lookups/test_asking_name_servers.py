"""Name servers are asked over UDP: what they say is read if it is an answer, and nothing else they send does harm."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
import pytest

from outwatch.errors import LookupFailed
from outwatch.lookups.reverse_names import asking
from outwatch.lookups.reverse_names.asking import Answer, Asker, Kind

REVERSE = "7.100.51.198.in-addr.arpa"
FIRST, SECOND, THIRD = (f"192.0.2.{number}" for number in range(1, 4))
SILENT, UNUSABLE = "name server did not answer", "name server gave no usable answer"
AT_ONCE, LONG = 0.05, 20.0  # seconds: for those that are never answered, and for the others

Query = dns.message.QueryMessage
Reply = bytes | OSError
Server = Callable[[Query], Iterable[Reply]]


class Wire:
    """Stands in for the network: servers that answer queries with datagrams, or cannot be reached."""

    def __init__(self, **servers: Server) -> None:
        self.servers = servers
        self.asked: list[tuple[str, Query]] = []
        self.open = self.opened = 0
        self.errors: list[dict[str, Any]] = []

    async def endpoint(self, make: Callable[[], asyncio.DatagramProtocol], *, remote_addr: tuple[str, int]) -> Any:
        protocol = make()
        self.open += 1
        self.opened += 1
        return _Transport(self, protocol, remote_addr[0]), protocol

    def send(self, data: bytes, server: str, protocol: asyncio.DatagramProtocol) -> None:
        query = dns.message.from_wire(data)
        assert isinstance(query, dns.message.QueryMessage)
        self.asked.append((server, query))
        loop = asyncio.get_running_loop()
        for reply in self.servers[server](query):
            if isinstance(reply, OSError):
                loop.call_soon(protocol.error_received, reply)
            else:
                loop.call_soon(protocol.datagram_received, reply, (server, 53))

    def run(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine on this network; errors that reached nobody but the loop are kept."""

        async def inside() -> Any:
            loop = asyncio.get_running_loop()
            loop.create_datagram_endpoint = self.endpoint  # type: ignore[method-assign, assignment]
            loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
            return await work()

        return asyncio.run(inside())

    def ask(self, name: str = REVERSE, kind: Kind = "PTR", seconds: float = LONG) -> Answer:
        answer = self.run(lambda: Asker(lambda: 100.0).ask(name, kind, 100.0 + seconds))
        assert isinstance(answer, Answer)
        return answer


class _Transport:
    def __init__(self, network: Wire, protocol: asyncio.DatagramProtocol, server: str) -> None:
        self.network, self.protocol, self.server, self.closed = network, protocol, server, False

    def sendto(self, data: bytes) -> None:
        self.network.send(data, self.server, self.protocol)

    def close(self) -> None:
        self.network.open -= not self.closed
        self.closed = True


def record(owner: str, seconds: int, kind: str, *values: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(dns.name.from_text(owner), seconds, "IN", kind, *values)


def reply(
    query: Query,
    *answers: dns.rrset.RRset,
    authority: Iterable[dns.rrset.RRset] = (),
    rcode: int = 0,
    flags: int = 0,
    recursive: bool = True,
) -> bytes:
    made = dns.message.make_response(query)
    made.answer.extend(answers)
    made.authority.extend(authority)
    made.set_rcode(dns.rcode.Rcode(rcode))
    made.flags |= flags | (dns.flags.RA if recursive else 0)
    return made.to_wire()


def good(query: Query) -> list[Reply]:
    return [reply(query, record(REVERSE, 600, "PTR", "www.good.example."))]


def silent(_: Query) -> list[Reply]:
    return []


def refused(_query: Query) -> list[Reply]:
    return [ConnectionRefusedError("port unreachable")]


GOOD, SOA = Answer(("www.good.example",), 600), "ns.example. admin.example. 1 2 3 4"


@pytest.fixture(autouse=True)
def servers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Configure name servers (port 53); one at first."""

    def configure(*addresses: str) -> None:
        monkeypatch.setattr(asking, "system_servers", lambda: list(addresses))

    configure(FIRST)
    return configure


def test_the_names_of_an_address_come_without_their_final_dot() -> None:
    network = Wire(**{FIRST: lambda query: [reply(query, record(REVERSE, 77, "PTR", "a.example.", "b.example."))]})
    answer = network.ask()
    assert (set(answer.values), answer.seconds) == ({"a.example", "b.example"}, 77)


@pytest.mark.parametrize(("kind", "values"), [("A", {"192.0.2.7", "198.51.100.7"}), ("AAAA", {"2001:db8::7"})])
def test_the_addresses_of_a_name_are_read(kind: Kind, values: set[str]) -> None:
    network = Wire(**{FIRST: lambda query: [reply(query, record("www.good.example.", 60, kind, *values))]})
    assert set(network.ask("www.good.example", kind).values) == values


@pytest.mark.parametrize(("alias", "target", "kept"), [(600, 60, 60), (60, 600, 60)])
def test_aliases_are_followed_to_their_end(alias: int, target: int, kept: float) -> None:
    # RFC 2317: a reverse zone of fewer than 256 addresses is a list of aliases into another zone.
    inside = "7.0-15.100.51.198.in-addr.arpa."
    answers = [record(REVERSE, alias, "CNAME", inside), record(inside, target, "PTR", "www.good.example.")]
    assert Wire(**{FIRST: lambda query: [reply(query, *answers)]}).ask() == Answer(("www.good.example",), kept)


@pytest.mark.parametrize("rcode", [dns.rcode.NXDOMAIN, dns.rcode.NOERROR], ids=["NXDOMAIN", "NODATA"])
@pytest.mark.parametrize(("ttl", "minimum", "kept"), [(900, 60, 60), (60, 900, 60), (70, 70, 70)])
def test_that_there_is_no_name_stands_as_long_as_its_zone_says(rcode: int, ttl: int, minimum: int, kept: float) -> None:
    soa = record("100.51.198.in-addr.arpa.", ttl, "SOA", f"{SOA} {minimum}")  # RFC 2308, 5
    assert Wire(**{FIRST: lambda query: [reply(query, authority=[soa], rcode=rcode)]}).ask() == Answer((), kept)


def test_that_there_is_no_name_stands_for_minutes_if_nobody_says_how_long() -> None:
    answer = Wire(**{FIRST: lambda query: [reply(query, rcode=dns.rcode.NXDOMAIN)]}).ask()
    assert answer.values == ()
    assert 60 <= answer.seconds <= 3600


def other_id(query: Query) -> bytes:
    (right,) = good(query)
    assert isinstance(right, bytes)
    return (query.id ^ 1).to_bytes(2, "big") + right[2:]


def other_question(query: Query) -> bytes:
    asked = dns.message.make_query("8.100.51.198.in-addr.arpa", "PTR", id=query.id)
    return reply(asked, record("8.100.51.198.in-addr.arpa", 600, "PTR", "evil.example."))


def no_reply(query: Query) -> bytes:
    forged = dns.message.make_query(REVERSE, "PTR", id=query.id)
    forged.answer.append(record(REVERSE, 600, "PTR", "evil.example."))
    return forged.to_wire()


def oversized(query: Query) -> bytes:
    names = [f"evil{number}.example." for number in range(2000)]
    made = dns.message.make_response(query)
    made.answer.append(record(REVERSE, 600, "PTR", *names))
    return made.to_wire(max_size=65_535)


Noise = Callable[[Query], bytes]
NOISE: dict[str, Noise] = {
    "wrong id": other_id,
    "another question": other_question,
    "a query, not a reply": no_reply,
    "60 kB": oversized,
    "garbage": lambda query: query.id.to_bytes(2, "big") + b"\xff" * 300,
    "cut in the middle": lambda query: other_id(query)[:40],
    "a pointer to itself": lambda query: query.to_wire()[:2] + b"\x81\x80\0\1\0\0\0\0\0\0\xc0\x0c\0\x0c\0\1",
    "only the id": lambda query: query.id.to_bytes(2, "big"),
    "nothing": lambda _query: b"",
}


@pytest.mark.security
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_what_is_no_answer_is_passed_over_and_the_answer_still_counts(noise: Noise) -> None:
    network = Wire(**{FIRST: lambda query: [noise(query), noise(query), *good(query)]})
    assert network.ask() == GOOD
    assert (len(network.asked), network.errors) == (1, [])


@pytest.mark.security
@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_a_server_that_sends_no_answer_fails_with_a_reason(noise: Noise) -> None:
    network = Wire(**{FIRST: lambda query: [noise(query)]})
    with pytest.raises(LookupFailed) as failed:
        network.ask(seconds=AT_ONCE)
    assert failed.value.reason in {SILENT, UNUSABLE}
    assert (network.open, network.errors) == (0, [])


@pytest.mark.security
@pytest.mark.parametrize("kind", [1, 2, 4, 5], ids=["FORMERR", "SERVFAIL", "NOTIMP", "REFUSED"])
def test_a_server_that_can_not_tell_is_no_word_about_the_name(kind: int, servers: Callable[..., None]) -> None:
    servers(FIRST, SECOND)
    can_not: Server = lambda query: [reply(query, rcode=kind)]  # noqa: E731
    network = Wire(**{FIRST: can_not, SECOND: good})
    assert network.ask() == GOOD
    servers(FIRST)
    with pytest.raises(LookupFailed, match=UNUSABLE):
        network.ask()


@pytest.mark.security
def test_a_truncated_answer_is_no_word_about_the_name() -> None:
    network = Wire(**{FIRST: lambda query: [reply(query, flags=dns.flags.TC)]})
    with pytest.raises(LookupFailed, match=UNUSABLE):
        network.ask()


def test_a_server_that_only_refers_to_others_is_no_word_about_the_name(servers: Callable[..., None]) -> None:
    def refers(query: Query) -> list[Reply]:  # neither recursive nor authoritative
        return [reply(query, authority=[record("100.51.198.in-addr.arpa.", 600, "NS", "ns.example.")], recursive=False)]

    servers(FIRST, SECOND)
    assert Wire(**{FIRST: refers, SECOND: good}).ask() == GOOD


def test_a_server_that_knows_no_extensions_is_asked_without_them() -> None:
    # RFC 6891, 7: FORMERR or NOTIMP then; the resolvers of small routers do so, and the C library asks them without.
    def old(query: Query) -> list[Reply]:
        return good(query) if query.edns < 0 else [query.id.to_bytes(2, "big") + b"\x81\x81" + b"\0" * 8]

    assert Wire(**{FIRST: old}).ask() == GOOD


@pytest.mark.security
@pytest.mark.parametrize(
    "names", [[REVERSE, "a.example", REVERSE], [REVERSE, *(f"a{n}.example" for n in range(30))]], ids=["loop", "chain"]
)
def test_aliases_without_end_lead_to_no_name(names: list[str]) -> None:
    aliases = [record(name, 60, "CNAME", f"{target}.") for name, target in itertools.pairwise(names)]
    network = Wire(**{FIRST: lambda query: [reply(query, *aliases, record("a29.example", 60, "PTR", "evil.example."))]})
    with contextlib.suppress(LookupFailed):
        assert network.ask().values == ()
    assert (network.open, network.errors) == (0, [])


def test_names_that_are_told_twice_count_once() -> None:
    twice = [record(REVERSE, 60, "PTR", "a.example."), record(REVERSE, 60, "PTR", "A.Example.")]
    assert Wire(**{FIRST: lambda query: [reply(query, *twice)]}).ask().values == ("a.example",)


@pytest.mark.security
def test_names_in_an_answer_come_without_control_characters() -> None:
    claimed = record(REVERSE, 60, "PTR", r"\027[31m\010\000\255\032evil.example.")
    (name,) = Wire(**{FIRST: lambda query: [reply(query, claimed)]}).ask().values
    assert name.isascii() and name.isprintable()  # noqa: PT018


@pytest.mark.parametrize("first", [silent, refused], ids=["silent", "port unreachable"])
def test_the_next_server_is_asked_when_one_does_not_answer(servers: Callable[..., None], first: Server) -> None:
    servers(FIRST, SECOND)
    network = Wire(**{FIRST: first, SECOND: good})
    # Half of the time is the silent server's.
    assert network.ask(seconds=2 * AT_ONCE) == GOOD
    assert [server for server, _ in network.asked] == [FIRST, SECOND]
    assert network.open == 0


def test_a_lost_packet_is_sent_once_more() -> None:
    seen: list[Query] = []

    def loses_one(query: Query) -> list[Reply]:
        seen.append(query)
        return good(query) if len(seen) > 1 else []

    assert Wire(**{FIRST: loses_one}).ask(seconds=2 * AT_ONCE) == GOOD
    assert len(seen) == 2


@pytest.mark.parametrize(("server", "reason"), [(silent, SILENT), (refused, UNUSABLE)])
def test_when_nobody_answers_that_is_the_reason_and_no_port_stays_open(servers: Callable[..., None], server: Server, reason: str) -> None:
    servers(FIRST, SECOND, THIRD)
    network = Wire(**dict.fromkeys((FIRST, SECOND, THIRD), server))
    with pytest.raises(LookupFailed) as failed:
        network.ask(seconds=AT_ONCE)
    assert failed.value.reason == reason
    assert [one for one, _ in network.asked] == [FIRST, SECOND, THIRD]
    assert network.open == 0


def test_nothing_is_sent_when_the_time_is_over() -> None:
    network = Wire(**{FIRST: good})
    with pytest.raises(LookupFailed, match=SILENT):
        network.ask(seconds=0)
    assert not network.asked


def test_no_port_stays_open_when_the_question_is_given_up() -> None:
    sent = asyncio.Event()

    def mute(query: Query) -> list[Reply]:
        sent.set()
        return silent(query)

    async def give_up() -> None:
        task = asyncio.ensure_future(Asker(lambda: 0.0).ask(REVERSE, "PTR", LONG))
        async with asyncio.timeout(LONG):
            await sent.wait()
        assert network.open == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    network = Wire(**{FIRST: mute})
    network.run(give_up)
    assert network.open == 0


@pytest.mark.security
def test_each_question_has_a_port_and_a_number_of_its_own() -> None:
    async def several() -> None:
        asker = Asker(lambda: 0.0)
        for _ in range(16):
            await asker.ask(REVERSE, "PTR", LONG)

    network = Wire(**{FIRST: good})
    network.run(several)
    assert network.opened == 16
    assert len({query.id for _, query in network.asked}) > 8, "numbers are drawn from 65,536"
    assert all(query.flags & dns.flags.RD for _, query in network.asked)


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", ".".join(["a" * 60] * 5)])
def test_what_can_not_be_asked_is_not_sent(name: str) -> None:
    network = Wire(**{FIRST: good})
    with pytest.raises(LookupFailed):
        network.ask(name, "A")
    assert network.asked == []


def test_without_name_servers_that_is_the_reason(servers: Callable[..., None]) -> None:
    servers()
    with pytest.raises(LookupFailed, match="no name server is configured"):
        Wire().ask()

"""How flows and questions of a capture are told: as the records of the contract."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from socket import AF_INET, AF_INET6, inet_ntop

from msgspec.structs import replace

from outwatch.model.records import (
    Action,
    Connection,
    Destination,
    Direction,
    Dns,
    DnsQuestion,
    Event,
    Findings,
    Name,
    Network,
    Question,
    Scope,
    Source,
    Tls,
    TlsClient,
)
from outwatch.net.addresses import Scopes, parse
from outwatch.net.community_id import icmp_community_id
from outwatch.net.resolvers import encrypted
from outwatch.net.told import answers_of
from outwatch.sensors.replay.answers import Answers
from outwatch.sensors.replay.flows import ICMP, ICMP6, TCP, TRANSPORTS, UDP, End, Flow
from outwatch.sensors.replay.questions import Asked
from outwatch.sensors.replay.talk import Talk

_INSIDE: frozenset[Scope | None] = frozenset({"private", "loopback", "link_local"})
_NOWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - of who has no address yet
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBERS = frozenset({ICMP, ICMP6})  # of these the flow's ports are none


class Telling:
    """Makes records; ids depend on nothing but the capture, so that ``explain`` finds them again."""

    def __init__(self, scopes: Scopes) -> None:
        """Take the table of scopes, which says who is inside."""
        self._place = lru_cache(maxsize=16_384)(scopes.place)
        self._answers = Answers()

    def connection(self, flow: Flow, *, goes_on: bool = False) -> Connection:
        """Tell a flow as it stands; one that ``goes_on`` will be told again."""
        server = _text(flow.server)
        talk = flow.talk if isinstance(flow.talk, Talk) else Talk()
        names, domain = self._names(flow, talk, server)
        network = self._network(flow.protocol, flow.client, flow.server)
        if flow.icmp is not None:
            network = replace(network, community_id=icmp_community_id(flow.protocol, *flow.icmp))
        action = _action(flow, goes_on=goes_on)
        ended = action in {"close", "failed"}
        return Connection(
            id=_id((flow.key, flow.from_client.first), flow.first_ns),
            timestamp=_when(flow.first_ns),
            event=Event(action=action, start=_when(flow.first_ns) if flow.began else None, end=_when(flow.last_ns) if ended else None),
            network=network,
            source=Source(ip=_text(flow.client), port=_port(flow, flow.client), bytes=flow.from_client.bytes),
            destination=Destination(ip=server, port=_port(flow, flow.server), bytes=flow.from_server.bytes, domain=domain),
            tls=Tls(client=TlsClient(server_name=talk.server_name, ja4=talk.ja4)) if talk.ja4 else None,
            outwatch=Findings(
                sensor="replay",
                names=names or None,
                encrypted_dns=encrypted(server, flow.server[1], talk.server_name) if flow.protocol in {TCP, UDP} else None,
                last_seen=None if ended else _when(flow.last_ns),
            ),
        )

    def question(self, asked: Asked) -> Question:
        """Tell a question, with its answer if that came, and remember what it says about addresses."""
        reply, message = asked.reply, asked.message
        resolver = _text(asked.server)
        if reply is not None and asked.replied_ns is not None:
            for address in reply.addresses:
                self._answers.note(asked.client[0], address.ip, reply.chain[0], asked.replied_ns, address.ttl)
        return Question(
            id=_id((*asked[:3], message.id, message.name, message.type), asked.asked_ns),
            timestamp=_when(asked.asked_ns),
            event=Event(start=_when(asked.asked_ns), end=_when(asked.replied_ns) if asked.replied_ns is not None else None),
            network=self._network(asked.protocol, asked.client, asked.server),
            source=Source(ip=_text(asked.client), port=asked.client[1]),
            destination=Destination(ip=resolver, port=asked.server[1]),
            dns=Dns(
                question=DnsQuestion(name=message.name, type=message.type),
                response_code=reply.rcode if reply else None,
                resolved_ip=tuple(address.ip for address in reply.addresses) or None if reply else None,
                answers=answers_of(reply) if reply else None,
            ),
            outwatch=Findings(sensor="replay"),
        )

    def _names(self, flow: Flow, talk: Talk, server: str) -> tuple[tuple[Name, ...], str | None]:
        """Give the names of a destination and the one to be shown: asked for and answered, then answered, then only asked for.

        None is confirmed: packets of a capture may come from anybody, and a name that is confirmed may allow.
        """
        answered = [one.name for one in self._answers.names(flow.client[0], server, flow.first_ns)]
        asked = [one for one in talk.asked if parse(one.name) is None]
        names = [*(Name(name=one.name, origin=one.origin) for one in asked), *(Name(name=one, origin="dns") for one in answered)]
        best = [one.name for one in asked if one.name in answered] or answered or [one.name for one in asked]
        return tuple(names), best[0] if best else None

    def _network(self, protocol: int, client: End, server: End) -> Network:
        """Say how, in which direction, and where to; who is outside and turns to somebody inside comes in."""
        here, there = self._place(_text(client))[1], self._place(_text(server))[1]
        came_in = here not in _INSIDE and there in _INSIDE and _text(client) not in _NOWHERE
        direction: Direction = "ingress" if came_in else "egress"
        return Network(transport=TRANSPORTS.get(protocol, f"raw:{protocol}"), direction=direction, scope=here if came_in else there)


def _action(flow: Flow, *, goes_on: bool) -> Action:
    if flow.failed and not goes_on:
        return "failed"
    if flow.over or (flow.silent and flow.protocol != TCP):
        return "close"
    if flow.told_ns is not None:
        return "traffic"
    return "connect" if flow.began else "existing"


def _id(what: object, time_ns: int) -> str:
    """Give 16 hexadecimal digits that the same thing at the same time always gets."""
    return blake2b(repr((what, time_ns)).encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def _port(flow: Flow, end: End) -> int | None:
    return None if flow.protocol in _NUMBERS else end[1]


def _text(end: End) -> str:
    return _spelled(end[0])


@lru_cache(maxsize=16_384)
def _spelled(address: bytes) -> str:
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)  # noqa: PLR2004 - octets of an IPv4 address


def _when(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1_000)

"""DNS questions and their answers, from captured messages."""

import struct
from collections import OrderedDict
from typing import NamedTuple

from outwatch.net.protocols import dns
from outwatch.sensors.replay.flows import End, Words

_SECOND = 1_000_000_000
_PATIENCE = 60 * _SECOND  # a question without an answer after that has none
_MOST = 16_384
_LENGTH = struct.Struct("!H")

_Key = tuple[int, End, End, int, str, str]


class Asked(NamedTuple):
    """A question, when it was asked (when answered, if only the answer was captured), and the answer if one came."""

    protocol: int
    client: End
    server: End
    message: dns.Facts
    asked_ns: int
    reply: dns.Facts | None
    replied_ns: int | None


class Stream:
    """How far both ends of a TCP connection were read."""

    __slots__ = ("client_at", "server_at")

    def __init__(self) -> None:
        """Begin at the beginning."""
        self.client_at = self.server_at = 0


class Questions:
    """Joins questions and answers of a capture; each question is told once, with its answer as soon as there is one."""

    def __init__(self) -> None:
        """Begin without any."""
        self._waiting: OrderedDict[_Key, Asked] = OrderedDict()
        self._answered: OrderedDict[_Key, int] = OrderedDict()
        self._told: list[Asked] = []

    def told(self) -> list[Asked]:
        """Give the questions that were answered, or not waited for any longer, since the last call."""
        told, self._told = self._told, []
        return told

    def finish(self) -> None:
        """End: what was not answered has no answer."""
        self._told += self._waiting.values()
        self._waiting.clear()

    def stream(self, words: Words, stream: Stream) -> None:
        """Take the messages of a TCP connection that are whole now (RFC 1035, 4.2.2); ``DnsError`` once something comes that is none."""
        begun, at = words.text, stream.client_at if words.by_client else stream.server_at
        while at + _LENGTH.size <= len(begun):
            (length,) = _LENGTH.unpack_from(begun, at)
            message = begun[at + _LENGTH.size : at + _LENGTH.size + length]
            if len(message) < length and not words.last:
                break
            self.message(words._replace(text=message))
            at += _LENGTH.size + length
            if words.by_client:
                stream.client_at = at
            else:
                stream.server_at = at

    def message(self, words: Words) -> None:
        """Take a message; ``DnsError`` if it is none. Who replies is the server, whoever spoke first."""
        message, flow, time_ns = dns.facts(words.text), words.flow, words.time_ns
        client, server = (flow.client, flow.server) if words.by_client is not message.is_reply else (flow.server, flow.client)
        key = (flow.protocol, client, server, message.id, message.name, message.type)
        self._expire(time_ns)
        known = self._waiting.get(key)
        if not message.is_reply:
            self._answered.pop(key, None)
            if known is None:
                self._waiting[key] = Asked(*key[:3], message, time_ns, None, None)
            return
        if known is None and key in self._answered:
            return  # the same answer once more
        self._waiting.pop(key, None)
        self._answered[key] = time_ns
        asked_ns = known.asked_ns if known else time_ns
        self._told.append(Asked(*key[:3], known.message if known else message, asked_ns, message, time_ns))

    def _expire(self, time_ns: int) -> None:
        while self._waiting:
            first = next(iter(self._waiting.values()))
            if len(self._waiting) <= _MOST and time_ns - first.asked_ns <= _PATIENCE:
                break
            self._told.append(self._waiting.popitem(last=False)[1])
        while self._answered:
            when = next(iter(self._answered.values()))
            if len(self._answered) <= _MOST and time_ns - when <= _PATIENCE:
                break
            self._answered.popitem(last=False)

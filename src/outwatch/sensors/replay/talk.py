"""What a client says first: whom it asks for, in a TLS or QUIC ClientHello or in the head of an HTTP request."""

from typing import Literal, NamedTuple

from outwatch.model.records import NameOrigin
from outwatch.net.protocols import http, quic, tls

_TLS = 0x16  # a handshake record, RFC 8446, 5.1
_MOST_LOOKS = 64  # at one opening
_EAGER_LOOKS = 24  # of which so many come with every byte
_LONGEST_HEAD = 16_384  # of a request; nobody's is longer
_HEAD_END = b"\r\n\r\n"


class Asked(NamedTuple):
    """A name that a client asked for, and where it stood."""

    name: str
    origin: NameOrigin


class Talk:
    """The opening words of one connection: ``asked`` names, and JA4 of its hello. It asks for no more than it needs (``done``)."""

    __slots__ = ("_datagrams", "_looks", "_next_look", "_skip", "asked", "done", "ja4", "server_name")

    def __init__(self) -> None:
        """Have heard nothing."""
        self.asked: tuple[Asked, ...] = ()
        self.server_name: str | None = None
        self.ja4: str | None = None
        self.done = False
        self._looks = 0
        self._next_look = 1
        self._skip = 0  # bytes before the words that are read now
        self._datagrams: quic.Initials | None = None

    def stream(self, begun: bytes, *, last: bool = False) -> bool:
        """Look at what a client sent over TCP so far; with ``last`` nothing follows. Gives ``done``."""
        while not self.done:
            # A look at each byte of a hello that comes byte by byte would cost more than it is worth.
            if len(begun) < self._next_look and not last:
                break
            self._looks += 1
            self._next_look = len(begun) + (1 if self._looks < _EAGER_LOOKS else 1 + len(begun) // 4)
            skipped = self._skip
            words = begun[skipped:]
            if not words:
                break
            found = self._hello(words) if words[0] == _TLS else self._request(words, last=last)
            if not found and (last or self._looks >= _MOST_LOOKS):
                self.done = True
            if self._skip == skipped:
                break
            self._next_look = self._skip + 1
        return self.done

    def datagram(self, data: bytes) -> bool:
        """Look at the next datagram that a client sent; gives ``done``. ``QuicUnavailable`` if it is one that can't be deciphered here."""
        if self._datagrams is None:
            if not quic.is_initial(data):
                self.done = True
                return True
            self.done = True  # unless it can be deciphered
            self._datagrams = quic.Initials()
            self.done = False
        try:
            hello = self._datagrams.add(data)
        except (quic.QuicError, tls.TlsError):
            self.done, self._datagrams = True, None
            return True
        if hello is not None:
            self._take(hello, "quic")
            self._datagrams = None
        return self.done

    def _hello(self, words: bytes) -> bool:
        try:
            hello = tls.client_hello(words)
        except tls.TlsError:
            self.done = True
            return True
        if hello is None:
            return False
        self._take(hello, "sni")
        return True

    def _take(self, hello: tls.ClientHello, origin: Literal["sni", "quic"]) -> None:
        self.server_name, self.ja4, self.done = hello.server_name, hello.ja4, True
        if hello.server_name:
            self.asked += (Asked(hello.server_name, origin),)

    def _request(self, words: bytes, *, last: bool) -> bool:
        """Read a request; behind one that asks a proxy for a tunnel comes what is said through it."""
        try:
            request = http.request(words, cut=last or len(words) >= _LONGEST_HEAD)
        except http.HttpError:
            self.done = True
            return True
        if request is None:
            return False
        if request.host:
            self.asked += (Asked(request.host, "http"),)
        end = words.find(_HEAD_END)
        if request.is_connect and end >= 0 and not self._skip:
            self._skip = end + len(_HEAD_END)
        else:
            self.done = True
        return True

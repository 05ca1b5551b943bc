"""The head of an HTTP/1.x request (RFC 9112): whom a client asks for, also through a proxy."""

import re
from collections.abc import Iterator
from ipaddress import IPv6Address
from itertools import islice
from typing import NamedTuple

from outwatch.guard.text import cleaned
from outwatch.net.protocols import names

LARGEST = 1 << 15
"""Octets of a head that are read."""

_MOST_FIELDS = 16  # of those that are looked for
_EMPTY = re.compile(rb"[\r\n]{0,8}")  # lines before a request (RFC 9112, 2.2)
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_VERSION = re.compile(rb"HTTP/1\.[0-9]")
_END = re.compile(rb"\n\r?\n")
_FIELD = re.compile(rb"\n(?i:(host)|user-agent):([^\n]*(?:\n[ \t][^\n]*)*)")  # with lines that go on (RFC 9112, 5.2)
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_PORT = re.compile(rb"[0-9]{0,5}")
_LAST_PORT = 65_535
_LONGEST_IPV6 = 46  # characters that are looked at; it has one less
_LONGEST_TEXT = 2_048


class HttpError(ValueError):
    """Bytes that are no HTTP/1.x request."""


class Request(NamedTuple):
    """A request: ``host`` and ``port`` are those that the client wants to reach, so of a proxy those behind it.

    ``host`` is a name in lower case with strange octets escaped, or an address; ``None`` if the request has none or several different ones.
    ``port`` is ``None`` where it is not said. With ``is_connect`` a proxy is asked for a tunnel.
    """

    method: str
    target: str
    host: str | None
    port: int | None
    user_agent: str | None
    is_connect: bool


def request(stream: bytes, *, cut: bool = False) -> Request | None:
    """Read the first octets that a client sent: ``None`` while this may become a request, ``HttpError`` if it is none.

    ``cut`` says that no more will come: then the lines that are whole count, and there must be a first one. So it is with very long ones.
    """
    cut = cut or len(stream) > LARGEST
    stream = stream[:LARGEST]
    begin = len(_EMPTY.match(stream)[0])  # type: ignore[index]  # it always matches
    method = _METHOD.match(stream, begin)
    if begin < len(stream) and (method is None or stream[method.end() : method.end() + 1] not in {b"", b" ", b"\t"}):
        raise HttpError("no method")
    line = stream.find(b"\n", begin)
    if line >= 0 and not _VERSION.fullmatch(stream[begin:line].rstrip(b" \t\r")[-8:]):
        raise HttpError("no HTTP/1.x")
    found = _END.search(stream, line) if line >= 0 else None
    if found is None and not cut:
        return None
    if line < 0:
        raise HttpError("no end in sight")
    end = found.start() if found else stream.rfind(b"\n")
    return _parsed(stream[begin:line], stream[line:end] + b"\n")


def _parsed(line: bytes, fields: bytes) -> Request:
    """Put a request together from its first line and the lines after it, each of which follows a line break."""
    method, _, rest = line.rstrip(b" \t\r")[:-8].replace(b"\t", b" ").partition(b" ")
    target = rest.strip(b" ")
    if not target or not rest.endswith(b" "):
        raise HttpError("no target")
    hosts: set[bytes] = set()
    agent = None
    for is_host, value in islice(_fields(fields), _MOST_FIELDS):
        if is_host:
            hosts.add(value.lower())
        elif agent is None:
            agent = value
    is_connect = method == b"CONNECT"
    absolute = _ABSOLUTE.match(target)
    if is_connect:
        authority: bytes | None = target
    elif absolute:
        authority = _without_user(absolute[1])
    else:
        authority = next(iter(hosts)) if len(hosts) == 1 else None
    host, port = _split(authority) if authority else (None, None)
    return Request(
        method.decode("ascii"), cleaned(target, _LONGEST_TEXT), host, port, cleaned(agent, _LONGEST_TEXT) if agent else None, is_connect
    )


def _fields(lines: bytes) -> Iterator[tuple[bool, bytes]]:
    """Yield the fields that are looked for: whether it is Host, and what it says."""
    for field in _FIELD.finditer(lines):
        value = field[2]
        yield field[1] is not None, b" ".join(value.split()) if b"\n" in value else value.strip(b" \t\r")


def _without_user(authority: bytes) -> bytes | None:
    r"""Take away who asks (``user@``). Where ``\`` stands, readers disagree on which side the host is, so there is none."""
    return None if b"\\" in authority else authority.rpartition(b"@")[2]


def _split(authority: bytes) -> tuple[str | None, int | None]:
    """Split ``host:port``; neither, if what should be a port is none."""
    if authority.startswith(b"["):
        inside, bracket, after = authority[1:].partition(b"]")
        if not bracket or after[:1] not in {b"", b":"}:
            return None, None
        host, port = _ipv6(inside), after[1:]
    else:
        octets, _, port = authority.partition(b":")
        host = names.host(octets)
    if host is None or not _PORT.fullmatch(port) or int(port or b"0") > _LAST_PORT:
        return None, None
    return host, int(port or b"0") or None


def _ipv6(octets: bytes) -> str | None:
    try:
        return str(IPv6Address(octets.partition(b"%")[0][:_LONGEST_IPV6].decode("ascii")))
    except ValueError:
        return None

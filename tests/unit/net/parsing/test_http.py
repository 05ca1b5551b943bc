"""The head of a request tells whom a client asks for, and nothing in it makes that another one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.net.protocols.http import LARGEST, HttpError, Request, request

ORDINARY = b"GET /a?b=c HTTP/1.1\r\nHost: www.Example.com\r\nUser-Agent: curl/8.9.1\r\nAccept: */*\r\n\r\n"
TUNNEL = b"CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\nProxy-Connection: Keep-Alive\r\n\r\n"
POST = b"POST /up HTTP/1.0\nhost:192.0.2.1:8080\nuser-agent:  a  b\t\n\nbody"


def get(*fields: bytes, target: bytes = b"/") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + b"".join(one + b"\r\n" for one in fields) + b"\r\n"


def reached(stream: bytes) -> tuple[str | None, int | None]:
    found = request(stream)
    assert found is not None
    return found.host, found.port


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (ORDINARY, Request("GET", "/a?b=c", "www.example.com", None, "curl/8.9.1", is_connect=False)),
        (TUNNEL, Request("CONNECT", "www.example.com:443", "www.example.com", 443, None, is_connect=True)),
        (POST, Request("POST", "/up", "192.0.2.1", 8080, "a  b", is_connect=False)),
        (b"\r\n\r\nOPTIONS * HTTP/1.1\r\n\r\n", Request("OPTIONS", "*", None, None, None, is_connect=False)),
    ],
    ids=["ordinary", "tunnel", "bare line feeds", "nothing said"],
)
def test_a_request_is_read(stream: bytes, expected: Request) -> None:
    assert request(stream) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"Host: a.example:8443"], ("a.example", 8443)),
        ([b"HOST:a.example."], ("a.example", None)),
        ([b"Host: a.example:"], ("a.example", None)),
        ([b"Host: [2001:DB8::1]"], ("2001:db8::1", None)),
        ([b"Host: [2001:db8::1]:8080"], ("2001:db8::1", 8080)),
        ([b"Host: xn--mnchen-3ya.example"], ("xn--mnchen-3ya.example", None)),
        ([b"Host:"], (None, None)),
        ([b"X-Host: a.example"], (None, None)),
        ([b"Host : a.example"], (None, None)),
    ],
)
def test_the_host_field_says_where(fields: list[bytes], expected: tuple[str | None, int | None]) -> None:
    assert reached(get(*fields)) == expected


@pytest.mark.security
@pytest.mark.parametrize(
    ("field", "host"),
    [
        (b"Host: m\xc3\xbcnchen.example", "m\\195\\188nchen.example"),
        (b"Host: a\x1b[31m.example", "a\\027\\09131m.example"),
        (b"Host: good.example\x00.evil.example", "good.example\\000.evil.example"),
        (b"Host: good.example\rX: y", None),
        (b"Host: good.example evil.example", "good.example\\032evil.example"),
        (b"Host: good.example\r\n evil.example", "good.example\\032evil.example"),
        (b"Host: user@evil.example", "user\\064evil.example"),
        (b"Host: good.example:x", None),
        (b"Host: good.example:80:90", None),
        (b"Host: good.example:65536", None),
        (b"Host: good.example:000080", None),
        (b"Host: [good.example]", None),
        (b"Host: [::1", None),
        (b"Host: [::1].evil.example", None),
        (b"Host: [fe80::1%\x1b]", "fe80::1"),
        (b"Host: " + b"a" * 250 + b".example", "a" * 250 + ".e…"),
    ],
)
def test_a_host_is_text_in_which_nothing_hides(field: bytes, host: str | None) -> None:
    assert reached(get(field))[0] == host


@pytest.mark.security
def test_of_several_hosts_none_is_believed() -> None:
    assert reached(get(b"Host: good.example", b"Host: evil.example")) == (None, None)
    assert reached(get(b"Host: good.example", b"host: GOOD.example")) == ("good.example", None)
    assert reached(get(*[b"Host: evil.example"] * 40, b"Host: good.example"))[0] in {None, "evil.example"}


@pytest.mark.security
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://a.example/x", ("a.example", None)),
        (b"http://A.example:8080?x", ("a.example", 8080)),
        (b"https://[2001:db8::1]:8443/", ("2001:db8::1", 8443)),
        (b"http://good.example@evil.example/", ("evil.example", None)),
        (b"http://u:p@evil.example:81/", ("evil.example", 81)),
        (b"http://evil.example/@good.example", ("evil.example", None)),
        (b"http://evil.example#@good.example", ("evil.example", None)),
        (b"http://evil.example\\@good.example/", (None, None)),
        (b"http://", (None, None)),
        (b"/http://good.example/", ("elsewhere.example", None)),
    ],
)
def test_what_is_asked_of_a_proxy_wins_over_the_field(target: bytes, expected: tuple[str | None, int | None]) -> None:
    assert reached(get(b"Host: elsewhere.example", target=target)) == expected


@pytest.mark.security
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"[2001:db8::1]:443", ("2001:db8::1", 443)),
        (b"192.0.2.1:22", ("192.0.2.1", 22)),
        (b"a.example", ("a.example", None)),
        (b"a.example:0", ("a.example", None)),
        (b"a.example:99999", (None, None)),
    ],
)
def test_a_tunnel_leads_where_its_target_says(target: bytes, expected: tuple[str | None, int | None]) -> None:
    found = request(b"CONNECT " + target + b" HTTP/1.1\r\nHost: good.example\r\n\r\n")
    assert found is not None
    assert (found.host, found.port, found.is_connect) == (*expected, True)


@pytest.mark.parametrize("stream", [ORDINARY, TUNNEL, POST[:-4]], ids=["ordinary", "tunnel", "bare line feeds"])
def test_a_head_that_is_cut_anywhere_is_waited_for(stream: bytes) -> None:
    whole = request(stream)
    assert whole is not None
    assert {request(stream[:size]) for size in range(len(stream))} == {None}
    assert request(stream + b"\x00 anything") == whole


@pytest.mark.security
def test_of_a_head_that_will_not_go_on_the_whole_lines_count() -> None:
    begin = get(b"Host: good.example.evil.example")[:-4]
    assert begin.endswith(b"evil.example")
    for size in range(begin.index(b"\n") + 1, len(begin)):
        assert request(begin[:size], cut=True) == Request("GET", "/", None, None, None, is_connect=False)
    assert request(begin + b"\r\nX", cut=True) == Request("GET", "/", "good.example.evil.example", None, None, is_connect=False)
    with pytest.raises(HttpError):
        request(b"GET / HT", cut=True)


@pytest.mark.security
def test_a_head_that_is_too_long_is_read_as_far_as_it_goes() -> None:
    assert reached(get(b"Host: a.example", b"X: " + b"x" * LARGEST)) == ("a.example", None)
    assert reached(get(b"X: " + b"x" * LARGEST, b"Host: a.example")) == (None, None)
    with pytest.raises(HttpError):
        request(b"GET /" + b"x" * LARGEST)


@pytest.mark.security
@pytest.mark.parametrize(
    "stream",
    [
        b"\x16\x03\x01",
        b" GET / HTTP/1.1\r\n",
        b"\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO a.example\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\r\n",
        b"GET / HTTP/1.10\r\n",
        b"GET / http/1.1\r\n",
        b"GET HTTP/1.1\r\n\r\n",
        b"GET /HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"A" * 33,
        b"\r\n" * 5,
    ],
)
def test_what_is_no_request_is_said_at_once(stream: bytes) -> None:
    with pytest.raises(HttpError):
        request(stream)


def test_texts_are_valid_and_of_bounded_length() -> None:
    found = request(get(b"User-Agent: \xff\xed\xa0\x80" + b"u" * 9_000, target=b"/\xfe" + b"t" * 9_000))
    assert found is not None
    assert found.user_agent is not None
    assert found.target.startswith("/\\xfet")
    assert found.user_agent.startswith("\\xff\\xed\\xa0\\x80u")
    assert (len(found.target), found.target[-1], len(found.user_agent)) == (2_048, "…", 2_048)


TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.sampled_from(["GET", "POST", "M-SEARCH"]),
    st.lists(TOKEN, min_size=1, max_size=4).map(".".join),
    st.none() | st.integers(1, 65_535),
    st.lists(st.tuples(TOKEN.filter(lambda name: name not in {"host", "user-agent"}), TOKEN), max_size=5),
    st.integers(0, 5),
)
def test_whatever_stands_around_it_the_host_is_found(
    method: str, host: str, port: int | None, fields: list[tuple[str, str]], place: int
) -> None:
    lines = [f"{name}: {value}" for name, value in fields]
    lines.insert(min(place, len(lines)), f"hOsT:\t{host}{'' if port is None else f':{port}'} ")
    found = request("\r\n".join([f"{method} / HTTP/1.1", *lines, "", ""]).encode())
    assert found == Request(method, "/", host, port, None, is_connect=False)


@pytest.mark.security
@settings(deadline=None, derandomize=True, max_examples=500)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from([b"GET", b" ", b"/", b"\r\n", b"\n", b"Host:", b"HTTP/1.1", b"a.b", b"[::1]", b"\t", b"@", b"\xff"]))
        .map(b"".join),
        st.binary(max_size=60).map(lambda noise: b"GET / HTTP/1.1\r\nHost:" + noise + b"\r\n\r\n"),
    ),
    st.booleans(),
)  # fmt: skip
def test_no_bytes_raise_anything_else(stream: bytes, cut: bool) -> None:
    try:
        found = request(stream, cut=cut)
    except HttpError:
        return
    assert found is None or found.host is None or (found.host.rstrip("…").isascii() and found.host.isprintable())
    if found is not None:
        f"{found.target}{found.user_agent}".encode()
        assert found.port is None or 0 < found.port < 65_536

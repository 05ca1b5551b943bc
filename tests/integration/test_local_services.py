"""The local service that stands in for the providers keeps its own word: others measure and judge by it."""

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self, get_args
from urllib.parse import urlencode

import pytest

from outwatch.engine import registry
from outwatch.errors import ReplyUnusable
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, LookupReply, ReputationProvider

from .service_replies import KEY_HEADERS, MAKERS
from .services import Fault, Manner, Services, Told

pytestmark = pytest.mark.integration

ADDRESS = Indicator(kind="ip", value="203.0.113.9")
LONG = 30.0
PROVIDERS: dict[str, ReputationProvider] = {
    part.name: registry.build(part, part.config(), {})
    for module in registry.names("reputation")
    if (part := registry.part("reputation", module)) is not None
}
each = pytest.mark.parametrize("name", sorted(PROVIDERS))


@pytest.fixture(scope="module")
def running() -> Iterator[Services]:
    with Services() as services:
        yield services


@pytest.fixture
def services(running: Services) -> Services:
    """Give the running service as if it had just begun."""
    running.reset()
    return running


class Raw:
    """A connection to the service that shows what it really sends."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=LONG)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def get(self, target: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        self.connection.request("GET", target, headers=headers or {})
        with self.connection.getresponse() as reply:
            return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()


def fetch(services: Services, target: str) -> tuple[int, dict[str, str], bytes]:
    with Raw(services.address) as raw:
        return raw.get(target)


def target(name: str, indicator: Indicator = ADDRESS) -> str:
    request = PROVIDERS[name].request(indicator)
    assert request is not None
    return f"/{name}{request.path}" + (f"?{urlencode(request.params)}" if request.params else "")


def get(
    services: Services, name: str, indicator: Indicator = ADDRESS, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    with Raw(services.address) as raw:
        return raw.get(target(name, indicator), headers)


def parsed(services: Services, name: str, indicator: Indicator = ADDRESS) -> Reputation:
    status, headers, body = get(services, name, indicator)
    return PROVIDERS[name].parse(indicator, LookupReply(status=status, headers=headers, body=body))


def test_it_knows_every_provider() -> None:
    assert set(MAKERS) == set(PROVIDERS)


STATES = {
    "virustotal": ("malicious", "suspicious", "clean", "no_data"),
    "abuseipdb": ("malicious", "suspicious", "clean", "clean"),
    "ipinfo": ("no_data", "no_data", "no_data", "no_data"),
    "greynoise": ("malicious", "suspicious", "clean", "no_data"),
    "internetdb": ("suspicious", "no_data", "no_data", "no_data"),
    "otx": ("suspicious", "suspicious", "clean", "no_data"),
}


@each
def test_each_documented_answer_is_what_the_provider_takes_it_for(services: Services, name: str) -> None:
    found = []
    for answer in ("malicious", "suspicious", "clean", "no_data"):
        services.answer(name, ADDRESS.value, answer)
        found.append(parsed(services, name).state)
    assert tuple(found) == STATES[name]


KINDS: list[IndicatorKind] = ["ip", "domain", "sha256"]


@each
def test_every_kind_of_indicator_is_understood_and_counted(services: Services, name: str) -> None:
    values = {"ip": ("203.0.113.7", "2001:db8::7"), "domain": ("www.evil.example", "evil.example"), "sha256": ("ab" * 32,)}
    asked = []
    for kind in KINDS:
        for value in values[kind]:
            indicator = Indicator(kind=kind, value=value)
            if PROVIDERS[name].request(indicator) is not None:
                assert parsed(services, name, indicator).provider == name
                asked.append(value)
    assert "203.0.113.7" in asked
    assert [one.indicator for one in services.requests(name)] == asked
    assert {one.status for one in services.requests(name)} == {200}


def test_facts_and_whole_replies_can_be_set_for_one_indicator_or_for_all(services: Services) -> None:
    services.answer("virustotal", None, "malicious", malicious=33)
    services.answer("virustotal", "203.0.113.1", "clean")
    services.reply("virustotal", "203.0.113.2", status=418, body=b"\x00\xff", headers={"X-Tea": "pot"})
    assert parsed(services, "virustotal").malicious == 33
    assert parsed(services, "virustotal", Indicator(kind="ip", value="203.0.113.1")).malicious == 0
    status, headers, body = get(services, "virustotal", Indicator(kind="ip", value="203.0.113.2"))
    assert (status, headers["x-tea"], body) == (418, "pot", b"\x00\xff")


@each
def test_a_path_that_no_provider_has_is_not_taken_for_no_data(services: Services, name: str) -> None:
    assert fetch(services, f"/{name}/nowhere/at/all")[0] == 400


@pytest.mark.parametrize("name", sorted(KEY_HEADERS))
def test_only_the_right_key_in_its_own_header_is_taken(services: Services, name: str) -> None:
    services.behave(name, Manner(key="s3cret"))
    provider = PROVIDERS[name]
    header = provider.key_header or ""
    assert get(services, name)[0] in {401, 403}
    assert get(services, name, headers={header: provider.key_form.format("wrong")})[0] in {401, 403}
    assert get(services, name, headers={"X-Other": provider.key_form.format("s3cret")})[0] in {401, 403}
    assert get(services, name, headers={header: provider.key_form.format("s3cret")})[0] == 200
    assert services.requests(name)[-1].headers[header.lower()] == provider.key_form.format("s3cret")


def test_one_request_more_than_a_quota_is_refused_and_counted(services: Services) -> None:
    services.behave("virustotal", Manner(quotas=((3, 3600.0), (2, 1.5)), told=("retry-after", "x-ratelimit")))
    replies = [get(services, "virustotal") for _ in range(2)]
    assert [status for status, _, _ in replies] == [200, 200]
    assert replies[0][1]["x-ratelimit-limit"] == "2"
    assert [headers["x-ratelimit-remaining"] for _, headers, _ in replies] == ["1", "0"]
    first = time.monotonic()
    last = get(services, "virustotal")
    while last[0] == 429 and time.monotonic() - first < LONG:  # until the short window has moved on
        assert last[1]["retry-after"] in {"1", "2"}
        assert json.loads(last[2])["error"]["code"] == "QuotaExceededError"
        last = get(services, "virustotal")
    assert last[0] == 200
    status, headers, _ = get(services, "virustotal")  # the long one is used up
    assert status == 429
    assert 3500 < int(headers["retry-after"]) <= 3601
    assert services.refused("virustotal") == services.count("virustotal") - 3 >= 1
    assert services.refused("otx") == 0
    services.forget()
    assert (get(services, "virustotal")[0], services.count()) == (200, 1)


def test_a_refusal_may_say_nothing_or_name_a_date(services: Services) -> None:
    cases: list[tuple[tuple[Told, ...], bool]] = [((), False), (("date",), True)]
    for told, expected in cases:
        services.behave("otx", Manner(quotas=((1, 3600.0),), told=told))
        services.forget()
        get(services, "otx")
        status, headers, _ = get(services, "otx")
        assert (status, "retry-after" in headers) == (429, expected)
        assert not expected or headers["retry-after"].endswith(" GMT")


def test_connections_stay_open_and_requests_are_seen_in_their_order(services: Services) -> None:
    before = services.connections()
    with Raw(services.address) as one:
        for number in range(5):
            assert one.get(target("virustotal", Indicator(kind="ip", value=f"203.0.113.{number}")))[0] == 200
    assert services.connections() == before + 1
    assert [asked.indicator for asked in services.requests()] == [f"203.0.113.{number}" for number in range(5)]
    assert services.asked("virustotal") == {f"203.0.113.{number}": 1 for number in range(5)}
    times = [asked.at for asked in services.requests()]
    assert times == sorted(times)
    assert times[-1] <= time.monotonic()


def test_a_reply_takes_its_latency(services: Services) -> None:
    services.behave("virustotal", Manner(latency=0.3))
    begun = time.monotonic()
    assert get(services, "virustotal")[0] == 200
    assert time.monotonic() - begun >= 0.3


def test_many_are_asked_at_the_same_time_and_that_is_counted(services: Services) -> None:
    services.behave("virustotal", Manner(hang_every=1))
    limit = time.monotonic() + LONG
    with ExitStack() as opened:
        for _ in range(20):
            host, port = services.address.split(":")
            waiting = opened.enter_context(socket.create_connection((host, int(port)), timeout=LONG))
            waiting.sendall(f"GET {target('virustotal')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while services.most_at_once("virustotal") < 20:
            assert time.monotonic() < limit
    assert services.count("virustotal") == services.most_at_once("virustotal") == 20


def test_every_so_many_requests_hang_until_the_asker_gives_up(services: Services) -> None:
    services.behave("virustotal", Manner(hang_every=3))
    assert [get(services, "virustotal")[0] for _ in range(2)] == [200, 200]
    host, port = services.address.split(":")
    with socket.create_connection((host, int(port)), timeout=0.3) as waiting:
        waiting.sendall(f"GET {target('virustotal')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            waiting.recv(1)
    assert get(services, "virustotal")[0] == 200
    assert [one.status for one in services.requests("virustotal")] == [200, 200, 0, 200]


def test_it_answers_as_a_proxy_and_says_so(services: Services) -> None:
    status, _, body = fetch(services, f"http://www.virustotal.example{target('virustotal')}")
    assert (status, json.loads(body)["data"]["id"]) == (200, ADDRESS.value)
    assert [one.by_proxy for one in services.requests()] == [True]


def ending(services: Services, name: str) -> Any:
    """Ask, and give the status and the body, or the kind of trouble."""
    try:
        status, headers, body = get(services, name)
    except (OSError, http.client.HTTPException) as error:
        return type(error)
    if headers.get("content-encoding") == "gzip":
        try:
            body = gzip.decompress(body)
        except OSError as error:
            return type(error)
    return status, headers, body


EXPECTED: dict[str, Any] = {
    "reset": ConnectionResetError,
    "closed": http.client.RemoteDisconnected,
    "too short": http.client.IncompleteRead,
    "not http": http.client.BadStatusLine,
    "broken gzip": gzip.BadGzipFile,
    "204": 204, "401": 401, "403": 403, "500": 500, "502": 502, "503": 503, "503 retry-after": 503, "404 html": 404,
    "redirect": 302, "redirect loop": 302, "redirect to another host": 302, "redirect to another port": 302,
    "gzip": "right", "too long": "right",
    "html": "unusable", "empty": "unusable", "null": "unusable", "list": "unusable", "nested": "unusable", "truncated": "unusable",
    "gzip bomb": 200 << 20, "huge": 100 << 20, "huge chunked": 100 << 20,
}  # fmt: skip


def test_every_fault_is_tried() -> None:
    assert set(EXPECTED) | {"", "drip"} == set(get_args(Fault))


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_fault_is_what_its_name_says(services: Services, fault: Fault) -> None:
    services.behave("ipinfo", Manner(fault=fault))
    found, expected = ending(services, "ipinfo"), EXPECTED[fault]
    if isinstance(expected, type):
        assert found is expected
        return
    status, headers, body = found
    if expected == "right":
        assert PROVIDERS["ipinfo"].parse(ADDRESS, LookupReply(status=status, body=body)).geo is not None
    elif expected == "unusable":
        with pytest.raises(ReplyUnusable):
            PROVIDERS["ipinfo"].parse(ADDRESS, LookupReply(status=status, body=body))
        assert status == 200
    elif expected > 1000:
        assert status == 200
        assert len(body) >= expected
        assert int(headers.get("content-length", 0)) < 300_000 or fault == "huge"
    else:
        assert status == expected
        assert ("retry-after" in headers) == (fault == "503 retry-after")


def test_a_dripping_reply_comes_byte_by_byte(services: Services) -> None:
    services.behave("ipinfo", Manner(fault="drip"))
    host, port = services.address.split(":")
    with socket.create_connection((host, int(port)), timeout=LONG) as connected:
        connected.sendall(f"GET {target('ipinfo')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        begun, got = time.monotonic(), b""
        while len(got.partition(b"\r\n\r\n")[2]) < 4:
            got += connected.recv(4096)
        assert time.monotonic() - begun >= 0.3
    assert got.endswith(b'{"ip')


def test_redirects_lead_where_they_say_and_requests_elsewhere_are_counted(services: Services) -> None:
    def location(fault: Fault) -> str:
        services.behave("otx", Manner(fault=fault))
        return get(services, "otx")[1]["location"]

    assert location("redirect to another host").startswith(f"http://{services.elsewhere}/")
    assert services.elsewhere.split(":")[0] != services.address.split(":")[0]
    assert location("redirect to another port").startswith("http://127.0.0.1:")
    assert location("redirect loop").startswith("/otx/")
    hop = location("redirect")
    assert fetch(services, hop)[0] == 200
    with Raw(services.elsewhere) as elsewhere:
        assert elsewhere.get("/otx/x", {"X-OTX-API-KEY": "s3cret"})[0] == 200
    assert [one.headers["x-otx-api-key"] for one in services.requests("elsewhere")] == ["s3cret"]


def test_a_fault_comes_as_often_as_asked(services: Services) -> None:
    services.behave("otx", Manner(fault="500", fault_every=3))
    assert [get(services, "otx")[0] for _ in range(6)] == [200, 200, 500, 200, 200, 500]


def test_an_order_it_does_not_know_is_told_at_once(services: Services) -> None:
    with pytest.raises(AssertionError, match="KeyError"):
        services.answer("virustotal", None, "maliciuos")
    assert get(services, "virustotal")[0] == 200


def test_it_ends_with_its_block() -> None:
    with Services() as services:
        address = services.address
        assert services._process is not None
        assert services._process.poll() is None
    assert services._process.returncode == 0
    host, port = address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=LONG)

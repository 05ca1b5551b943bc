"""What every provider must keep, whoever writes it: how it asks, and that a bad reply gives ``ReplyUnusable`` and nothing else."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.engine import registry
from outwatch.errors import ReplyUnusable
from outwatch.model.interfaces import Part
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, LookupReply, ReputationProvider

DOCUMENTED = Path(__file__).parent / "documented"
CANARY = "canary-5f1d9e"
ADDRESS, SIX = Indicator(kind="ip", value="203.0.113.9"), Indicator(kind="ip", value="2001:db8::9")
DOMAIN = Indicator(kind="domain", value="www.evil.example")
FILE = Indicator(kind="sha256", value="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
OF_KIND = {"ip": ADDRESS, "domain": DOMAIN, "file": FILE, "lite": ADDRESS, "json": ADDRESS}
PARTS = [part for module in registry.names("reputation") if (part := registry.part("reputation", module)) is not None]


def built(part: Part, **config: Any) -> ReputationProvider:
    provider: ReputationProvider = registry.build(part, part.config(**config), {})
    return provider


def documented(part: Part) -> Iterator[tuple[Indicator, dict[str, Any]]]:
    """Give the replies that a provider documents for what it knows."""
    for path in sorted(DOCUMENTED.glob(f"{part.name}_*.json")):
        kind = path.stem.split("_")[1]
        if kind in OF_KIND:
            yield OF_KIND[kind], json.loads(path.read_text("utf-8"))


REPLIES = [
    pytest.param(part, indicator, body, id=f"{part.name}-{indicator.kind}") for part in PARTS for indicator, body in documented(part)
]
each = pytest.mark.parametrize("part", PARTS, ids=[part.name for part in PARTS])
each_reply = pytest.mark.parametrize(("part", "indicator", "body"), REPLIES)


def read(part: Part, indicator: Indicator, body: bytes, status: int = 200) -> Reputation | None:
    """Have a reply read; ``None`` if the provider calls it unusable. Any other exception fails the test."""
    try:
        return built(part).parse(indicator, LookupReply(status=status, body=body))
    except ReplyUnusable as error:
        reason = error.reason
    assert reason
    assert len(reason) < 80
    return None


def sound(found: Reputation, part: Part) -> None:
    """Assert what must hold for every reputation, whatever the service wrote."""
    assert found.provider == part.name
    assert found.state in {"malicious", "suspicious", "clean", "no_data"}
    assert found.checked_at is None
    assert found.why is None
    assert found.score is None or (0 <= found.score <= 1e9 and math.isfinite(found.score))
    assert len(found.tags or ()) <= 16
    texts = [*(found.tags or ())]
    if found.as_ is not None and found.as_.organization is not None:
        texts.append(found.as_.organization.name or "")
    for text in texts:
        assert 0 < len(text) <= 120
        assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text)
    if found.geo is not None:
        code = found.geo.country_iso_code or ""
        assert len(code) == 2
        assert code.isascii()
        assert code.isupper()
    assert found.as_ is None or found.as_.number is None or 0 < found.as_.number < 1 << 32
    assert msgspec.json.decode(msgspec.json.encode(found), type=Reputation) == found


def test_six_services_are_known() -> None:
    assert [part.name for part in PARTS] == ["abuseipdb", "greynoise", "internetdb", "ipinfo", "otx", "virustotal"]


@each
def test_a_provider_has_the_shape_of_the_house(part: Part) -> None:
    provider = built(part)
    assert isinstance(provider, ReputationProvider)
    assert provider.name == part.name
    assert provider.title
    assert provider.home.startswith("https://")
    assert not provider.home.endswith("/")
    assert provider.kinds <= set(get_args(IndicatorKind))
    assert "ip" in provider.kinds
    assert all(limit.count > 0 and limit.seconds >= 60 for limit in provider.limits)
    assert provider.key_form.format("k").endswith("k")
    assert provider.key_header or not provider.needs_key


@each
def test_it_asks_exactly_about_the_kinds_it_names(part: Part) -> None:
    provider = built(part)
    asked = {one.kind for one in (ADDRESS, DOMAIN, FILE) if provider.request(one) is not None}
    linked = {one.kind for one in (ADDRESS, DOMAIN, FILE) if provider.link(one) is not None}
    assert asked == linked == provider.kinds


@each
@pytest.mark.parametrize("indicator", [ADDRESS, SIX, DOMAIN, FILE], ids=lambda one: one.value[:16])
def test_a_request_is_a_path_below_the_base_url_and_names_the_indicator_once(part: Part, indicator: Indicator) -> None:
    request = built(part).request(indicator)
    if request is None:
        assert indicator.kind not in built(part).kinds or indicator is SIX
        return
    assert request.path.startswith("/")
    assert not request.path.startswith("//")
    assert set(request.path) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.:-")
    steps = [*request.path.split("/"), *(value for _, value in request.params)]
    assert steps.count(indicator.value) == 1


@each
@pytest.mark.security
@pytest.mark.parametrize("value", ["../../admin", "a/b", "a?b=c", "a#b", "a%2fb", "a b", "a\r\nb", "ä.test", "@host", "\\x", "\ud800"])
def test_no_indicator_leaves_its_place_in_the_path(part: Part, value: str) -> None:
    provider = built(part)
    kinds: list[IndicatorKind] = ["ip", "domain", "sha256"]
    for kind in kinds:
        plain, hostile = (provider.request(Indicator(kind=kind, value=one)) for one in ("x", value))
        if plain is None or hostile is None:
            assert plain is hostile
            continue
        assert hostile.path.count("/") == plain.path.count("/")
        assert urlsplit(f"http://host{hostile.path}").path == hostile.path
        assert hostile.path.isascii()
        assert hostile.path.isprintable()
        link = provider.link(Indicator(kind=kind, value=value)) or "https://x/"
        assert link.isascii()
        assert link.isprintable()
        assert " " not in link


@each
@pytest.mark.security
def test_a_provider_keeps_no_key_and_links_only_to_https(part: Part) -> None:
    provider = built(part, api_key=CANARY, api_key_file=f"/{CANARY}")
    assert CANARY not in repr(vars(provider))
    for indicator in (ADDRESS, SIX, DOMAIN, FILE):
        assert CANARY not in repr(provider.request(indicator))
        link = provider.link(indicator)
        assert link is None or (link.startswith("https://") and indicator.value in link)


@each
def test_a_base_url_that_holds_the_version_already_does_not_get_it_twice(part: Part) -> None:
    short = built(part, base_url="http://127.0.0.1:8080/gateway").request(ADDRESS)
    plain = built(part).request(ADDRESS)
    assert short == plain is not None
    for version in ("/api/v3", "/api/v2", "/api/v1", "/v3/community", "/lite"):
        if plain.path.startswith(version):
            for spelled in (version, f"{version}/"):
                long = built(part, base_url=f"http://127.0.0.1:8080/gateway{spelled}").request(ADDRESS)
                assert long is not None
                assert version + long.path == plain.path


@each
@pytest.mark.parametrize("body", [b"", b" \n", b"{", b"[]", b"<html>"])
def test_204_is_no_data_whatever_follows(part: Part, body: bytes) -> None:
    found = read(part, ADDRESS, body, status=204)
    assert found is not None
    assert found.state == "no_data"


@each
def test_404_is_no_data_bare_and_as_documented(part: Part) -> None:
    path = DOCUMENTED / f"{part.name}_404.json"
    for body in [b"", *([path.read_bytes()] if path.exists() else [])]:
        found = read(part, ADDRESS, body, status=404)
        assert found is not None
        assert (found.state, found.score, found.link) == ("no_data", None, built(part).link(ADDRESS))


@each
@pytest.mark.security
@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>", b"Not Found", b"null", b"[]", b'"x"', b"7", b'{"error"', b"\xff\xfe"])
def test_a_404_that_is_not_the_services_own_is_unusable(part: Part, body: bytes) -> None:
    assert read(part, ADDRESS, body, status=404) is None


NEVER = {
    "nothing": b"",
    "blank": b" \r\n\t ",
    "html": b"<!DOCTYPE html><html></html>",
    "xml": b"  <?xml version='1.0'?><a/>",
    "text": b"OK",
    "null": b"null",
    "true": b"true",
    "number": b"0",
    "string": b'"malicious"',
    "list": b"[]",
    "list of dict": b"[{}]",
    "empty object": b"{}",
    "data null": b'{"data": null, "pulse_info": null, "ip": null}',
    "data list": b'{"data": [], "pulse_info": [], "ip": []}',
    "data text": b'{"data": "x", "pulse_info": "x", "ip": 1}',
    "nested list": b"[" * 100_000 + b"]" * 100_000,
    "nested object": b'{"data":' * 100_000 + b"1" + b"}" * 100_000,
    "nested, cut off": b'{"a":[' * 100_000,
    "nested where nobody looks": b'{"zzz":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "two documents": b"{}{}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "latin-1": b'{"ip": "\xe4"}',
    "utf-16": '{"ip": "x"}'.encode("utf-16"),
    "zeros": b"\0" * 1000,
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0",
}


@each
@pytest.mark.security
@pytest.mark.parametrize("body", NEVER.values(), ids=NEVER.keys())
def test_what_no_service_documents_is_unusable(part: Part, body: bytes) -> None:
    assert read(part, ADDRESS, body) is None


@each_reply
def test_a_documented_reply_is_read(part: Part, indicator: Indicator, body: dict[str, Any]) -> None:
    found = read(part, indicator, json.dumps(body).encode())
    assert found is not None
    sound(found, part)
    assert found.link == built(part).link(indicator)


@each_reply
@pytest.mark.security
def test_a_reply_cut_off_anywhere_is_unusable(part: Part, indicator: Indicator, body: dict[str, Any]) -> None:
    text = json.dumps(body).encode()
    assert [at for at in range(len(text)) if read(part, indicator, text[:at]) is not None] == []


@each_reply
@pytest.mark.security
def test_a_reply_about_something_else_is_unusable(part: Part, indicator: Indicator, body: dict[str, Any]) -> None:
    other = {"ip": "203.0.113.10", "domain": "www.good.example", "sha256": "0" * 64}[indicator.kind]
    assert read(part, Indicator(kind=indicator.kind, value=other), json.dumps(body).encode()) is None


@each_reply
def test_another_spelling_of_the_same_indicator_is_the_same(part: Part, indicator: Indicator, body: dict[str, Any]) -> None:
    other = {"ip": "::ffff:203.0.113.9", "domain": "WWW.Evil.Example.", "sha256": indicator.value.upper()}[indicator.kind]
    text = json.dumps(body).replace(indicator.value, other)
    assert read(part, indicator, text.encode()) is not None


LIES = [
    b"null", b"true", b"[]", b"{}", b'"x"', b'""', b"-1", b"-1.5", b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1e400", b"0.5", b"1.0",
    b"9" * 400, b"-" + b"9" * 400, b"9" * 5000, b"9223372036854775808", b"18446744073709551616", b"4294967296",
    b'"' + b"9" * 5000 + b'"', b'"AS' + b"9" * 5000 + b'"', b'"AS4294967296 X"', b'"AS-1"', b'"\\ud800"', b'"\\u0000\\u001b[31m\\u202e"',
    b'"' + b"x" * 1_000_000 + b'"', b'["x",null]', b"[1]", b"[[]]", b"[" * 3000 + b"]" * 3000,
    b"[" + b",".join([b'"%d' % at + b"t" * 500 + b'"' for at in range(3000)]) + b"]",
]  # fmt: skip


def _leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in steps:
        yield from _leaves(value, (*path, key))


def _with(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _with(copy[path[0]], path[1:], value)
    return copy


@each_reply
@pytest.mark.security
def test_no_lie_in_any_place_of_a_reply_does_more_than_make_it_unusable(part: Part, indicator: Indicator, body: dict[str, Any]) -> None:
    usable = unusable = 0
    for path in _leaves(body):
        text = json.dumps(_with(body, path, "THE PLACE"))
        for lie in LIES:
            found = read(part, indicator, text.encode().replace(b'"THE PLACE"', lie))
            if found is None:
                unusable += 1
            else:
                usable += 1
                sound(found, part)
    assert usable > 50  # most places are not read at all
    assert unusable > 50


@each_reply
@pytest.mark.security
def test_without_any_one_of_its_keys_a_reply_does_no_harm(part: Part, indicator: Indicator, body: dict[str, Any]) -> None:
    whole = read(part, indicator, json.dumps(body).encode())
    assert whole is not None
    for path in list(_leaves(body))[1:]:
        if isinstance(path[-1], str):
            parent = body
            for step in path[:-1]:
                parent = parent[step]
            less = _with(body, path[:-1], {key: value for key, value in parent.items() if key != path[-1]}) if path[:-1] else None
            less = less if less is not None else {key: value for key, value in body.items() if key != path[-1]}
            found = read(part, indicator, json.dumps(less).encode())
            if found is not None:
                sound(found, part)
                assert found.state != "clean" or whole.state == "clean" or path[-1] in {"malicious", "suspicious"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@each_reply
@pytest.mark.security
def test_any_json_in_the_places_that_count_is_read_or_refused(part: Part, indicator: Indicator, body: dict[str, Any]) -> None:
    places = list(_leaves(body))

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(places), json_values)
    def check(path: tuple[Any, ...], value: Any) -> None:
        found = read(part, indicator, json.dumps(_with(body, path, value)).encode())
        if found is not None:
            sound(found, part)

    check()


@each
@pytest.mark.security
def test_any_bytes_are_read_or_refused(part: Part) -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
    def check(body: bytes) -> None:
        found = read(part, ADDRESS, body)
        assert found is None or found.state in {"clean", "no_data", "suspicious", "malicious"}

    check()

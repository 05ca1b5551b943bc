"""Which addresses, names and URLs suffice by themselves to fulfil a pattern of STIX 2.1."""

import pytest

from outwatch.intel.formats.stix_pattern import PatternUnusable, indicators

ADDRESS, NAME = "[ipv4-addr:value = '203.0.113.1']", "[domain-name:value = 'evil.example']"


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        (ADDRESS, ["203.0.113.1"]),
        ("[ipv4-addr:value='203.0.113.1']", ["203.0.113.1"]),
        ("  [ ipv4-addr:value = '203.0.113.1' ]  ", ["203.0.113.1"]),
        ("[ipv6-addr:value = '2001:db8::1']", ["2001:db8::1"]),
        ("[url:value = 'http://evil.example/it\\'s']", ["http://evil.example/it's"]),
        ("[url:value = 'http://evil.example/]OR[']", ["http://evil.example/]OR["]),
        ("[ipv4-addr:value ISSUBSET '198.51.100.0/24']", ["198.51.100.0/24"]),
        ("[domain-name:value IN ('a.example', 'b.example','c.example')]", ["a.example", "b.example", "c.example"]),
        ("[network-traffic:dst_ref.value = '203.0.113.1']", ["203.0.113.1"]),
        (f"{ADDRESS} OR {NAME}", ["203.0.113.1", "evil.example"]),
        (f"({ADDRESS} OR ({NAME}))", ["203.0.113.1", "evil.example"]),
        ("[ipv4-addr:value = '203.0.113.1' OR domain-name:value = 'evil.example']", ["203.0.113.1", "evil.example"]),
        ("[(ipv4-addr:value = '203.0.113.1')]", ["203.0.113.1"]),
        (f"{ADDRESS} OR [file:hashes.'SHA-256' = 'aa']", ["203.0.113.1"]),
        (f"{ADDRESS} OR {NAME} AND [file:name = 'x']", ["203.0.113.1"]),
        # A port or a protocol narrows what an address says; the address is the indicator all the same.
        ("[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '203.0.113.1']", ["203.0.113.1"]),
        ("[network-traffic:dst_ref.value = '203.0.113.1' AND network-traffic:dst_port = 443]", ["203.0.113.1"]),
        ("[ipv4-addr:value = '203.0.113.1' AND network-traffic:protocols[*] = 'tcp']", ["203.0.113.1"]),
        (f"{ADDRESS} START t'2025-01-01T00:00:00Z' STOP t'2026-01-01T00:00:00Z'", ["203.0.113.1"]),
        (f"({ADDRESS}) WITHIN 600 SECONDS", ["203.0.113.1"]),
    ],
)  # fmt: skip
def test_what_suffices_alone_is_given(pattern: str, values: list[str]) -> None:
    assert list(indicators(pattern)) == values


@pytest.mark.parametrize(
    "pattern",
    [
        "[file:hashes.MD5 = 'aa']",
        "[ipv4-addr:value != '203.0.113.1']",
        "[NOT ipv4-addr:value = '203.0.113.1']",
        "[ipv4-addr:value NOT = '203.0.113.1']",
        "[ipv4-addr:value NOT IN ('203.0.113.1')]",
        "[domain-name:value LIKE '%.example']",
        "[domain-name:value MATCHES '^evil']",
        "[ipv4-addr:value ISSUPERSET '203.0.113.1']",
        "[EXISTS ipv4-addr:value]",
        "[network-traffic:dst_port = 443]",
        "[ipv4-addr:value = '203.0.113.1' AND file:name = 'x']",
        "[ipv4-addr:value = '203.0.113.1' AND domain-name:value = 'evil.example']",
        f"{ADDRESS} AND {NAME}",
        f"{ADDRESS} FOLLOWEDBY {NAME}",
        f"{ADDRESS} OR {NAME} FOLLOWEDBY [file:name = 'x']",
        f"{ADDRESS} REPEATS 5 TIMES",
    ],
)
def test_what_needs_more_than_one_thing_accuses_no_address(pattern: str) -> None:
    assert indicators(pattern) == ()


@pytest.mark.parametrize(
    "pattern",
    [
        "", "[", "[]", "]", "x", "ipv4-addr:value = '203.0.113.1'", "[ipv4-addr:value = '203.0.113.1'", "[ipv4-addr:value = ]",
        "[ipv4-addr:value]",
        f"{ADDRESS} OR", f"{ADDRESS} {NAME}", f"{ADDRESS})", "[ipv4-addr:value = 'open]", "[ipv4-addr:value IN ('a' 'b')]", "[= 'x']",
        "\0", "[a:b = ¬]",
        "(" * 5000, "[" + "(" * 5000, f"{'(' * 30}{ADDRESS}{')' * 30}", " OR ".join([ADDRESS] * 5000), "[" + "x" * 200_000, "[a:b.'" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_pattern_or_too_large_is_unusable(pattern: str) -> None:
    with pytest.raises(PatternUnusable):
        indicators(pattern)


def test_a_pattern_of_a_thousand_alternatives_is_read() -> None:
    many = [f"[domain-name:value = 'n{number}.example']" for number in range(1000)]
    assert len(indicators(" OR ".join(many))) == 1000

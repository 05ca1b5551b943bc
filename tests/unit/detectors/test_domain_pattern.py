"""Patterns of names: matched on labels, on RE2, and a shipped list that leaves honest names alone."""

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from outwatch.detectors.domain_pattern import DomainPattern, DomainPatternConfig, Pattern
from outwatch.errors import RuleError
from outwatch.model.records import Connection, Destination, Dns, DnsQuestion, Findings, Name, Question

Place = Callable[[str, str, str], RuleError]
Make = Callable[..., Connection]
HONEST = (
    "github.com", "raw.githubusercontent.com", "debian.org", "wiki.debian.org", "example.com", "example.org",
    "store.steampowered.com", "letsencrypt.org", "www.google.com", "torproject.org", "python.org", "docs.python.org",
    "nodejs.org", "ubuntu.com", "cloudflare.com", "one.one.one.one", "microsoft.com", "update.microsoft.com",
    "windowsupdate.com", "apple.com", "icloud.com", "amazonaws.com", "s3.amazonaws.com", "akamai.net", "fastly.net",
    "wikipedia.org", "mozilla.org", "firefox.com", "docker.io", "ghcr.io", "golang.org", "crates.io", "rust-lang.org",
    "slack.com", "zoom.us", "dropbox.com", "spotify.com", "netflix.com", "paypal.com", "bbc.co.uk", "heise.de", "gov.uk",
    "europa.eu", "who.int", "nic.br", "stanford.edu", "army.mil", "example.dev", "web.app", "youtu.be", "t.me", "signal.org",
    "whatsapp.net", "discord.gg", "twitch.tv", "kernel.org", "gnu.org", "fedoraproject.org", "archlinux.org", "no-ip.com",
    "dyn.com", "localhost", "printer.local", "router.lan", "1.0.0.127.in-addr.arpa",
)  # fmt: skip


@pytest.fixture
def build(place: Place) -> Callable[..., DomainPattern]:
    """Build a detector of the given patterns, without the shipped ones unless asked."""

    def make(*patterns: Pattern, defaults: bool = False, ignore: tuple[str, ...] = ()) -> DomainPattern:
        return DomainPattern(DomainPatternConfig(defaults=defaults, patterns=patterns, ignore=ignore), place=place)

    return make


Build = Callable[..., DomainPattern]


def _matches(detector: DomainPattern, record: Connection | Question) -> list[tuple[object, float]]:
    return [(one.evidence["pattern"], one.points) for one in detector.inspect(record)]


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ({"label": "tor"}, "tor.example.com", True),
        ({"label": "tor"}, "www.TOR.example.com.", True),
        ({"label": "tor"}, "store.example.com", False),
        ({"label": "tor"}, "tor2.example.com", False),
        ({"label": "tor"}, "my-tor.example.com", False),
        ({"suffix": "crypt"}, "letsencrypt.org", False),
        ({"label": "crypt"}, "letsencrypt.org", False),
        ({"suffix": "crypt.org"}, "letsencrypt.org", False),
        ({"suffix": "evil.test"}, "evil.test", True),
        ({"suffix": "evil.test"}, "a.b.evil.test", True),
        ({"suffix": "evil.test"}, "notevil.test", False),
        ({"suffix": "evil.test"}, "evil.test.example.com", False),
        ({"suffix": ".evil.test"}, "x.evil.test", True),
        ({"suffix": "*.evil.test"}, "x.evil.test", True),
        ({"tld": "test"}, "a.test", True),
        ({"tld": ".test"}, "a.test", True),
        ({"tld": "test"}, "test.example.com", False),
        ({"tld": "test"}, "contest", False),
        ({"glob": "mail*"}, "mail7.example.com", True),
        ({"glob": "mail*"}, "www.mailer.org", True),
        ({"glob": "mail*"}, "hotmail.com", False),
        ({"glob": "m?il"}, "mail.example.com", True),
        ({"glob": "m?il"}, "m.il", False),  # a mark stands for a character of one label
        ({"glob": "x[!a]y"}, "xby.example.com", True),
        ({"glob": "x[!a]y"}, "xay.example.com", False),
        ({"glob": "x[!a]y"}, "x.y", False),  # neither does "anything but a" reach into the next label
        ({"glob": "[ab]1"}, "b1.example.com", True),
        ({"glob": "[ab]1"}, "c1.example.com", False),
        ({"glob": "*.evil.test"}, "a.b.evil.test", True),
        ({"glob": "*.evil.test"}, "evil.test", False),
        ({"glob": "*.evil.test"}, "a.evil.test.example.com", False),
        ({"glob": "a[b"}, "a[b.example.com", True),
        ({"glob": "EVIL-*"}, "evil-1.example.com", True),
        ({"regex": "tor"}, "store.example.com", False),
        ({"regex": "tor"}, "tor.example.com", True),
        ({"regex": "a|b"}, "b.example.com", True),
        ({"regex": "a|b"}, "ab.example.com", False),
        ({"regex": r"[a-z]{4}\d+"}, "abcd123.example.com", True),
        ({"regex": r"[a-z]{4}\d+"}, "xabcd123.example.com", False),
        ({"regex": r"EVIL\.test"}, "x.evil.test", True),
        ({"label": ("one", "two")}, "two.example.com", True),
    ],
)
def test_a_pattern_speaks_of_whole_labels(build: Build, connection: Make, pattern: dict[str, Any], name: str, *, found: bool) -> None:
    detector = build(Pattern(**pattern))
    assert detector.problems == []
    assert bool(_matches(detector, connection(domain=name))) is found


@pytest.mark.parametrize(("level", "points"), [("low", 30), ("medium", 50), ("high", 70), ("critical", 90)])
def test_a_match_carries_the_patterns_level_reason_and_source(build: Build, connection: Make, level: Any, points: float) -> None:
    detector = build(Pattern(label="evil", level=level, reason="seen in an incident", source="case 7", techniques=("T1568",)))
    (found,) = detector.inspect(connection(domain="evil.example.com"))
    assert (found.detector, found.family, found.points) == ("domain_pattern", "name", points)
    assert (found.reason, found.source, found.techniques) == ("seen in an incident", "case 7", ("T1568",))
    assert found.evidence == {"name": "evil.example.com", "pattern": "label evil"}


@pytest.mark.security
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(a|aa)+$", "([a-z]+)*$", "(.*a){20}"])
def test_a_catastrophic_pattern_still_answers(build: Build, connection: Make, pattern: str) -> None:
    # A backtracking engine would not come back from these within the life of the test run.
    detector = build(Pattern(regex=pattern), Pattern(label="end"))
    assert detector.problems == []
    assert ("label end", 50) in _matches(detector, connection(domain="a" * 60 + "!.end"))


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ({"regex": r"(?=a)b"}, ".regex"),
        ({"regex": r"(a)\1"}, ".regex"),
        ({"regex": "a)|(b"}, ".regex"),
        ({"regex": "["}, ".regex"),
        ({"regex": "x" * 10 + "{1000}{1000}"}, ".regex"),
        ({"glob": "[z-a]x"}, ".glob"),
        ({"glob": ("",)}, ".glob"),  # it would match every name there is
        ({"regex": ("",)}, ".regex"),
        ({"label": "two.labels"}, ".label"),
        ({"tld": "co.uk"}, ".tld"),
        ({"label": ("",)}, ".label"),
        ({"suffix": "two words"}, ".suffix"),
        ({}, ""),
        ({"label": "a", "tld": "b"}, ""),
    ],
)
def test_a_pattern_that_can_not_be_used_is_listed_and_the_others_work(
    build: Build, connection: Make, pattern: dict[str, Any], key: str
) -> None:
    detector = build(Pattern(label="first"), Pattern(**pattern), Pattern(label="last"))
    assert [problem.path for problem in detector.problems] == [f"detectors.domain_pattern.patterns[1]{key}"]
    assert detector.problems[0].reason
    assert _matches(detector, connection(domain="first.last")) == [("label first", 50), ("label last", 50)]


def test_one_bad_text_of_a_list_does_not_cost_the_good_ones(build: Build, connection: Make) -> None:
    detector = build(Pattern(label=("good", "not.good", "fine")))
    assert len(detector.problems) == 1
    assert len(_matches(detector, connection(domain="good.fine"))) == 2


@pytest.mark.parametrize(
    ("ignored", "name", "left_alone"),
    [
        ("duckdns.org", "home.duckdns.org", True),
        ("home.duckdns.org", "home.duckdns.org", True),
        ("home.duckdns.org", "camera.home.DuckDNS.org.", True),
        ("home.duckdns.org", "other.duckdns.org", False),
        ("home.duckdns.org", "myhome.duckdns.org", False),
        ("*.duckdns.org", "home.duckdns.org", True),  # as the allow list and the suffixes read it
    ],
)
def test_ignored_names_are_left_alone_with_all_below(build: Build, connection: Make, ignored: str, name: str, *, left_alone: bool) -> None:
    detector = build(defaults=True, ignore=(ignored,))
    assert (_matches(detector, connection(domain=name)) == []) is left_alone


@pytest.mark.parametrize("ignored", ["", "two words", "a..b"])
def test_an_ignored_name_that_is_none_is_listed(build: Build, ignored: str) -> None:
    (problem,) = build(ignore=(ignored,)).problems
    assert problem.path.startswith("detectors.domain_pattern.ignore")


def test_the_users_level_for_a_shipped_name_stands_over_the_shipped_one(build: Build, connection: Make) -> None:
    detector = build(Pattern(suffix="duckdns.org", level="critical"), Pattern(tld="top", level="high"), defaults=True)
    assert max(points for _, points in _matches(detector, connection(domain="x.duckdns.org"))) == 90
    assert max(points for _, points in _matches(detector, connection(domain="x.top"))) == 70


def test_of_two_patterns_for_the_same_label_none_is_dropped_silently(build: Build, connection: Make) -> None:
    detector = build(Pattern(label="evil", level="low"), Pattern(label="evil", level="high"))
    assert max(points for _, points in _matches(detector, connection(domain="evil.example.com"))) == 70


def test_every_name_of_a_connection_is_judged_once(build: Build, connection: Make) -> None:
    names = tuple(Name(name=name, origin="dns", confirmed=True) for name in ("cdn.example.com", "evil.example.org"))
    record = connection(domain="cdn.example.com", outwatch=Findings(names=names))
    detector = build(Pattern(label="evil"), Pattern(label="cdn", level="low"))
    assert _matches(detector, record) == [("label cdn", 30), ("label evil", 50)]


@pytest.mark.security
def test_a_name_can_not_hide_behind_harmless_ones(build: Build, connection: Make) -> None:
    decoys = [Name(name=f"cdn{at}.example.com", origin="dns", confirmed=True) for at in range(12)]
    record = connection(domain="cdn0.example.com", outwatch=Findings(names=(*decoys, Name(name="evil.example.org", origin="sni"))))
    assert _matches(build(Pattern(label="evil")), record) == [("label evil", 50)]


def test_a_dns_question_is_judged_by_the_name_it_asks_for(build: Build) -> None:
    asked = Dns(question=DnsQuestion(name="abc.onion.to", type="A"))
    when = datetime(2025, 7, 10, 17, 0, tzinfo=UTC)
    resolver = Destination(ip="198.51.100.53", port=53, domain="resolver.duckdns.org")
    question = Question(id="q", timestamp=when, destination=resolver, dns=asked)
    assert _matches(build(defaults=True), question) == [("suffix onion.to", 50)]
    assert _matches(build(defaults=True), Question(id="q", timestamp=when, destination=resolver)) == []


@pytest.mark.security
@pytest.mark.parametrize("name", ["", ".", "..", "a..b", "x" * 254, "\x1b]8;;x\x07", "a\nb", "\udcff.top", "\ud800", "*", "[", "(", "\0"])
def test_a_hostile_name_raises_nothing_whatever_the_patterns(build: Build, connection: Make, name: str) -> None:
    detector = build(Pattern(glob="zz*"), Pattern(glob="*.zz.*"), Pattern(regex="zz+"), Pattern(label="zz"), defaults=False)
    assert _matches(detector, connection(domain=name)) == []


@pytest.mark.security
def test_names_too_long_to_be_names_are_not_kept_in_memory(build: Build, connection: Make) -> None:
    detector = build(Pattern(label="evil"))
    tracemalloc.start()
    try:
        for at in range(64):
            assert _matches(detector, connection(domain=f"{at}." + "x" * (1 << 20))) == []
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 8 << 20


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("login.example.tk", 30),
        ("free.example.zip", 30),
        ("home.duckdns.org", 30),
        ("thing.ddns.net", 30),
        ("abcdefghijklmnop.onion.to", 50),
        ("expyuzz4wqqyqhjn.tor2web.io", 50),
        ("duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion", 50),
    ],
)
def test_the_shipped_list_knows_its_kinds(build: Build, connection: Make, name: str, points: float) -> None:
    assert max(found for _, found in _matches(build(defaults=True), connection(domain=name))) == points


def test_every_entry_of_the_shipped_list_can_be_used(build: Build) -> None:
    assert build(defaults=True).problems == []


@pytest.mark.parametrize("name", HONEST)
def test_the_shipped_list_leaves_honest_names_alone(build: Build, connection: Make, name: str) -> None:
    assert _matches(build(defaults=True), connection(domain=name)) == []


def test_without_the_defaults_only_the_users_patterns_speak(build: Build, connection: Make) -> None:
    assert _matches(build(Pattern(label="evil")), connection(domain="x.duckdns.org")) == []

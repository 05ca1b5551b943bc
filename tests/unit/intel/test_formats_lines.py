"""Text lists in the forms that are in use, alone and mixed."""

import pytest

from outwatch.intel.entries import Entry

from .reading import Read


def test_addresses_networks_and_names_become_entries_of_their_kind() -> None:
    read = Read("203.0.113.7\n198.51.100.0/24\nevil.example\n2001:db8::7\n2001:db8:1::/48\n")
    assert read.entries == [
        Entry("ip", "203.0.113.7"),
        Entry("network", "198.51.100.0/24"),
        Entry("domain", "evil.example"),
        Entry("ip", "2001:db8::7"),
        Entry("network", "2001:db8:1::/48"),
    ]
    assert read.ledger.form == "text"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(ending: str) -> None:
    assert Read(ending.join(["203.0.113.7", "", "203.0.113.8", "nonsense"])).lines == ["list:4: 'nonsense': no address, network or name"]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_may_be_in_any_unicode_encoding_that_says_so(codec: str) -> None:
    assert Read("203.0.113.7\nbücher.example\n".encode(codec)).values == ["203.0.113.7", "xn--bcher-kva.example"]


@pytest.mark.parametrize("comment", ["# text", "; text", "! text", "// text", "#", "####", "", "   ", "\0"])
def test_comments_and_blank_lines_say_nothing(comment: str) -> None:
    read = Read(f"{comment}\n203.0.113.7\n{comment}\n")
    assert (read.values, read.ledger.broken, read.ledger.unused()) == (["203.0.113.7"], 0, {})


@pytest.mark.parametrize(
    ("line", "value", "note"),
    [
        ("198.51.100.0/24 ; SBL123", "198.51.100.0/24", "SBL123"),  # Spamhaus DROP as text
        ("203.0.113.7 # Malicious Host", "203.0.113.7", "Malicious Host"),  # AlienVault
        ("203.0.113.7\tcommand server", "203.0.113.7", "command server"),
        ("203.0.113.7 2025-01-01 C2", "203.0.113.7", "2025-01-01 C2"),
        ("evil.example,phishing,2025", "evil.example", "phishing,2025"),
        ("203.0.113.7,443,Cobalt Strike", "203.0.113.7", "443,Cobalt Strike"),
        ("evil.example\tphishing", "evil.example", "phishing"),
        ("http://evil.example/a;b|c,d", "evil.example", None),
        ("http://evil.example/x # seen", "evil.example", "seen"),
        ("evil.example#remark", None, None),
    ],
)
def test_what_stands_beside_an_indicator_becomes_its_note(line: str, value: str | None, note: str | None) -> None:
    read = Read(f"{line}\nother.example")
    assert [(one.value, one.note) for one in read.entries] == [*([(value, note)] if value else []), ("other.example", None)]


def test_a_hosts_file_names_hosts_and_not_where_it_sends_them() -> None:
    read = Read(
        "127.0.0.1 localhost\n127.0.0.1 localhost.localdomain\n255.255.255.255 broadcasthost\n"
        "::1 localhost ip6-loopback\nfe80::1%lo0 localhost\n0.0.0.0 0.0.0.0\n"
        "0.0.0.0 a.evil.example\n127.0.0.1\tb.evil.example c.evil.example # two\n:: d.evil.example\n127.1.2.3  e.evil.example\n"
    )
    assert read.values == [f"{letter}.evil.example" for letter in "abcde"]
    assert [one.note for one in read.entries] == [None, "two", "two", None, None]
    assert read.ledger.unused() == {}, "what every hosts file has is not worth a word"


def test_an_address_with_a_count_is_as_sure_as_many_lists_have_it() -> None:
    read = Read("# IPsum\n203.0.113.1\t1\n203.0.113.2\t2\n203.0.113.6\t6\n203.0.113.9\t30\n203.0.113.10\n")
    sure = [one.confidence for one in read.entries]
    assert sure == [20, 35, 95, 95, None]


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("||evil.example^", ["evil.example"]),
        ("||evil.example^|", ["evil.example"]),
        ("||evil.example", ["evil.example"]),
        ("||evil.example^$all", ["evil.example"]),
        ("||evil.example^$important,third-party", ["evil.example"]),
        ("||203.0.113.7^", ["203.0.113.7"]),
        ("address=/evil.example/0.0.0.0", ["evil.example"]),
        ("address=/evil.example/", ["evil.example"]),
        ("address=/a.example/b.example/#", ["a.example", "b.example"]),
        ("server=/evil.example/", ["evil.example"]),
        ("local=/evil.example/", ["evil.example"]),
        ("*.evil.example", ["evil.example"]),
        (".evil.example", ["evil.example"]),
    ],
)
def test_a_rule_that_means_all_connections_to_a_name_is_one_about_the_name(rule: str, names: list[str]) -> None:
    assert Read(f"[Adblock Plus 2.0]\n! Title: x\n{rule}\n").values == names


@pytest.mark.parametrize(
    "rule",
    [
        "@@||good.example^", "||good.example^$script", "||good.example^$domain=other.example", "||good.example/ads/",
        "good.example##.ad", "##.ad",
        "good.example#@#.ad", "|http://good.example/x", "/ads[0-9]/", "good.example$$script[data]", "~good.example,x.example##.ad",
    ],
)  # fmt: skip
def test_a_rule_about_less_than_all_connections_to_a_name_accuses_nobody(rule: str) -> None:
    read = Read(f"{rule}\n||evil.example^\n")
    assert (read.values, read.ledger.broken) == (["evil.example"], 0)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("203.0.113.0-203.0.113.255", ["203.0.113.0/24"]),
        ("203.0.113.0 - 203.0.113.4", ["203.0.113.0/30", "203.0.113.4"]),
        ("203.0.113.7 - 203.0.113.7 ; one", ["203.0.113.7"]),
        ("2001:db8::1-2001:db8::2", ["2001:db8::1", "2001:db8::2"]),
        ("::ffff:203.0.113.0-::ffff:203.0.113.1", ["203.0.113.0/31"]),
    ],
)
def test_a_range_becomes_the_networks_that_make_it_up(text: str, values: list[str]) -> None:
    assert Read(text).values == values


def test_one_list_may_mix_forms() -> None:
    read = Read(
        "203.0.113.1\n0.0.0.0 a.example\n||b.example^\nhxxp://c[.]example/x\naddress=/d.example/\n203.0.113.2\t3\n203.0.113.4-203.0.113.5\n"
        "# first_seen,dst_ip,malware\n2025-01-01 00:00:00,203.0.113.8,Emotet\ne.example\n"
    )
    assert read.values == [
        "203.0.113.1", "a.example", "b.example", "c.example", "d.example", "203.0.113.2", "203.0.113.4/31", "203.0.113.8", "e.example"
    ]  # fmt: skip


def test_broken_lines_are_counted_and_the_first_are_told_with_their_numbers() -> None:
    read = Read("203.0.113.7\n" * 30 + "what is this\n" * 30)
    assert read.ledger.broken == 30
    assert read.lines[0] == "list:31: 'what is this': no address, network or name"
    assert read.lines[19].startswith("list:50:")
    assert read.lines[20:] == ["list: more such lines (broken) are counted, not listed"]
    assert read.ledger.unused() == {"lines not understood": 30}


def test_a_line_without_an_end_is_one_broken_line() -> None:
    read = Read("203.0.113.1\n" + "x" * 200_000 + "\n203.0.113.2\n")
    assert read.values == ["203.0.113.1", "203.0.113.2"]
    assert [line[:8] for line in read.lines] == ["list:2: "]


def test_hostile_lines_are_told_harmlessly() -> None:
    read = Read("203.0.113.7\n\x1b[31mred \u202eevil\n".encode() + b"\xff\xfe\xfa broken\n")
    assert read.ledger.broken == 2
    assert all(line.isprintable() for line in read.lines)


def test_a_note_is_bounded_and_holds_no_control_characters() -> None:
    (entry,) = Read("203.0.113.7 " + "n\x07 " * 500).entries
    assert entry.note is not None
    assert len(entry.note) == 200

"""CSV lists, as those publish them who have headings."""

import pytest

from outwatch.intel.entries import Entry

from .reading import Read, seconds

URLHAUS = (
    "################################################################\n"
    "# abuse.ch URLhaus Database Dump (CSV - recent URLs only)      #\n"
    "# Last updated: 2025-04-01 10:12:05 (UTC)                      #\n"
    "#                                                              #\n"
    "# Terms Of Use: https://urlhaus.abuse.ch/api/                  #\n"
    "################################################################\n"
    "#\n"
    "# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\n"
    '"2787265","2025-04-01 10:11:06","http://203.0.113.7:4000/i","online","2025-04-01 10:12:07","malware_download","32-bit,arm,mozi",'
    '"https://urlhaus.abuse.ch/url/2787265/","geen"\n'
    '"2787264","2025-04-01 10:11:06","https://evil.example/x?a=""b""&c","offline","","malware_download","None",'
    '"https://urlhaus.abuse.ch/url/2787264/","somebody"\n'
)
THREATFOX = (
    "################################################################\n"
    "# ThreatFox IOCs: recent - CSV format                          #\n"
    "################################################################\n"
    "#\n"
    '# "first_seen_utc","ioc_id","ioc_value","ioc_type","threat_type","fk_malware","malware_alias","malware_printable","last_seen_utc",'
    '"confidence_level","reference","tags","anonymous","reporter"\n'
    '"2025-01-01 00:00:00", "1", "203.0.113.7:443", "ip:port", "botnet_cc", "win.cobalt_strike", "Agentemis,BEACON", "Cobalt Strike", '
    '"2025-01-03 04:05:06", "100", "", "CobaltStrike", "0", "abuse_ch"\n'
    '"2025-01-01 00:00:01", "2", "evil.example", "domain", "botnet_cc", "win.x", "None", "Unknown malware", "", "75", "None", "", "0", ""\n'
    '"2025-01-01 00:00:02", "3", "0123456789abcdef0123456789abcdef", "md5_hash", "payload", "x", "", "X", "", "50", "", "", "0", ""\n'
    "# Number of entries: 3\n"
)
FEODO = """################################################################
# abuse.ch Feodo Tracker Botnet C2 IP Blocklist (CSV)          #
################################################################
#
"first_seen_utc","dst_ip","dst_port","c2_status","last_online","malware"
"2021-01-17 07:44:46","203.0.113.7","4643","offline","2023-12-01","Dridex"
# END 1 entries
"""
SSLBL = "####\n# abuse.ch SSLBL Botnet C2 IP Blacklist (CSV) #\n# Firstseen,DstIP,DstPort\r\n2021-02-03 04:05:06,203.0.113.7,443\r\n"


def test_urlhaus_gives_the_hosts_of_its_urls_with_their_times_and_threats() -> None:
    added = seconds("2025-04-01 10:11:06")
    assert Read(URLHAUS).entries == [
        Entry("ip", "203.0.113.7", None, added, seconds("2025-04-01 10:12:07"), None, "malware_download, 32-bit,arm,mozi"),
        Entry("domain", "evil.example", None, added, None, None, "malware_download"),
    ]


def test_threatfox_gives_its_own_confidence_and_leaves_checksums() -> None:
    read = Read(THREATFOX)
    assert read.entries == [
        Entry("ip", "203.0.113.7", 100, seconds("2025-01-01 00:00:00"), seconds("2025-01-03 04:05:06"), None, "Cobalt Strike, botnet_cc"),
        Entry("domain", "evil.example", 75, seconds("2025-01-01 00:00:01"), None, None, "Unknown malware, botnet_cc"),
    ]
    assert read.ledger.unused() == {"checksums of files": 1}


def test_feodo_tracker_has_its_header_in_a_line_of_its_own() -> None:
    (entry,) = Read(FEODO).entries
    assert entry == Entry("ip", "203.0.113.7", None, seconds("2021-01-17 07:44:46"), seconds("2023-12-01 00:00:00"), None, "Dridex")


def test_sslbl_spells_its_headings_in_one_word() -> None:
    assert Read(SSLBL).entries == [Entry("ip", "203.0.113.7", None, seconds("2021-02-03 04:05:06"))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_any_usual_delimiter_separates_columns(delimiter: str) -> None:
    text = "ip,confidence,comment\n203.0.113.7,80,C2\n".replace(",", delimiter)
    assert Read(text).entries == [Entry("ip", "203.0.113.7", 80, note="C2")]


def test_the_first_column_that_holds_an_indicator_counts() -> None:
    text = "first_seen,domain,ip\n2025-01-01,evil.example,203.0.113.7\n2025-01-01,,203.0.113.8\n2025-01-01,None,203.0.113.9\n"
    assert Read(text).values == ["evil.example", "203.0.113.8", "203.0.113.9"]


def test_an_expired_row_counts_no_more() -> None:
    read = Read("indicator,valid_until\nold.example,2025-07-09T23:59:59Z\nnew.example,2025-07-11\n")
    assert read.values == ["new.example"]
    assert read.entries[0].expires == seconds("2025-07-11 00:00:00")
    assert read.ledger.unused() == {"expired": 1}


@pytest.mark.parametrize("row", ["2025-01-01,,", "2025-01-01,nonsense,x", "2025-01-01,a b c,x"])
def test_a_row_without_an_indicator_is_broken_and_told(row: str) -> None:
    read = Read(f"first_seen,ip,comment\n{row}\n2025-01-01,203.0.113.7,x\n")
    assert read.values == ["203.0.113.7"]
    assert [line.split(" ")[0] for line in read.lines] == ["list:2:"]


def test_a_header_that_comes_again_says_nothing() -> None:
    read = Read("first_seen,ip\n2025-01-01,203.0.113.7\nfirst_seen,ip\n2025-01-01,203.0.113.8\n")
    assert (read.values, read.ledger.broken) == (["203.0.113.7", "203.0.113.8"], 0)


def test_a_list_that_comes_from_several_may_have_several_headers() -> None:
    read = Read(f"{FEODO}{URLHAUS}203.0.113.9\n")
    assert read.values == ["203.0.113.7", "203.0.113.7", "evil.example", "203.0.113.9"]


@pytest.mark.parametrize("text", ["203.0.113.7, 443\n", "evil.example, ip of something\n", "# the url, the ip\n203.0.113.7,443,x\n"])
def test_a_sentence_with_a_comma_is_no_header(text: str) -> None:
    assert len(Read(text + "203.0.113.99\n").entries) == 2


@pytest.mark.parametrize(
    ("field", "confidence"),
    [
        ("0", 0),
        ("100", 100),
        ("66.6", 67),
        ("101", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("9" * 5000, None),
        ("high", None),
    ],
)
def test_a_confidence_is_a_percentage_or_none(field: str, confidence: int | None) -> None:
    assert Read(f"ip,confidence\n203.0.113.7,{field}\n").entries == [Entry("ip", "203.0.113.7", confidence)]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("2025-01-02 03:04:05", "2025-01-02 03:04:05"),
        ("2025-01-02 03:04:05 UTC", "2025-01-02 03:04:05"),
        ("2025-01-02T03:04:05Z", "2025-01-02 03:04:05"),
        ("2025-01-02T05:04:05+02:00", "2025-01-02 03:04:05"),
        ("2025-01-02T03:04:05.678Z", "2025-01-02 03:04:05"),
        ("2025-01-02", "2025-01-02 00:00:00"),
        ("1735787045", "2025-01-02 03:04:05"),
        ("1735787045000", "2025-01-02 03:04:05"),
    ],
)
def test_times_are_read_in_the_spellings_that_are_in_use(field: str, expected: str) -> None:
    (entry,) = Read(f"ip,first_seen\n203.0.113.7,{field}\n").entries
    assert entry.first_seen == seconds(expected)


@pytest.mark.parametrize(
    "field", ["", "yesterday", "0000-00-00 00:00:00", "1969-12-31", "9999-12-31", "99999999999999", "-1", "1" * 5000, "2025-13-01"]
)
def test_what_is_no_credible_time_is_none(field: str) -> None:
    (entry,) = Read(f"ip,first_seen\n203.0.113.7,{field}\n").entries
    assert entry.first_seen is None

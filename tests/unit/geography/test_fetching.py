"""Files that are fetched: taken if they are as good as the one before, else that one stays; nothing else is left behind."""

import asyncio
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from outwatch.errors import LookupFailed
from outwatch.intel.places import Fetched, update
from outwatch.model.reputation import LookupReply
from outwatch.net.places import FOLDER
from outwatch.net.places.mmdb import Mmdb

Write = Callable[..., Path]
ADDRESS = "https://files.example/geo/GeoLite2-Country.mmdb"
BOTH: dict[str, object] = {"8.8.8.0/24": {"country_code": "NL", "asn": "AS64500"}}


class Web:
    """Stands in for the client: gives what it was told to for each address."""

    def __init__(self, **_: Any) -> None:
        self.holds: dict[str, bytes | int | LookupFailed] = {}

    async def download(self, url: str, into: BinaryIO, *, most: int, seconds: float) -> LookupReply:
        assert most > 100 << 20
        assert seconds > 60
        held = self.holds[url]
        if isinstance(held, LookupFailed):
            into.write(b"a part")
            raise held
        if isinstance(held, int):
            return LookupReply(status=held)
        into.write(held)
        return LookupReply(status=200)


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[..., list[Fetched]]:
    """Fetch from addresses that hold what is given, and make sure that only whole files are left."""
    state = tmp_path / "state"

    def fetch(**holds: Any) -> list[Fetched]:
        web = Web()
        web.holds = {ADDRESS if name == "it" else f"https://files.example/{name}": held for name, held in holds.items()}
        found = asyncio.run(update(list(web.holds), state, web))  # type: ignore[arg-type]
        assert all(path.suffix == ".mmdb" and Mmdb(path).gives for path in (state / FOLDER).iterdir())
        return found

    return fetch


def countries(path: Path | None) -> tuple[str, ...]:
    assert path is not None
    return Mmdb(path).gives


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_is_kept_where_the_enricher_looks(
    fetched: Callable[..., list[Fetched]], mmdb: Write, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (one,) = fetched(it=pack(mmdb(BOTH).read_bytes()))
    assert one.address == ADDRESS
    assert one.said == "country and network, Test of 2025-06-15"
    assert one.path is not None
    assert one.path.parent == tmp_path / "state" / FOLDER
    assert one.path.name.startswith("geolite2-country-")
    assert countries(one.path) == ("country", "network")
    assert one.path.stat().st_mode & 0o077 == 0


def test_the_next_one_replaces_it_and_one_from_elsewhere_stands_beside_it(
    fetched: Callable[..., list[Fetched]], mmdb: Write, tmp_path: Path
) -> None:
    (first,) = fetched(it=mmdb(BOTH).read_bytes())
    newer = {"8.8.8.0/24": {"country_code": "SE", "asn": "AS64501"}}
    (second,) = fetched(it=mmdb(newer, more={"build_epoch": 1_760_000_000}).read_bytes())
    assert second.path == first.path
    assert second.said.endswith("of 2025-10-09")
    (other,) = fetched(elsewhere=mmdb(BOTH).read_bytes())
    assert other.path not in {None, first.path}
    assert len(list((tmp_path / "state" / FOLDER).iterdir())) == 2


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (404, "not there (HTTP 404)"),
        (304, "not there (HTTP 304)"),
        (LookupFailed("timeout"), "timeout"),
        (b"", "no MMDB file, or a damaged one"),
        (b"<html>welcome</html>", "no MMDB file, or a damaged one"),
        (gzip.compress(b"<html>", mtime=0), "no MMDB file, or a damaged one"),
        (b"\x1f\x8bnot gzip", "broken compression"),
        (gzip.compress(bytes(100 << 20)), "unpacks to more than 30 times its size"),
    ],
)
@pytest.mark.security
def test_what_is_no_good_leaves_the_one_before(
    fetched: Callable[..., list[Fetched]], mmdb: Write, held: bytes | int | LookupFailed, why: str
) -> None:
    (before,) = fetched(it=mmdb(BOTH).read_bytes())
    (after,) = fetched(it=held)
    assert after.path is None
    assert why in after.said
    assert countries(before.path) == ("country", "network")


@pytest.mark.security
def test_an_older_a_poorer_and_a_shrunken_file_are_refused(fetched: Callable[..., list[Fetched]], mmdb: Write) -> None:
    many: dict[str, object] = {f"9.{at}.0.0/16": {"country_code": "NL", "asn": f"AS{at + 1}", "as_name": "x" * 50} for at in range(200)}
    (before,) = fetched(it=mmdb(many).read_bytes())
    assert before.path is not None
    whole = before.path.read_bytes()
    for networks, more, why in (
        (many, {"build_epoch": 1_700_000_000}, "refused: it is of 2023-11-14, older than the one that is there"),
        ({**many, **{text: {"country_code": "NL"} for text in many}}, {}, "refused: it has no network any more"),
        (BOTH, {}, "refused: less than a tenth of the one before"),
    ):
        (after,) = fetched(it=mmdb(networks, more=more).read_bytes())
        assert why in after.said
        assert after.path is None
        assert before.path.read_bytes() == whole


def test_one_that_fails_leaves_the_others_alone(fetched: Callable[..., list[Fetched]], mmdb: Write) -> None:
    good = mmdb(BOTH).read_bytes()
    assert [one.path is not None for one in fetched(a=good, b=500, c=good)] == [True, False, True]


@pytest.mark.security
@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..", "", "a/../../b.mmdb", "%2e%2e%2fx.mmdb", "x" * 500 + ".mmdb.gz", "ä\u202e.mmdb", "-rf.mmdb"]
)
def test_no_address_leads_out_of_the_folder(fetched: Callable[..., list[Fetched]], mmdb: Write, tmp_path: Path, name: str) -> None:
    (one,) = fetched(**{name: mmdb(BOTH).read_bytes()})
    assert one.path is not None
    assert one.path.parent == tmp_path / "state" / FOLDER
    assert one.path.name.isascii()
    assert not one.path.name.startswith(("-", "."))


@pytest.mark.security
def test_what_stands_behind_the_question_mark_is_not_shown(fetched: Callable[..., list[Fetched]], mmdb: Write) -> None:
    (good,) = fetched(**{"x.mmdb?token=c4nary": mmdb(BOTH).read_bytes()})
    (bad,) = fetched(**{"y.mmdb?token=c4nary": 403})
    assert "c4nary" not in str([good, bad])


@pytest.mark.security
def test_a_folder_that_others_may_write_is_refused(fetched: Callable[..., list[Fetched]], mmdb: Write, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    with pytest.raises(Exception, match="others may write"):
        fetched(it=mmdb(BOTH).read_bytes())

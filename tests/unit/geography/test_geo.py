"""The enricher: own files before fetched ones before what ships; what can't be used is told once, what is exchanged is taken up."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outwatch.engine.health import Health
from outwatch.enrichers import geo
from outwatch.enrichers.geo import GeoConfig, Places
from outwatch.errors import StoreError
from outwatch.model.interfaces import Detailed
from outwatch.model.records import AutonomousSystem, Connection, Destination, Geo, Network, Organization
from outwatch.net.places import FOLDER

Make = Callable[..., Connection]
Write = Callable[..., Path]
GOOGLE = "8.8.8.8"


class Clock:
    """The time since the machine's start, which the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(geo, "time", clock)
    return clock


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def built(told: list[str], tmp_path: Path, clock: Clock) -> Callable[..., Places]:
    """Build the enricher with its state in the test's folder."""

    def build(*files: Path, **settings: Any) -> Places:
        config = GeoConfig(files=tuple(map(str, files)), **settings)
        return Places(config, health=Health(tell=told.append), state_dir=tmp_path / "state")

    return build


def where(places: Places, record: Connection) -> tuple[str | None, int | None, str | None]:
    """Give country, number and name of the network that a record has afterwards."""
    destination = places.enrich(record).destination
    of = destination.as_
    country = destination.geo.country_iso_code if destination.geo else None
    return country, of.number if of else None, of.organization.name if of and of.organization else None


def test_without_any_configuration_country_and_network_are_known(built: Callable[..., Places], connection: Make) -> None:
    assert where(built(), connection(ip=GOOGLE)) == ("US", 15_169, "Google LLC")
    assert where(built(), connection(ip="2001:4860:4860::8888")) == ("US", 15_169, "Google LLC")


def test_a_part_that_was_not_given_its_state_works_too(connection: Make) -> None:
    assert where(Places(GeoConfig(), health=Health()), connection(ip=GOOGLE))[0] == "US"


def test_a_tunnel_is_where_the_address_in_it_is(built: Callable[..., Places], connection: Make) -> None:
    assert where(built(), connection(ip="2002:808:808::1")) == ("US", 15_169, "Google LLC")


@pytest.mark.parametrize(
    "changes",
    [
        {"network": Network(transport="tcp", direction="egress", scope="private")},
        {"network": Network(transport="tcp", direction="egress", scope="unclassified")},
        {"network": Network(transport="tcp", direction="egress")},
        {"network": Network(transport="tcp", direction="ingress", scope="public")},
    ],
)
def test_only_public_destinations_that_this_host_called_are_looked_for(
    built: Callable[..., Places], connection: Make, changes: dict[str, Any]
) -> None:
    record = connection(ip=GOOGLE, **changes)
    assert built().enrich(record) is record


@pytest.mark.parametrize("ip", [None, "", "x", "8.8.8", "203.0.113.9"])
def test_what_is_not_known_leaves_the_record_as_it_is(built: Callable[..., Places], connection: Make, ip: str | None) -> None:
    record = connection(ip=ip)
    assert built().enrich(record) is record


def test_what_a_recording_says_stays_and_what_it_lacks_is_added(built: Callable[..., Places], connection: Make) -> None:
    network = AutonomousSystem(number=64_500, organization=Organization(name="Example Net"))
    said = connection(destination=Destination(ip=GOOGLE, geo=Geo(country_iso_code="NL")))
    assert where(built(), said) == ("NL", 15_169, "Google LLC")
    assert where(built(), connection(destination=Destination(ip=GOOGLE, as_=network))) == ("US", 64_500, "Example Net")
    both = connection(destination=Destination(ip=GOOGLE, as_=network, geo=Geo(country_iso_code="NL")))
    assert built().enrich(both) is both


def test_files_complete_each_other_the_first_has_the_word(built: Callable[..., Places], connection: Make, mmdb: Write) -> None:
    country = mmdb({"8.8.0.0/16": {"country": {"iso_code": "NL"}}}, "country.mmdb")
    network = mmdb({"8.8.8.0/24": {"asn": "AS64500", "as_name": "Example Net", "country_code": "SE"}}, "network.mmdb")
    assert where(built(country, network), connection(ip=GOOGLE)) == ("NL", 64_500, "Example Net")
    assert where(built(network, country), connection(ip=GOOGLE)) == ("SE", 64_500, "Example Net")
    assert where(built(country), connection(ip=GOOGLE)) == ("NL", 15_169, "Google LLC")
    assert where(built(country), connection(ip="1.1.1.1")) == ("AU", 13_335, "Cloudflare, Inc.")
    assert where(built(country, shipped=False), connection(ip=GOOGLE)) == ("NL", None, None)
    assert where(built(country, shipped=False), connection(ip="1.1.1.1")) == (None, None, None)


def test_own_files_come_before_fetched_ones(built: Callable[..., Places], connection: Make, mmdb: Write, tmp_path: Path) -> None:
    fetched = tmp_path / "state" / FOLDER
    fetched.mkdir(parents=True)
    mmdb({"8.8.8.0/24": {"country_code": "SE", "asn": "AS64501"}}, fetched / "a.mmdb")
    (fetched / ".fetched-x").write_text("not one of them")
    assert where(built(), connection(ip=GOOGLE)) == ("SE", 64_501, None)
    assert where(built(mmdb({"8.8.8.0/24": {"country_code": "NL"}})), connection(ip=GOOGLE)) == ("NL", 64_501, None)


@pytest.mark.security
def test_a_file_that_can_not_be_used_is_told_once_and_the_others_are_used(
    built: Callable[..., Places], connection: Make, mmdb: Write, tmp_path: Path, told: list[str], clock: Clock
) -> None:
    broken = tmp_path / "broken.mmdb"
    broken.write_bytes(b"<html>404</html>")
    foreign = mmdb({"8.8.8.0/24": {"connection_type": "Cable"}}, "foreign.mmdb")
    good = mmdb({"8.8.8.0/24": {"country_code": "NL"}}, "good.mmdb")
    places = built(tmp_path / "none.mmdb", broken, foreign, good)
    for _ in range(3):
        assert where(places, connection(ip=GOOGLE)) == ("NL", 15_169, "Google LLC")
        clock.now += 5
    assert len(told) == 3
    for path, text in zip(("none.mmdb", "broken.mmdb", "foreign.mmdb"), told, strict=True):
        assert path in text
        assert "enrichers.geo.files" in text
    assert "fetch it again, or name another file" in told[1]


@pytest.mark.parametrize("in_place", [True, False], ids=["overwritten", "renamed"])
def test_an_exchanged_file_is_taken_up(
    built: Callable[..., Places], connection: Make, mmdb: Write, clock: Clock, *, in_place: bool
) -> None:
    path = mmdb({"8.8.8.0/24": {"country_code": "NL"}})
    places = built(path)
    assert where(places, connection(ip=GOOGLE))[0] == "NL"
    fresh = mmdb({"8.8.8.0/24": {"country_code": "SE"}, "9.9.9.0/24": {"country_code": "FI"}}, "fresh.mmdb")
    if in_place:
        shutil.copyfile(fresh, path)
    else:
        os.replace(fresh, path)
    clock.now += 1.1
    assert where(places, connection(ip=GOOGLE))[0] == "SE"
    assert where(places, connection(ip="9.9.9.9"))[0] == "FI"
    path.unlink()
    clock.now += 1.1
    assert where(places, connection(ip=GOOGLE))[0] == "US"


def test_a_file_that_comes_later_or_is_mended_is_taken_up(
    built: Callable[..., Places], connection: Make, mmdb: Write, tmp_path: Path, clock: Clock, told: list[str]
) -> None:
    path = tmp_path / "test.mmdb"
    places = built(path)
    assert where(places, connection(ip=GOOGLE))[0] == "US"
    path.write_bytes(b"half of a file")
    clock.now += 1.1
    assert where(places, connection(ip=GOOGLE))[0] == "US"
    mmdb({"8.8.8.0/24": {"country_code": "NL"}})
    clock.now += 1.1
    assert where(places, connection(ip=GOOGLE))[0] == "NL"
    assert [("No such file" in text, "damaged" in text) for text in told] == [(True, False), (False, True)]


@pytest.mark.security
def test_a_file_that_turns_out_damaged_is_told_once_and_used_no_more(
    built: Callable[..., Places], connection: Make, mmdb: Write, told: list[str]
) -> None:
    path = mmdb({f"9.{at >> 8}.{at & 255}.0/24": {"country_code": "NL", "as_name": "x" * 90} for at in range(3000)})
    places = built(path)
    assert where(places, connection(ip="9.0.0.1"))[0] == "NL"
    os.truncate(path, 5_000)  # within the second in which nobody looks
    for last in range(200):
        assert where(places, connection(ip=f"9.11.{last}.1"))[0] in {"NL", "US", None, "CH"}
    assert len(told) == 1
    assert "it is used no more until it changes" in told[0]


@pytest.mark.security
@pytest.mark.parametrize("path", ["~nobody-of-this-name/x.mmdb", "a\0b.mmdb", "", "x" * 5000])
def test_a_path_that_can_be_none_is_a_problem_like_any_other(
    built: Callable[..., Places], connection: Make, path: str, told: list[str]
) -> None:
    places = Places(GeoConfig(files=(path,)), health=Health(tell=told.append))
    assert where(places, connection(ip=GOOGLE))[0] == "US"
    assert len(told) == 1


def test_a_file_named_twice_is_one_file(built: Callable[..., Places], connection: Make, mmdb: Write) -> None:
    path = mmdb({"8.8.8.0/24": {"country_code": "NL"}})
    places = built(path, path)
    assert where(places, connection(ip=GOOGLE))[0] == "NL"
    assert [line for line in places.details() if "test.mmdb" in line] == [f"{path}: country, Test of 2025-06-15"]


def test_without_what_ships_the_user_s_files_work_alone(
    built: Callable[..., Places],
    connection: Make,
    mmdb: Write,
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
    tmp_path: Path,
    clock: Clock,
) -> None:
    monkeypatch.setattr(geo, "HERE", tmp_path / "gone.bin")
    places = built(mmdb({"8.8.8.0/24": {"country_code": "NL"}}))
    assert where(places, connection(ip=GOOGLE)) == ("NL", None, None)
    clock.now += 5
    assert where(places, connection(ip="1.1.1.1")) == (None, None, None)
    assert [text for text in told if "gone.bin" in text] == told
    assert len(told) == 1
    assert places.details()[-1] == "what came with outwatch: can't be used"


@pytest.mark.security
def test_what_a_file_says_is_cleaned_and_bounded(built: Callable[..., Places], connection: Make, mmdb: Write) -> None:
    path = mmdb({"8.8.8.0/24": {"autonomous_system_number": 64_500, "autonomous_system_organization": "=cmd()\n" + "\u202e" + "x" * 9000}})
    _, number, name = where(built(path), connection(ip=GOOGLE))
    assert number == 64_500
    assert name is not None
    assert "\n" not in name
    assert len(name) <= 100


def test_it_says_of_each_file_what_it_gives_and_whom_to_thank(built: Callable[..., Places], mmdb: Write, tmp_path: Path) -> None:
    path = mmdb({"8.8.8.0/24": {"country_code": "NL", "asn": "AS1"}}, more={"database_type": "ipinfo lite.mmdb"})
    places = built(path, tmp_path / "none")
    assert isinstance(places, Detailed)
    mine, none, country, network = places.details()
    assert mine == f"{path}: country and network, ipinfo lite.mmdb of 2025-06-15"
    assert none == f"{tmp_path / 'none'}: No such file or directory"
    assert country.startswith("came with outwatch: country of 20")
    assert all(text in network for text in ("routeviews.org", "db-ip.com", "CC BY 4.0"))
    assert built(shipped=False).details() == ["what came with outwatch: switched off"]


def test_addresses_are_remembered_so_that_files_are_not_read_for_each_connection(
    built: Callable[..., Places], connection: Make, mmdb: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = built(mmdb({"8.8.8.0/24": {"country_code": "NL"}}))
    first = places.enrich(connection(ip=GOOGLE)).destination

    def refuses(*_: object) -> None:
        raise StoreError("x", "read again")

    monkeypatch.setattr("outwatch.net.places.mmdb.Mmdb.find", refuses)
    assert places.enrich(connection(ip=GOOGLE)).destination == first
    assert where(places, connection(ip="8.8.4.4")) == ("US", 15_169, "Google LLC")

"""Makes the lists of well-known things that come with outwatch, ``src/outwatch/intel/warninglists.idx``, from those of the MISP project.

    python packaging/warninglists.py FOLDER

``FOLDER`` has the files of https://github.com/MISP/misp-warninglists (CC0-1.0) that are named below, as ``NAME.json`` or ``NAME.json.gz``.
The same files give the same bytes. Why these and no others: ``docs/decisions/0020-indicator-index.md``.
"""

import gzip
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

import msgspec

from outwatch.intel.entries import Entry
from outwatch.intel.indexing import Built, build
from outwatch.intel.layout import ListFacts, Meaning
from outwatch.intel.warninglists import FILE
from outwatch.net import domains, resolvers
from outwatch.net.addresses import Network, parse_network

_LICENCE, _SOURCE = "CC0-1.0", "https://github.com/MISP/misp-warninglists"
_DATED = 8  # digits of a version that is a date


class Chosen(NamedTuple):
    """A list that is taken, what it is called here, and what its entries are."""

    file: str
    name: str
    meaning: Meaning
    title: str


CHOSEN = (
    Chosen("akamai", "akamai", "CDN", "Akamai's networks"),
    Chosen("cloudflare", "cloudflare", "CDN", "Cloudflare's networks"),
    Chosen("fastly", "fastly", "CDN", "Fastly's networks"),
    Chosen("amazon-aws", "amazon-aws", "cloud", "networks of Amazon's cloud"),
    Chosen("google-gcp", "google-cloud", "cloud", "networks of Google's cloud"),
    Chosen("microsoft-azure", "microsoft-azure", "cloud", "networks of Microsoft's cloud"),
    Chosen("ovh-cluster", "ovh-shared-hosting", "hosting", "addresses of OVH at which thousands of sites live"),
    Chosen("vpn-ipv4", "vpn-and-data-centres-v4", "VPN", "networks of VPN providers and data centres, IPv4"),
    Chosen("vpn-ipv6", "vpn-and-data-centres-v6", "VPN", "networks of VPN providers and data centres, IPv6"),
    Chosen("parking-domain", "parking", "parking", "addresses to which unused domains lead"),
    Chosen("apple", "apple", "well known", "Apple's own networks"),
    Chosen("wikimedia", "wikimedia", "well known", "Wikimedia's own networks"),
    Chosen("google", "google-names", "well known", "Google's names"),
    Chosen("microsoft", "microsoft-names", "well known", "Microsoft's names"),
    Chosen("captive-portals", "captive-portals", "well known", "names that systems ask to find out whether they are online"),
    Chosen("digitalside", "shared-platforms", "shared platform", "platforms to which everybody may upload"),
    Chosen("url-shortener", "url-shorteners", "shared platform", "shorteners of URLs"),
    Chosen("link-in-bio", "link-in-bio", "shared platform", "pages of links that everybody may make"),
    Chosen("security-provider-blogpost", "security-vendors", "security vendor", "names that reports cite: vendors, blogs, research"),
    Chosen("sinkholes", "sinkholes", "sinkhole", "addresses to which seized names of malware lead"),
    Chosen("dynamic-dns", "dynamic-dns", "dynamic DNS", "domains of dynamic DNS"),
)
RESOLVERS = ListFacts(
    name="public-resolvers",
    kind="warning",
    meaning="public resolver",
    title="public resolvers that answer over encrypted connections too",
    licence="MIT",
    source="src/outwatch/net/resolvers.py",
    date="2026",
)


class Warninglist(msgspec.Struct):
    """The part of a MISP warninglist that is used here."""

    version: int
    list: list[str]


def main(arguments: Sequence[str]) -> int:
    """Write the file and say what is in it."""
    if len(arguments) != 1:
        sys.exit(__doc__)
    facts, built = make(Path(arguments[0]), FILE)
    for one, count, refused in zip(facts, built.entries, built.refused, strict=True):
        say(f"{one.name:26} {one.meaning:16} {one.date:12} {count:7,} entries{f', {refused} can not be used' if refused else ''}")
    say(f"{FILE}: {FILE.stat().st_size:,} bytes, {len(gzip.compress(FILE.read_bytes(), mtime=0)):,} compressed")
    return 0


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def make(folder: Path, path: Path) -> tuple[list[ListFacts], Built]:
    """Write the lists of a folder to ``path``."""
    rented = [network for chosen in CHOSEN if chosen.meaning in {"CDN", "cloud"} for network in _networks(_read(folder, chosen.file))]
    lists: list[tuple[ListFacts, list[Entry]]] = []
    for chosen in CHOSEN:
        read = _read(folder, chosen.file)
        entries = list(_entries(read))
        if chosen.meaning in {"sinkhole", "parking"}:
            entries = [one for one in entries if not _within(one, rented, chosen.meaning)]
        lists.append((_facts(chosen, read), entries))
    lists.append((RESOLVERS, list(_resolvers())))
    built = build(path, lists)
    path.chmod(0o644)
    return [facts for facts, _ in lists], built


def _read(folder: Path, name: str) -> Warninglist:
    path = folder / f"{name}.json"
    packed = path.with_name(f"{name}.json.gz")
    return msgspec.json.decode(gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes(), type=Warninglist)


def _facts(chosen: Chosen, read: Warninglist) -> ListFacts:
    version = str(read.version)
    date = f"{version[:4]}-{version[4:6]}-{version[6:]}" if len(version) == _DATED else f"version {version}"
    return ListFacts(
        name=chosen.name, kind="warning", meaning=chosen.meaning, title=chosen.title, licence=_LICENCE, source=_SOURCE, date=date
    )


def _entries(read: Warninglist) -> Iterator[Entry]:
    for text in sorted(set(read.list)):
        network = parse_network(text)
        name = domains.hostname(text.removeprefix("."))
        if network is not None:
            yield _entry(network)
        elif name is not None and "." in name:  # some lists have single words of the inside of a company
            yield Entry("domain", name)


def _entry(network: Network) -> Entry:
    whole = network.prefixlen == network.max_prefixlen
    return Entry("ip", str(network.network_address)) if whole else Entry("network", str(network))


def _networks(read: Warninglist) -> list[Network]:
    return [network for text in read.list if (network := parse_network(text)) is not None]


def _within(entry: Entry, rented: Sequence[Network], what: str) -> bool:
    """Tell whether an address is one that a cloud hands to somebody else tomorrow, or that thousands of sites share today."""
    network = ip_network(entry.value)
    there = any(network.version == other.version and network.subnet_of(other) for other in rented)  # type: ignore[arg-type]
    if there:
        say(f"left out: {entry.value} ({what}) lies in a cloud or CDN")
    return there


def _resolvers() -> Iterator[Entry]:
    table = resolvers._table()  # noqa: SLF001 - nobody else needs all of it
    yield from (Entry("ip", str(address)) for address in table.addresses)
    yield from (_entry(network) for network, _ in table.networks)
    yield from (Entry("domain", name) for name in table.names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

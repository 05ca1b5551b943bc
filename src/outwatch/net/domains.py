"""Domain names as labels."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache, lru_cache

from outwatch.net.addresses import parse

_MOST = 253  # RFC 1035, 2.3.4: 255 octets on the wire are 253 characters
_REMEMBERED = 8_192
_HOSTNAME = re.compile(r"(?=.*[a-z_])([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")


def canonical(name: str) -> str | None:
    """Give a name in lower case without its final dot, or ``None`` if it can't be a domain name.

    Underscores and non-ASCII letters are left alone: names are data here, not orders to a resolver.
    """
    name = name.strip().rstrip(".").lower()
    if not name or len(name) > _MOST or ".." in name or name.startswith(".") or len(name.split(None, 1)) > 1:
        return None
    return name


def suffixes(name: str) -> Iterator[str]:
    """Yield the name itself and then each of its parents: ``a.b.c``, ``b.c``, ``c``."""
    while True:
        yield name
        dot = name.find(".")
        if dot < 0:
            return
        name = name[dot + 1 :]


def labels(name: str) -> list[str]:
    """Split a canonical name into its labels, leftmost first."""
    return name.split(".")


def hostname(name: str) -> str | None:
    """Give the canonical form of a name that a machine may have, or ``None``: letters, digits, hyphens, underscores (RFC 1123, 2.1)."""
    canon = canonical(name)
    return canon if canon is not None and _HOSTNAME.match(canon) else None


def a_labels(name: str) -> str | None:
    """Give a name as it stands on the wire: labels with letters beyond ASCII in Punycode (RFC 3492, RFC 5891), all in lower case.

    Mapped like UTS 46 without its transition: compatibility forms and other cases of a letter are one letter, ``ß`` and ``ς`` stay.
    ``None`` if it holds what no registry takes: symbols, blanks, invisible characters.
    """
    if name.isascii():
        return name.lower()
    if len(name) > _MOST:
        return None
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).lower()).replace("\u3002", ".")
    if not all(_is_letter(one) for one in mapped if one not in ".-_"):
        return None
    return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}" for label in mapped.split("."))


def _is_letter(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def is_suffix(name: str, *, private: bool = True) -> bool:
    """Tell whether a canonical name is a public suffix, such as ``com``, ``co.uk`` or ``github.io``: anybody may have a name below it.

    Without ``private`` only those of registries count, not those of companies that rent names out.
    """
    return _suffix_list(private)(name)


@cache
def _suffix_list(private: bool) -> Callable[[str], bool]:  # noqa: FBT001 - cached by it
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - 50 ms, for those who ask

    found: Callable[[str], bool] = PublicSuffixList(accept_unknown=False, only_icann=not private).is_public
    return found


def registered(name: str) -> str | None:
    """Give the part of a name that somebody registered: ``example.co.uk`` of ``www.example.co.uk``; ``None`` if there is none.

    So of a public suffix itself, an address, and what is no name. By the public-suffix list with its private section: below
    ``github.io`` everybody is somebody else. A top-level domain that the list does not have counts as a suffix.
    """
    canon = canonical(name)
    return _registered(canon) if canon is not None else None


@lru_cache(maxsize=_REMEMBERED)
def _registered(name: str) -> str | None:
    return _public_suffixes()(name) if parse(name) is None else None


@cache
def _public_suffixes() -> Callable[[str], str | None]:
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - 30 ms, for those who ask

    found: Callable[[str], str | None] = PublicSuffixList().privatesuffix
    return found

"""Bodies are unpacked within bounds: bombs, broken compression and lies about the length end in one clear reason."""

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outwatch.errors import LookupFailed
from outwatch.net.unpacking import Unpacking

MOST = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def in_two(data: bytes) -> bytes:
    return gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "an old name of gzip": ("X-GZIP", gzip.compress),
    "gzip of several parts": ("gzip", in_two),
    "zlib as deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "nothing": ("", lambda data: data),
    "identity": ("identity", lambda data: data),
}


def unpacked(data: bytes, coding: str, piece: int = 1000, most: int = MOST, ratio: float | None = None) -> bytes:
    unpacking = Unpacking(most, ratio)
    unpacking.begin({"content-encoding": coding} if coding else {})
    parts = [part for start in range(0, len(data), piece) for part in unpacking.unpacked(data[start : start + piece])]
    unpacking.end()
    return b"".join(parts)


@pytest.mark.parametrize("packer", PACKERS)
@given(data=st.binary(max_size=300) | st.binary(max_size=20).map(lambda one: one * 5000), piece=st.sampled_from([1, 7, 100_000]))
def test_what_was_packed_comes_out_again(packer: str, data: bytes, piece: int) -> None:
    coding, pack = PACKERS[packer]
    packed = pack(data)
    if piece == 1 and len(packed) > 2000:
        piece = 97
    assert unpacked(packed, coding, piece) == data


def reason(data: bytes, coding: str, **bounds: float) -> str:
    with pytest.raises(LookupFailed) as failed:
        unpacked(data, coding, **bounds)  # type: ignore[arg-type]
    return failed.value.reason


@pytest.mark.security
def test_a_bomb_is_given_up_as_soon_as_it_is_too_large() -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    unpacking = Unpacking(5 << 20)
    unpacking.begin({"content-encoding": "gzip"})
    given: list[int] = []
    with pytest.raises(LookupFailed, match="larger than 5 MB"):
        given.extend(len(part) for part in unpacking.unpacked(bomb))
    assert sum(given) <= 5 << 20


@pytest.mark.security
def test_what_grows_too_much_is_refused_although_it_is_not_too_large() -> None:
    bomb = gzip.compress(bytes(20 << 20), 9)
    assert reason(bomb, "gzip", most=1 << 30, ratio=200) == "unpacks to more than 200 times its size"
    small = gzip.compress(bytes(500_000), 9)
    assert len(unpacked(small, "gzip", most=1 << 30, ratio=200)) == 500_000, "a small text may well be monotonous"


@pytest.mark.parametrize(
    ("data", "coding"),
    [
        (b"not packed", "gzip"),
        (gzip.compress(b"x" * 10_000, mtime=0)[:-9], "gzip"),
        (gzip.compress(b"x" * 10_000, mtime=0) + b"rest", "gzip"),
        (b"\x1f", "gzip"),
        (zlib.compress(b"x" * 10_000)[:-5], "deflate"),
    ],
)
@pytest.mark.security
def test_broken_compression_is_told(data: bytes, coding: str) -> None:
    assert reason(data, coding, piece=5) == "broken compression"


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip;q=1", "\x00"])
def test_what_nobody_asked_for_can_not_be_read(coding: str) -> None:
    assert reason(b"x", coding) == "packed in an unknown way"


@pytest.mark.parametrize("length", ["1048577", "9" * 5000])
def test_a_length_that_is_too_large_is_refused_before_anything_is_read(length: str) -> None:
    with pytest.raises(LookupFailed, match="larger than 1 MB"):
        Unpacking(MOST).begin({"content-length": length})


@pytest.mark.parametrize("length", ["", "-1", "many", "1048576"])
def test_a_length_that_fits_or_says_nothing_is_passed_over(length: str) -> None:
    Unpacking(MOST).begin({"content-length": length})


def test_small_bounds_are_told_in_bytes() -> None:
    assert reason(b"x" * 101, "", most=100) == "larger than 100 bytes"

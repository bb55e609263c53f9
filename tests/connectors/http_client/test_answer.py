import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.http_client.answer import TooLargeError, decompress


def deflated(data: bytes, window: int) -> bytes:
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()


ENCODERS = [
    ("gzip", gzip.compress),
    ("GZIP", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
    ("deflate", lambda data: deflated(data, 15)),
    ("deflate", lambda data: deflated(data, -15)),
    ("identity", bytes),
    ("", bytes),
]


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS)
@given(data=st.binary(max_size=200))
def test_what_was_packed_comes_out(encoding: str, encode: object, data: bytes) -> None:
    assert callable(encode)
    assert decompress(encode(data), encoding, 200) == data


@pytest.mark.parametrize(("encoding", "encode"), ENCODERS[:4])
@given(data=st.binary(min_size=20, max_size=200), cut=st.integers(1, 15))
def test_a_part_of_it_is_never_taken_for_all(encoding: str, encode: object, data: bytes, cut: int) -> None:
    assert callable(encode)
    with pytest.raises(ValueError, match=r"complete|decoded"):
        decompress(encode(data)[:-cut], encoding, 1000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "?"])
def test_other_encodings_were_not_asked_for(encoding: str) -> None:
    with pytest.raises(ValueError, match="decoded"):
        decompress(b"x", encoding, 10)


def test_the_limit_counts_what_comes_out() -> None:
    assert decompress(gzip.compress(b"x" * 10), "gzip", 10) == b"x" * 10
    with pytest.raises(TooLargeError):
        decompress(gzip.compress(b"x" * 11), "gzip", 10)
    with pytest.raises(TooLargeError):
        decompress(gzip.compress(b"x" * 6) + gzip.compress(b"x" * 6), "gzip", 10)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(100_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decompress(bomb, "gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()

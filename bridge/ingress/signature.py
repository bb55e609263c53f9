"""The sender's signature over a request: parsing of the header, check of the age, matching of keys. Pure.

The form is the vendor's: `X-Webhook-Signature: t=<unix time>,v1=<hex>`. The digest is HMAC-SHA256 over the time as
written, a full stop and the payload. The payload is the body as sent or its JSON form (`json_form`), as the caller
chooses.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from bridge.errors import SenderError

HEADER = "X-Webhook-Signature"
"""Name of the header that carries the signature."""

# Not `int()` and `bytes.fromhex()` alone: they also take `1_700`, ` 17`, `+17`, full-width digits and inner spaces.
_TIMESTAMP = re.compile("[0-9]{10}(?:[0-9]{3})?")
_DIGEST = re.compile("[0-9a-fA-F]{64}")
_USUAL = re.compile("t=([0-9]{10}(?:[0-9]{3})?),v1=([0-9a-fA-F]{64})")
"""The usual header, parsed in one step."""
_SECONDS_DIGITS = 10
_SPACES = " \t"


class SignatureFault(StrEnum):
    """Reasons why a request is not authentic; refusals are counted by them."""

    MISSING = "missing"
    """No header, or nothing in it: perhaps no key is set at the sender, or a proxy drops the header."""
    MALFORMED = "malformed"
    """A header that is not of the form: no `t` or several different, not 10 or 13 digits, no usable `v1`."""
    STALE = "stale"
    """Signed outside of the tolerance, before or after: a replay, or a clock that is wrong."""
    MISMATCH = "mismatch"
    """A signature, but of another key or of another payload."""


class SignatureError(SenderError):
    """The request is not authentic. The message is safe to answer and to log: it holds nothing of the request."""

    def __init__(self, code: SignatureFault, message: str) -> None:
        super().__init__(message, status=401)
        self.code = code


class Signature(NamedTuple):
    """Content of a well-formed header, not verified yet."""

    timestamp: str
    """`t` as received, since these characters are signed: 10 ASCII digits (seconds) or 13 (milliseconds)."""
    digests: tuple[bytes, ...]
    """Each `v1` in 32 bytes, at least one. There are several while the sender changes its key."""

    def __repr__(self) -> str:
        """Return the time without the digests, since a repr ends up in logs."""
        return f"Signature(timestamp={self.timestamp!r})"

    @property
    def signed_at(self) -> float:
        """Return the signing time that the sender states, in seconds since the epoch."""
        return int(self.timestamp) if len(self.timestamp) == _SECONDS_DIGITS else int(self.timestamp) / 1000


def parse_header(values: Sequence[str]) -> Signature:
    """Read the signature header.

    Parts may come in any order, with spaces or tabs around them, next to parts of unknown names, and in several
    headers, which are one list then (RFC 9110, 5.3). A `v1` that is not 64 hexadecimal digits, in either case, can
    never match and is left out.

    Args:
        values: The header's values in the order received; empty where there is none.

    Raises:
        SignatureError: `MISSING` or `MALFORMED`. Nothing else, whatever the values hold.
    """
    if len(values) == 1 and (usual := _USUAL.fullmatch(values[0])):
        return Signature(usual[1], (bytes.fromhex(usual[2]),))
    times: set[str] = set()
    digests: list[bytes] = []
    for value in values:
        for part in value.split(","):
            name, _, text = part.partition("=")
            name = name.strip(_SPACES)
            if name == "t":
                times.add(text.strip(_SPACES))
            elif name == "v1" and _DIGEST.fullmatch(digest := text.strip(_SPACES)):
                digests.append(bytes.fromhex(digest))
    if len(times) == 1 and digests:
        (timestamp,) = times
        if _TIMESTAMP.fullmatch(timestamp):
            return Signature(timestamp, tuple(digests))
    raise _fault(values, times)


def check_age(signature: Signature, now: float, tolerance: float) -> None:
    """Refuse a signature made longer ago than the tolerance, or as far in the future.

    Args:
        signature: As read from the header. Only `t` decides, and it means nothing until a key has matched.
        now: Seconds since the epoch.
        tolerance: Seconds; exactly so old is still good. 0 takes a signature of any age.

    Raises:
        SignatureError: `STALE`.
    """
    if not tolerance:
        return
    age = now - signature.signed_at
    if age > tolerance:
        raise SignatureError(SignatureFault.STALE, "the signature is too old")
    if age < -tolerance:
        raise SignatureError(SignatureFault.STALE, "the signature's time lies in the future")


def matching_keys(signature: Signature, payload: bytes, keys: Iterable[bytes]) -> tuple[bytes, ...]:
    """Find every key under which one of the digests is that of the payload.

    There are several if the sender signed with several, or if two keys are equal to HMAC, which pads them with zeros.
    Digests are compared in constant time: the duration shows the number of keys and nothing else about them.
    """
    message = _signed_bytes(signature.timestamp, payload)
    found: list[bytes] = []
    for key in keys:
        keyed = _keyed(key).copy()
        keyed.update(message)
        expected = keyed.digest()
        for digest in signature.digests:
            if hmac.compare_digest(expected, digest):
                found.append(key)
                break
    return tuple(found)


def fingerprint(keys: Iterable[bytes]) -> bytes:
    """Compute 16 bytes that identify a set of keys, in any order, and do not reveal them."""
    made = hashlib.blake2b(digest_size=16, person=b"leadbridge-keys")
    for key in sorted(keys):
        made.update(hashlib.sha256(key).digest())
    return made.digest()


@lru_cache(maxsize=1_024)
def key_fingerprint(key: bytes) -> str:
    """Compute the text that identifies a key in the store, with each event that it verified.

    It does not depend on the installation's key, so an event that a spool accepted before it knew that key keeps its
    fingerprints when it is moved. A signing key has at least 16 random characters, so nobody finds it by trying.
    """
    return fingerprint((key,)).hex()


def sign(key: bytes, timestamp: str, payload: bytes) -> str:
    """Make the header's value for a payload, as the sender does.

    Args:
        key: The signing key's bytes (its text in UTF-8).
        timestamp: Text of `t`, signed and written as it is, even if `parse_header` would refuse it.
        payload: The bytes to sign.
    """
    digest = hmac.digest(key, _signed_bytes(timestamp, payload), "sha256")
    return f"t={timestamp},v1={digest.hex()}"


@lru_cache(maxsize=1_024)
def _keyed(key: bytes) -> hmac.HMAC:
    """Return an HMAC that contains the key, to be copied.

    `hmac.digest` would release the interpreter lock at each call, and to get it back from the store's writer costs more
    than the hash.
    """
    return hmac.new(key, digestmod="sha256")


def _signed_bytes(timestamp: str, payload: bytes) -> bytes:
    return b"%b.%b" % (timestamp.encode(), payload)


def _fault(values: Sequence[str], times: set[str]) -> SignatureError:
    if not any(value.strip(_SPACES) for value in values):
        return SignatureError(SignatureFault.MISSING, f"no {HEADER} header")
    if len(times) > 1:
        return SignatureError(SignatureFault.MALFORMED, f"{HEADER}: more than one t")
    if not times:
        return SignatureError(SignatureFault.MALFORMED, f"{HEADER}: no t")
    if not all(map(_TIMESTAMP.fullmatch, times)):
        return SignatureError(SignatureFault.MALFORMED, f"{HEADER}: t is not a UNIX time of 10 or 13 digits")
    return SignatureError(SignatureFault.MALFORMED, f"{HEADER}: no v1 of 64 hexadecimal digits")

"""Verification of a request, for the chatbots that it names. Pure: the keys of the configuration, no clock, no I/O.

A key speaks only for its own chatbots. Before verification, the content of a body is used for one purpose only: to
choose whose keys must match.
"""

import re
from collections.abc import Sequence
from json import JSONDecoder
from typing import Any, NamedTuple

from bridge.config.model import Chatbot, Config
from bridge.event import EVENT_TYPES, UNSIGNED, Form, Room, Verified, decode, fields_of, serial_number
from bridge.ingress import javascript_json
from bridge.ingress.signature import (
    SignatureError,
    SignatureFault,
    check_age,
    key_fingerprint,
    matching_keys,
    parse_header,
)

USUAL_TOLERANCE = 900.0
"""Maximum age of a fresh signature in seconds where the configuration accepts any age."""
EVENTS_LIMIT = 1_000
"""Maximum number of events in one body; a longer array is kept whole, as one unrecognised event."""

_BLANKS = re.compile(r"[ \t\n\r]*")
_READER = JSONDecoder(parse_int=lambda _: None, parse_float=lambda _: None)
"""Finds the end of a value; what the value is does not matter."""


class UnverifiedBody(NamedTuple):
    """A body and its unverified content."""

    body: bytes
    document: Any
    """Its JSON value; None if it is not JSON."""
    chatbots: tuple[Chatbot, ...]
    """Configured chatbots that it names, or else the addressed one; each must have the key."""
    keys: tuple[bytes, ...]
    """Keys that can verify it."""
    addressed: Chatbot | None
    """Chatbot whose own path was called."""
    is_usual: bool = False
    """True for a body that is one event of a known chatbot."""

    def __repr__(self) -> str:
        """Return the chatbots without a value of the body, since a repr ends up in logs."""
        return f"Claim(chatbots={[chatbot.name for chatbot in self.chatbots]!r})"

    @property
    def unsigned(self) -> bool:
        """Return True if the configuration accepts it without a signature."""
        if self.is_usual:
            return self.chatbots[0].insecure_skip_verify
        return bool(self.chatbots) and all(chatbot.insecure_skip_verify for chatbot in self.chatbots)

    @property
    def cost(self) -> int:
        """Return the approximate number of bytes that must be hashed to refuse it."""
        return len(self.body) * (1 + 2 * len(self.keys))


def read_claim(body: bytes, addressed: Chatbot | None, config: Config) -> UnverifiedBody:
    """Return the unverified content of a body. Never raises."""
    try:
        document = decode(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and (chatbot := config.chatbot_by_serial.get(serial_number(document) or "")):
        # The usual request: one event of a known chatbot.
        return UnverifiedBody(body, document, (chatbot,), chatbot.signing_keys, addressed, is_usual=True)
    serials = dict.fromkeys(serial_number(each) or "" for each in _documents(document))
    named = tuple(config.chatbot_by_serial[serial] for serial in serials if serial in config.chatbot_by_serial)
    if not named and addressed:
        named = (addressed,)
    return UnverifiedBody(body, document, named, _keys(named, config), addressed)


def verify(
    claim: UnverifiedBody, header: Sequence[str], now: float, config: Config, *, any_age: bool = False
) -> list[Verified]:
    """Return the body's events, each verified for the chatbot that it names.

    `header` holds the values of the signature header; `now` is in seconds since the epoch. With `any_age` the
    signature may be of any time; it must hold all the same. Raises SignatureError.
    """
    if claim.unsigned:
        return _events(claim.body, claim.document, Form.UNSIGNED, (UNSIGNED,), claim, config)
    signature = parse_header(header)
    payload, document, form = claim.body, claim.document, Form.RAW
    keys = matching_keys(signature, payload, claim.keys)
    if not keys:
        rewritten = javascript_json.json_form(claim.body)
        if rewritten is not None and rewritten != claim.body:
            payload, form = rewritten, Form.JSON
            keys = matching_keys(signature, payload, claim.keys)
            document = decode(payload) if keys else None
    if not keys:
        raise SignatureError(SignatureFault.MISMATCH, "the signature does not fit this body and this chatbot's keys")
    if not any_age:
        check_age(signature, now, _tolerance(keys, claim, config))
    verified_by = tuple(map(key_fingerprint, keys))
    if form is Form.RAW and claim.is_usual:
        return [Verified(payload, document, form, claim.chatbots[0].name, verified_by)]
    return _events(payload, document, form, verified_by, claim, config)


def room(claim: UnverifiedBody, header: Sequence[str], fault: SignatureFault, now: float) -> Room:
    """Return the part of the quarantine for a request that `verify` has refused with this fault."""
    if fault is SignatureFault.STALE:
        return Room.STALE
    if fault is not SignatureFault.MISMATCH or not any(map(_is_event, _documents(claim.document))):
        return Room.JUNK
    tolerance = max((each.signature_tolerance or USUAL_TOLERANCE for each in claim.chatbots), default=USUAL_TOLERANCE)
    try:
        check_age(parse_header(header), now, tolerance)
    except SignatureError:
        return Room.JUNK
    return Room.MISMATCH


def _is_event(document: object) -> bool:
    fields = fields_of(document)
    return fields is not None and fields["Type"] in EVENT_TYPES


def _documents(document: object) -> Sequence[Any]:
    if isinstance(document, list) and 0 < len(document) <= EVENTS_LIMIT:
        return document
    return [document]


def _keys(named: Sequence[Chatbot], config: Config) -> tuple[bytes, ...]:
    """Return the keys that all named chatbots have; without a named chatbot, all keys (no chatbot gets the event)."""
    signed = [chatbot for chatbot in named if not chatbot.insecure_skip_verify]
    if not signed:
        return tuple(config.signing_keys)
    return tuple(key for key in signed[0].signing_keys if all(key in other.signing_keys for other in signed[1:]))


def _tolerance(keys: Sequence[bytes], claim: UnverifiedBody, config: Config) -> float:
    """Return the strictest tolerance of the chatbots; 0 (any age) only if all of them have it."""
    if len(claim.chatbots) == 1:
        return claim.chatbots[0].signature_tolerance
    concerned = claim.chatbots or [chatbot for key in keys for chatbot in config.signing_keys[key]]
    return min((chatbot.signature_tolerance for chatbot in concerned if chatbot.signature_tolerance), default=0.0)


def _events(
    payload: bytes,
    document: object,
    form: Form,
    verified_by: tuple[str, ...],
    claim: UnverifiedBody,
    config: Config,
) -> list[Verified]:
    documents = _documents(document)
    if documents is not document:
        return [_verified(payload, document, form, verified_by, claim, config)]
    elements = _elements_as_received(payload)
    if len(elements) != len(documents):
        elements = [javascript_json.stringify(each) for each in documents]
    return [
        _verified(element, each, form, verified_by, claim, config)
        for element, each in zip(elements, documents, strict=True)
    ]


def _elements_as_received(payload: bytes) -> list[bytes]:
    """Return the text of each element of a JSON array, unchanged; nothing if only JavaScript's reader can read it."""
    elements = []
    try:
        text = payload.decode()
        at = _after_blanks(text, _after_blanks(text, 0) + 1)
        while text[at] != "]":
            end = _READER.raw_decode(text, at)[1]
            elements.append(text[at:end].encode())
            at = _after_blanks(text, end)
            at = _after_blanks(text, at + 1) if text[at] == "," else at
    except (ValueError, RecursionError, IndexError):
        return []
    return elements


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _verified(
    payload: bytes,
    document: object,
    form: Form,
    verified_by: tuple[str, ...],
    claim: UnverifiedBody,
    config: Config,
) -> Verified:
    named = config.chatbot_by_serial.get(serial_number(document) or "")
    if named and named.insecure_skip_verify and UNSIGNED not in verified_by:
        # Beside events of other chatbots, in an array that is signed: no key of its own has verified it.
        verified_by = (*verified_by, UNSIGNED)
    if named is None and claim.addressed and claim.addressed.admits(verified_by):
        # The path is not signed: it gives an event to a chatbot only where that chatbot's key has verified it.
        named = claim.addressed
    return Verified(payload, document, form, named.name if named else None, verified_by)

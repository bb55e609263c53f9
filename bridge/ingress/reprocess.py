"""Reprocessing of unrecognised events and quarantined requests with the configuration in use.

Both take the steps of a new request from where it ended (routing, or verification and routing), with the time of
their first receipt.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from bridge.config.model import Chatbot, Config
from bridge.errors import ConflictError
from bridge.event import EventState, Form, Verified, decode, serial_number
from bridge.identity import Identity
from bridge.ingress.routing import route, why_unrecognised
from bridge.ingress.signature import SignatureError, SignatureFault
from bridge.ingress.verification import read_claim, verify
from bridge.store import commands
from bridge.store.filter import EVERYTHING, Scope
from bridge.store.installation import adopt
from bridge.store.interface import QuarantinedRequest, RoutedEvent
from bridge.store.queries import EventRow


def route_again(
    connection: Connection, event: EventRow, payload: bytes, config: Config, scope: Scope = EVERYTHING
) -> str:
    """Route an unrecognised event again; return a line about the result.

    Its signature was verified on receipt and is not verified again, but it becomes the event of a chatbot only if that
    chatbot has a key that verified it. A recognised event becomes another row, under the id of a recognised event, so
    that the same event, sent once more, is a duplicate of it. If the sender has done so already, the two become one.
    Raises ConflictError if it is not recognised, or if it is of a chatbot outside the scope.
    """
    try:
        document = decode(payload)
    except ValueError:
        document = None
    chatbot = config.chatbot_by_serial.get(serial_number(document) or "") or config.chatbots.get(event.chatbot or "")
    if chatbot and not chatbot.admits(event.verified_by):
        raise ConflictError(f"event {event.id}: stays unrecognised: {_why_not_admitted(event, chatbot)}")
    verified = Verified(payload, document, Form(event.form), chatbot.name if chatbot else None, event.verified_by)
    routed = route(verified, chatbot, event.received_at, adopt(connection, config.store.identity_key))
    if routed.event.state is EventState.UNRECOGNISED:
        raise ConflictError(f"event {event.id}: stays unrecognised: {why_unrecognised(document, chatbot)}")
    _check_chatbots(f"event {event.id}", [routed], scope)
    new = commands.replace_unrecognised(connection, event.seq, routed)
    return f"event {event.id}: {_result(routed, is_new=new)}"


def _why_not_admitted(event: EventRow, chatbot: Chatbot) -> str:
    if event.form is Form.UNSIGNED:
        return (
            f"it came without a signature that was looked at, and chatbot {chatbot.name} verifies signatures. If it is "
            "a lead, have AI Agent send it again"
        )
    return (
        f"chatbot {chatbot.name} has none of the signing keys that verified it. If {chatbot.name} is signed with one "
        f"of these keys, put that key into its signing_keys and replay the event again"
    )


def release_request(
    connection: Connection,
    request: int,
    quarantined: QuarantinedRequest,
    config: Config,
    *,
    any_age: bool = False,
    scope: Scope = EVERYTHING,
) -> str | None:
    """Verify a refused request again, as of its receipt, and accept its events; return a line about the result.

    With `any_age` its signature may be older or newer than the tolerance; a key must match all the same. Return None
    if it is not there any more. Raises ConflictError if its signature still does not hold, or if one of its events is
    of a chatbot outside the scope.
    """
    identity = adopt(connection, config.store.identity_key)
    routed = _verified(request, quarantined, config, identity, any_age=any_age)
    _check_chatbots(f"request {request}", routed, scope)
    news = commands.release(connection, request, routed)
    if news is None:
        return None
    results = [_result(each, is_new=new) for each, new in zip(routed, news, strict=True)]
    return f"request {request}: " + "; ".join(results)


def check_chatbots_of(request: int, quarantined: QuarantinedRequest, config: Config, scope: Scope) -> None:
    """Raise ConflictError if a refused request names a chatbot outside the scope."""
    named = read_claim(quarantined.body, config.chatbots.get(quarantined.chatbot), config).chatbots
    _check_names(f"request {request}", [each.name for each in named], scope)


def _verified(
    request: int, quarantined: QuarantinedRequest, config: Config, identity: Identity, *, any_age: bool
) -> list[RoutedEvent]:
    now = quarantined.received_at
    claim = read_claim(quarantined.body, config.chatbots.get(quarantined.chatbot), config)
    try:
        verified = verify(claim, [quarantined.signature], now, config, any_age=any_age)
    except SignatureError as error:
        correct = f"correct the signing_keys of chatbot {quarantined.chatbot} and release it again"
        if error.code is SignatureFault.STALE:
            correct = "release it with --any-age: its key matches. First make sure that a clock was wrong"
        raise ConflictError(f"request {request}: stays in quarantine: {error}. If it is a lead, {correct}") from error
    return [route(each, config.chatbots.get(each.chatbot or ""), now, identity) for each in verified]


def _check_chatbots(what: str, routed: Sequence[RoutedEvent], scope: Scope) -> None:
    if not scope.is_whole:
        _check_names(what, [each.event.chatbot for each in routed], scope)


def _check_names(what: str, names: Sequence[str | None], scope: Scope) -> None:
    if not all(map(scope.sees, names)):
        raise ConflictError(f"{what}: is also about other chatbots: ask a user of all chatbots to do this")


def acceptance(routed: RoutedEvent) -> str:
    """Return the part of a line that says where an accepted event goes."""
    event = routed.event
    if event.state is not EventState.ACCEPTED:
        return f"accepted as event {event.id}, which is {event.state.value}"
    where = ", ".join(each.destination for each in routed.deliveries) or "no destination: no route takes it"
    return f"accepted as event {event.id}, for {where}"


def _result(routed: RoutedEvent, *, is_new: bool) -> str:
    return acceptance(routed) if is_new else f"is there already as event {routed.event.id}"

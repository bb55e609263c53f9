"""Results of Apprise to outcomes. Pure."""

from collections.abc import Sequence

from connectors.base import Blame, Delivered, Outcome, Reason, Retry
from connectors.notify.requests import sent_memo


def kind(address: str) -> str:
    """Return the kind of an address, such as `mailtos`, which holds no secret."""
    return address.partition("://")[0]


def notify_outcome(sent: frozenset[str], failed: Sequence[str], last: str | None) -> Outcome:
    """Return the outcome of a message.

    Apprise does not say why a service refused a message, so a failure may be anybody's. The memo keeps a retry from
    sending it again to those who have it.

    Args:
        sent: Marks of the addresses that have the message.
        failed: Kinds of the addresses that do not have it.
        last: Text of an error that Apprise raised.
    """
    if not failed:
        return Delivered(memo=sent_memo(sent))
    which = ", ".join(sorted(set(failed)))
    why = f"Apprise raised {last}" if last else "the service did not take it"
    detail = f"{which}: {why}; check that the address in `to` is right and valid"
    return Retry(Reason.SERVER_ERROR, detail, Blame.UNCLEAR, memo=sent_memo(sent))

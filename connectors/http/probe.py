"""What the answer to a HEAD says of a destination: is it there, and does it take the credentials? Pure.

Only HEAD is sent, which is for asking and never for writing (RFC 9110 section 9.2.1). OPTIONS would be as safe, but
is mostly answered by something that does not look at credentials. To tell whether they were looked at, the same HEAD
goes without them too: where that one is refused and the other is not, they are good, whatever else the answer is.
(Few addresses that leads are posted to know HEAD: 404 and 405 are as good an answer as 200.)

Where the address is made of the lead, there is none to ask; and where leads are written with GET, a HEAD might be taken
for one. Then it is the root of the server that is asked, without credentials, and only whether it is there is learnt.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from yarl import URL

from connectors.base import Finding, Reason, Severity
from connectors.http.headers import is_sensitive
from connectors.http.settings import HttpSettings
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets
from connectors.http_client.status_table import meaning, shorten

_REFUSALS = frozenset({Reason.UNAUTHORIZED, Reason.FORBIDDEN})
_LOOKED_AT = _REFUSALS | {Reason.REDIRECT}  # to a page for logging in
_PASSING = frozenset({Reason.SERVER_ERROR, Reason.RATE_LIMITED, Reason.TIMEOUT, Reason.UNREACHABLE})
_UNKNOWN_METHOD = 501
_REACH = "correct url, or let this machine reach it (name, firewall, certificate)"
_ADVICE: Mapping[tuple[str | int, ...], str] = MappingProxyType(
    {
        ("url",): _REACH,
        ("tls", "ca"): "name a file that can be read",
        ("tls", "certificate"): "name a certificate, with its key, that the destination knows",
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a destination."""

    url: URL
    whole: bool
    """Whether it is the address that leads go to, asked with the credentials; else it is the server's root."""
    credentials: tuple[str, ...] | None
    """The setting that the credentials are in; None where there are none."""


def credentials_in(settings: HttpSettings) -> tuple[str, ...] | None:
    """Give the setting that a destination's credentials are in, None where it has none."""
    if settings.auth is not None:
        return ("auth",)
    if settings.sign is not None:
        return ("sign",)
    if any(map(is_sensitive, settings.headers)):
        return ("headers",)
    return ("url",) if any(map(is_sensitive, URL(settings.url).query)) else None


def no_token(failed: Failure) -> Finding:
    """Say why there is no access token; secrets have been taken out of the reason by who asked for it."""
    outcome = failed.outcome
    if outcome.reason in _REFUSALS:
        what = f"{outcome.detail}; correct client_id, client_secret, scope or audience"
        return Finding(Severity.ERROR, what, setting=("auth", "oauth2"))
    severity = Severity.WARNING if outcome.reason in _PASSING and outcome.status else Severity.ERROR
    return Finding(severity, outcome.detail, setting=failed.setting or ("auth", "oauth2", "token_url"))


def unreached(failed: Failure) -> Finding:
    """Say why there was no answer."""
    detail, setting = failed.outcome.detail, failed.setting or ("url",)
    advice = "" if ";" in detail else f"; {_ADVICE.get(setting, _REACH)}"
    return Finding(Severity.ERROR, detail + advice, setting=setting)


def trouble(asked: Asked, answer: Answer, secrets: Secrets) -> Finding | None:
    """Say what is wrong, if something is."""
    row = meaning(answer.status)
    what = f"it answered {answer.status}: {row.why}"
    if asked.whole and row.reason in _REFUSALS:
        return Finding(Severity.ERROR, f"{what}; {_credentials_advice(asked)}", setting=asked.credentials or ("auth",))
    if asked.whole and row.reason is Reason.REDIRECT:
        what = f"it answered {answer.status}: it points to {_target(asked, answer)}"
        told = shorten(secrets.mask(f"{what}; redirects are not followed, so correct url"))
        return Finding(Severity.ERROR, told, setting=("url",))
    if asked.whole and row.reason is Reason.GONE:
        return Finding(Severity.ERROR, f"{what}; correct url", setting=("url",))
    if row.reason in _PASSING and answer.status != _UNKNOWN_METHOD:
        return Finding(Severity.WARNING, f"{what}; ask again later", setting=("url",))
    return None


def well(asked: Asked, answer: Answer, without: Answer | Failure | None, *, token: bool) -> Finding:
    """Say what is known where nothing is wrong.

    Args:
        asked: What was asked.
        answer: What came back.
        without: What came back without the credentials, where that was asked too.
        token: Whether an access token was given for them.
    """
    if not asked.whole:
        given = ", an access token was given" if token else ""
        known = "not asked for, because that could write or needs a lead"
        return Finding(Severity.NOTE, f"reachable{given}; the address of the leads itself was {known}")
    if asked.credentials is None:
        return Finding(Severity.NOTE, "reachable; no credentials are set")
    if token or (isinstance(without, Answer) and meaning(without.status).reason in _LOOKED_AT):
        return Finding(Severity.NOTE, "reachable, credentials accepted")
    same = f"a HEAD is answered {answer.status} without credentials too"
    return Finding(Severity.NOTE, f"reachable; whether the credentials are good cannot be told, for {same}")


def _credentials_advice(asked: Asked) -> str:
    if asked.credentials is None:
        return "it wants some, so set auth"
    return f"correct those in {asked.credentials[0]}, or give them the rights"


def _target(asked: Asked, answer: Answer) -> str:
    """Name where a redirect leads: the server only, for the rest of an address can hold secrets."""
    try:
        target = asked.url.join(URL(answer.headers["Location"])).origin()
    except (KeyError, ValueError):
        return "another address"
    return f"another path of {target}" if target == asked.url.origin() else str(target)

"""Findings from the answer to a HEAD: is the destination there, and does it accept the credentials? Pure.

Only HEAD is sent, because it never writes (RFC 9110 section 9.2.1). OPTIONS would be as safe, but servers usually
answer it without checking credentials. The same HEAD is sent without credentials too: if only that one is refused, the
credentials are good, whatever else the answer is. Few addresses that accept leads support HEAD, so 404 and 405 are as
good an answer as 200.

If the address depends on the lead, there is no fixed address to probe. If leads are written with GET, a HEAD might be
taken for one. In both cases the root of the server is probed without credentials, which shows only whether it is
reachable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from yarl import URL

from connectors.base import Finding, Reason, Severity
from connectors.http.settings import HttpSettings
from connectors.http_client.answer import Answer, Failure
from connectors.http_client.masking import Secrets, is_sensitive
from connectors.http_client.status_table import shorten, status_meaning

_REFUSALS = frozenset({Reason.UNAUTHORIZED, Reason.FORBIDDEN})
_CHECKED = _REFUSALS | {Reason.REDIRECT}  # to a login page
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
class ProbeTarget:
    """The address that a probe asks."""

    url: URL
    is_leads_address: bool
    """True for the address that receives leads, probed with the credentials; False for the root of the server."""
    credentials: tuple[str, ...] | None
    """Setting that holds the credentials; None if there are none."""


def credentials_in(settings: HttpSettings) -> tuple[str, ...] | None:
    """Return the setting that holds the destination's credentials, None if it has none."""
    if settings.auth is not None:
        return ("auth",)
    if settings.sign is not None:
        return ("sign",)
    if any(map(is_sensitive, settings.headers)):
        return ("headers",)
    return ("url",) if any(map(is_sensitive, URL(settings.url).query)) else None


def token_finding(failed: Failure) -> Finding:
    """Return the finding for a missing access token; its reason holds no secrets."""
    outcome = failed.outcome
    if outcome.reason in _REFUSALS:
        what = f"{outcome.detail}; correct the credentials, scope or audience"
        return Finding(Severity.ERROR, what, setting=("auth", "oauth2"))
    severity = Severity.WARNING if outcome.reason in _PASSING and outcome.status else Severity.ERROR
    return Finding(severity, outcome.detail, setting=failed.setting or ("auth", "oauth2", "token_url"))


def unreachable_finding(failed: Failure) -> Finding:
    """Return the finding for a call without an answer."""
    detail, setting = failed.outcome.detail, failed.setting or ("url",)
    advice = "" if ";" in detail else f"; {_ADVICE.get(setting, _REACH)}"
    return Finding(Severity.ERROR, detail + advice, setting=setting)


def problem_finding(target: ProbeTarget, answer: Answer, secrets: Secrets) -> Finding | None:
    """Return the problem shown by an answer, or None."""
    row = status_meaning(answer.status)
    what = f"it answered {answer.status}: {row.why}"
    if target.is_leads_address and row.reason in _REFUSALS:
        return Finding(
            Severity.ERROR, f"{what}; {_credentials_advice(target)}", setting=target.credentials or ("auth",)
        )
    if target.is_leads_address and row.reason is Reason.REDIRECT:
        what = f"it answered {answer.status}: it points to {_target(target, answer)}"
        message = shorten(secrets.mask(f"{what}; redirects are not followed, so correct url"))
        return Finding(Severity.ERROR, message, setting=("url",))
    if target.is_leads_address and row.reason is Reason.GONE:
        return Finding(Severity.ERROR, f"{what}; correct url", setting=("url",))
    if row.reason in _PASSING and answer.status != _UNKNOWN_METHOD:
        return Finding(Severity.WARNING, f"{what}; ask again later", setting=("url",))
    return None


def success_finding(target: ProbeTarget, answer: Answer, without: Answer | Failure | None, *, token: bool) -> Finding:
    """Return the finding for an answer without a problem.

    Args:
        target: The address that was probed.
        answer: Its answer.
        without: Answer to the same request without the credentials, if it was sent.
        token: True if the credentials were accepted for an access token.
    """
    if not target.is_leads_address:
        access = ", an access token was issued" if token else ""
        limit = "the address that receives leads was not probed, because that could write or needs a lead"
        return Finding(Severity.NOTE, f"reachable{access}; {limit}")
    if target.credentials is None:
        return Finding(Severity.NOTE, "reachable; no credentials are set")
    if token or (isinstance(without, Answer) and status_meaning(without.status).reason in _CHECKED):
        return Finding(Severity.NOTE, "reachable, credentials accepted")
    same = f"a HEAD is answered {answer.status} without credentials too"
    return Finding(Severity.NOTE, f"reachable; the credentials could not be checked, because {same}")


def _credentials_advice(target: ProbeTarget) -> str:
    if target.credentials is None:
        return "it requires credentials, so set auth"
    return f"correct those in {target.credentials[0]}, or give them the rights"


def _target(target: ProbeTarget, answer: Answer) -> str:
    """Return the server that a redirect leads to. The rest of the address can hold secrets."""
    try:
        server = target.url.join(URL(answer.headers["Location"])).origin()
    except (KeyError, ValueError):
        return "another address"
    return f"another path of {server}" if server == target.url.origin() else str(server)

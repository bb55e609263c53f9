"""The words of a report that is sent: as plain text, and as HTML for mail. Pure.

Both are made of the same short paragraphs and lists, which read well on a phone and in a mail program without HTML.
They contain names of the configuration, numbers and fixed sentences, and nothing of a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from bridge.alerts.targets import Message
from bridge.operations.figures import change, lasting, percent, plural
from bridge.operations.problems import Problem, ProblemKind
from bridge.operations.report import Report, ReportLine, ReportSpan

PROBLEMS_LIMIT: Final = 30
"""Most problems that a message names."""
_UNCOUNTED: Final = {ProblemKind.SILENT, ProblemKind.CONFIGURATION}


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of a message."""

    heading: str
    paragraphs: Sequence[str] = ()
    items: Sequence[str] = ()


def report_message(name: str, report: Report) -> Message:
    """Return the message of a report; `name` stands in its title."""
    title = f"Leads of {name}: {span_text(report.span)}"
    sections = _sections(report)
    text = "\n\n".join(_plain(each) for each in sections)
    return Message(title, text, "".join(_html(each) for each in sections))


def span_text(span: ReportSpan) -> str:
    """Write the days of a report: `23 Nov to 29 Nov 2026`."""
    first, last = span.first_date, span.last_date
    year = "" if first.year == last.year else f" {first.year}"
    return f"{first:%d %b}{year} to {last:%d %b %Y}" if span.days > 1 else f"{last:%d %b %Y}"


def _sections(report: Report) -> Sequence[_Section]:
    found = [_Section(f"Leads, {span_text(report.span)} (UTC)", _summary(report.whole, report.span))]
    if len(report.chatbots) > 1:
        found.append(_Section("By chatbot", items=[_line(each) for each in report.chatbots]))
    named = [_problem(each) for each in report.problems[:PROBLEMS_LIMIT]]
    if more := len(report.problems) - len(named):
        named.append(f"{more} more: see the dashboard.")
    found.append(_Section("Problems now", () if named else ("Nothing needs a person.",), named))
    return found


def _summary(line: ReportLine, span: ReportSpan) -> Sequence[str]:
    numbers, before = line.numbers, line.before
    compared = change(numbers.received, before.received)
    than = f", {compared} compared with the {span.days} days before" if compared else ""
    lines = [f"{plural(numbers.received, 'lead', 'leads')}{than}."]
    if numbers.delivered:
        lines.append(
            f"{plural(numbers.delivered, 'delivery', 'deliveries')} arrived, {percent(numbers.share)} of all. "
            f"Half of them took at most {lasting(numbers.quantile(0.5))}, 95 of 100 at most "
            f"{lasting(numbers.quantile(0.95))}."
        )
    missing = f"{numbers.dead:,} not delivered" if numbers.dead else "none was given up"
    lines.append(f"{numbers.waiting:,} waiting, {missing}.")
    return lines


def _line(line: ReportLine) -> str:
    numbers = line.numbers
    compared = change(numbers.received, line.before.received)
    parts = [plural(numbers.received, "lead", "leads") + (f" ({compared})" if compared else "")]
    if numbers.delivered:
        parts.append(f"{numbers.delivered:,} delivered, typical time {lasting(numbers.quantile(0.5))}")
    parts += [f"{numbers.waiting:,} waiting"] if numbers.waiting else []
    parts += [f"{numbers.dead:,} not delivered"] if numbers.dead else []
    return f"{line.chatbot}: {', '.join(parts)}"


def _problem(problem: Problem) -> str:
    count = "" if problem.kind in _UNCOUNTED or not problem.count else f" ({problem.count:,})"
    return f"{problem.title}{count}. {problem.why}"


def _plain(section: _Section) -> str:
    return "\n".join([section.heading, *section.paragraphs, *(f"- {each}" for each in section.items)])


def _html(section: _Section) -> str:
    paragraphs = "".join(f"<p>{escape(each)}</p>" for each in section.paragraphs)
    items = "".join(f"<li>{escape(each)}</li>" for each in section.items)
    return f"<h2>{escape(section.heading)}</h2>{paragraphs}" + (f"<ul>{items}</ul>" if items else "")

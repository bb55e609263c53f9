"""Charts as SVG. Pure.

Each has its content in its label, for screen readers. Colours come from the style sheet by class, for light and dark.
"""

from collections.abc import Sequence
from datetime import date
from html import escape
from typing import Final

from markupsafe import Markup

from bridge.operations.tally import TallyTotals

_WIDTH: Final = 720
_HEIGHT: Final = 140
_TOP: Final = 16
_BASE: Final = 100
"""Height of the highest bar."""
_STATES: Final = ("delivered", "pending", "dead")
_WEEK: Final = 7
_NAMES: Final = ("delivered", "waiting", "not delivered")
BANDS: Final = ("under 5 s", "under 1 min", "under 1 h", "later")
"""Names of the bands of speed; see `bridge.store.tally.SPEED_BANDS`."""


def hours(counts: Sequence[int], first_hour: int) -> Markup:
    """Draw a bar for each hour; `first_hour` is the hour of the day of the first one."""
    top = max([*counts, 1])
    step = _WIDTH / max(len(counts), 1)
    # The number at the top of the scale, so that the height of a bar means something.
    drawn = [f'<text x="2" y="12">{top}</text><path class="scale" d="M0 16H{_WIDTH}M0 {_TOP + _BASE}H{_WIDTH}"/>']
    for at, count in enumerate(counts):
        height = round(_BASE * count / top, 1)
        hour = (first_hour + at) % 24
        x = round(at * step, 1)
        drawn.append(
            f'<rect class="bar" x="{x + 2}" y="{_TOP + _BASE - height}" width="{step - 4:.1f}" height="{height}">'
            f"<title>{hour:02}:00: {count}</title></rect>"
        )
        if hour % 6 == 0:
            drawn.append(f'<text x="{x + 2}" y="{_HEIGHT - 4}">{hour:02}:00</text>')
    title = f"Leads by hour: {sum(counts)} in {len(counts)} hours, {max(counts, default=0)} in the busiest one"
    return _picture(f"0 0 {_WIDTH} {_HEIGHT}", "hours", title, "".join(drawn))


def days(history: Sequence[tuple[date, TallyTotals]]) -> Markup:
    """Draw a stacked bar for each day: delivered, waiting and not delivered deliveries."""
    parts = [(day, (each.delivered, each.waiting, each.dead)) for day, each in history]
    top = max([*(sum(counts) for _, counts in parts), 1])
    step = _WIDTH / max(len(parts), 1)
    drawn = [f'<text x="2" y="12">{top}</text><path class="scale" d="M0 16H{_WIDTH}M0 {_TOP + _BASE}H{_WIDTH}"/>']
    for at, (day, counts) in enumerate(parts):
        x, y = round(at * step + 2, 1), float(_TOP + _BASE)
        bars = []
        for state, count in zip(_STATES, counts, strict=True):
            height = _BASE * count / top
            y -= height
            if count:
                bars.append(f'<rect class="{state}" x="{x}" y="{y:.1f}" width="{step - 4:.1f}" height="{height:.1f}"/>')
        said = ", ".join(f"{count} {name}" for name, count in zip(_NAMES, counts, strict=True))
        drawn.append(f"<g><title>{day:%d %b}: {said}</title>{''.join(bars)}</g>")
        if (len(parts) - 1 - at) % _WEEK == 0:
            end = at == len(parts) - 1
            place = f'x="{_WIDTH - 2}" text-anchor="end"' if end else f'x="{x}"'
            drawn.append(f'<text {place} y="{_HEIGHT - 4}">{day:%d %b}</text>')
    sums = [sum(counts) for counts in zip(*(counts for _, counts in parts), strict=True)]
    title = f"Deliveries of {len(parts)} days: " + ", ".join(
        f"{count} {name}" for name, count in zip(_NAMES, sums, strict=True)
    )
    return _picture(f"0 0 {_WIDTH} {_HEIGHT}", "hours", title, "".join(drawn))


def bands(counts: Sequence[int]) -> Markup:
    """Draw the deliveries under 5 s, 1 min and 1 h, and the later ones, as shares of one bar."""
    total = sum(counts)
    known = [(at, count) for at, count in enumerate(counts) if count]
    drawn, x = [], 0.0
    for at, count in known:
        # A band with few deliveries is visible too.
        width = max(4.0, _WIDTH * count / total)
        drawn.append(
            f'<rect class="band{at}" x="{x:.1f}" y="0" width="{width:.1f}" height="16">'
            f"<title>{BANDS[at]}: {count}</title></rect>"
        )
        x += width
    title = "Deliveries: " + (", ".join(f"{count} {BANDS[at]}" for at, count in known) or "none yet")
    return _picture(f"0 0 {max(x, 1.0):.1f} 16", "share", title, "".join(drawn))


def trend(counts: Sequence[int]) -> Markup:
    """Draw a small line of the leads of some days, today last."""
    top, last = max([*counts, 1]), max(len(counts) - 1, 1)
    places = [(100 * at / last, 19 - 18 * count / top) for at, count in enumerate(counts)]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    title = f"{sum(counts)} leads in {len(counts)} days, at most {max(counts, default=0)} on one of them"
    return _picture("-2 -1 104 22", "trend", title, f'<polyline points="{line}"/>')


def meter(name: str, remaining: int, limit: int) -> Markup:
    """Draw the remaining part of a quota."""
    part = min(max(remaining / limit, 0.0), 1.0) if limit > 0 else 0.0
    low = " low" if part < 0.1 else ""  # noqa: PLR2004 - the last tenth is worth a look
    drawn = (
        '<rect class="track" x="0" y="0" width="100" height="8" rx="4"/>'
        f'<rect class="left{low}" x="0" y="0" width="{100 * part:.1f}" height="8" rx="4"/>'
    )
    return _picture("0 0 100 8", "meter", f"{name}: {remaining} of {limit} left", drawn)


def _picture(box: str, kind: str, title: str, drawn: str) -> Markup:
    label = escape(title)
    stretch = ' preserveAspectRatio="none"' if kind in {"share", "trend"} else ""
    # A row's small line has no tip: a list of many rows stays below 40 KB.
    tip = "" if kind == "trend" else f"<title>{label}</title>"
    return Markup(  # noqa: S704 - made of numbers and escaped texts
        f'<svg class="{kind}" viewBox="{box}" role="img" aria-label="{label}"{stretch}>{tip}{drawn}</svg>'
    )

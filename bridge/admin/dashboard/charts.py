"""Charts as SVG. Pure.

Each has its content in its title, for screen readers. Colours come from the style sheet by class, for light and dark.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from markupsafe import Markup

_WIDTH: Final = 720
_HEIGHT: Final = 140
_TOP: Final = 16
_BASE: Final = 100
"""Height of the highest bar."""
_STATES: Final = ("delivered", "pending", "dead", "discarded")


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


def share(states: Mapping[str, int]) -> Markup:
    """Draw the states of deliveries as shares of one bar."""
    total = sum(states.values())
    known = [(state, states[state]) for state in _STATES if states.get(state)]
    drawn, x = [], 0.0
    for state, count in known:
        # A state with few deliveries is visible too.
        width = max(4.0, _WIDTH * count / total)
        drawn.append(
            f'<rect class="{state}" x="{x:.1f}" y="0" width="{width:.1f}" height="16">'
            f"<title>{state}: {count}</title></rect>"
        )
        x += width
    title = "Deliveries: " + (", ".join(f"{count} {state}" for state, count in known) or "none yet")
    return _picture(f"0 0 {max(x, 1.0):.1f} 16", "share", title, "".join(drawn))


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
    stretch = ' preserveAspectRatio="none"' if kind == "share" else ""
    return Markup(  # noqa: S704 - made of numbers and of what is escaped
        f'<svg class="{kind}" viewBox="{box}" role="img" aria-label="{label}"{stretch}><title>{label}</title>'
        f"{drawn}</svg>"
    )

"""The picture of the flow as SVG: chatbots on the left, their routes in the middle, destinations on the right. Pure.

The picture is for the eye: a table beside it says the same to screen readers and on the keyboard. Its size is fixed, so
that its words stay readable; a narrow window scrolls it.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import log2
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from bridge.operations.overview import Flow, FlowCounts, FlowNode, FlowRoute

_WIDTH: Final = 1100
_ROW: Final = 26
_BOX: Final = 20
"""Height of a box."""
_LEFT: Final = (0, 230)
_MIDDLE: Final = (330, 590)
_RIGHT: Final = (700, 1100)
"""Left and right end of the boxes of chatbots, routes and destinations."""
_MARGIN: Final = 8
_LETTER: Final = 7
"""Room for a letter. A name that is longer than its box is cut; the title of the box has all of it."""
_LEAST_LETTERS: Final = 8
_THICKEST: Final = 7.0


def flow_chart(flow: Flow) -> Markup:
    """Draw the flow."""
    rows: dict[str, list[int]] = {each.name: [] for each in flow.chatbots}
    for at, route in enumerate(flow.routes):
        rows[route.chatbot].append(at)
    height = _ROW * max(len(flow.routes) + sum(not own for own in rows.values()), len(flow.destinations), 1)
    starts = dict(_starts(flow.chatbots, rows))
    ends = dict(_spread(flow.destinations, height))
    middles = {(each.chatbot, each.destination): starts_at for each, starts_at in _middles(flow, rows)}
    lines: list[str] = []
    for each in flow.routes:
        middle = middles[each.chatbot, each.destination]
        lines.append(_line(each, (_LEFT[1], starts[each.chatbot]), (_MIDDLE[0], middle)))
        if each.destination in ends:
            lines.append(_line(each, (_MIDDLE[1], middle), (_RIGHT[0], ends[each.destination])))
    boxes = [
        *(_chatbot(each, starts[each.name]) for each in flow.chatbots),
        *(_route(each, middles[each.chatbot, each.destination]) for each in flow.routes),
        *(_destination(each, ends[each.name]) for each in flow.destinations),
    ]
    return Markup(  # noqa: S704 - made of numbers and escaped texts
        f'<svg class="flow" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" aria-hidden="true">'
        f"{''.join(lines)}{''.join(boxes)}</svg>"
    )


def counts_text(counts: FlowCounts) -> str:
    """Write the numbers in a few words: `12 today, 3 waiting`."""
    parts = [f"{counts.today:,} today"] if counts.today or not (counts.waiting or counts.dead) else []
    parts += [f"{counts.waiting:,} waiting"] if counts.waiting else []
    parts += [f"{counts.dead:,} not delivered"] if counts.dead else []
    return ", ".join(parts)


def _lots(flow: Flow, rows: dict[str, list[int]]) -> Iterator[tuple[FlowNode, int, int]]:
    """Return each chatbot with its first row of the picture and the number of its rows: at least one."""
    top = 0
    for each in flow.chatbots:
        count = max(1, len(rows[each.name]))
        yield each, top, count
        top += count


def _starts(chatbots: Sequence[FlowNode], rows: dict[str, list[int]]) -> Iterator[tuple[str, float]]:
    """Return the height of each chatbot: the middle of its rows."""
    for each, top, count in _lots(Flow(chatbots, (), ()), rows):
        yield each.name, _ROW * (top + count / 2)


def _middles(flow: Flow, rows: dict[str, list[int]]) -> Iterator[tuple[FlowRoute, float]]:
    """Return the height of each route: a row of its own."""
    for each, top, _ in _lots(flow, rows):
        for at, index in enumerate(rows[each.name]):
            yield flow.routes[index], _ROW * (top + at + 0.5)


def _spread(nodes: Iterable[FlowNode], height: int) -> Iterator[tuple[str, float]]:
    """Return the height of each destination: evenly from top to bottom."""
    found = [*nodes]
    for at, each in enumerate(found):
        yield each.name, height * (at + 0.5) / len(found)


def _line(route: FlowRoute, start: tuple[int, float], end: tuple[int, float]) -> str:
    """Draw a line of a route, the thicker the more it carried today."""
    (x, y), (to_x, to_y) = start, end
    half = (x + to_x) / 2
    width = min(_THICKEST, 1.5 + log2(1 + route.counts.today))
    path = f"M{x} {y:.1f}C{half:g} {y:.1f} {half:g} {to_y:.1f} {to_x} {to_y:.1f}"
    return f'<path class="{route.counts.state}" d="{path}" stroke-width="{width:.1f}"/>'


def _chatbot(node: FlowNode, middle: float) -> str:
    # What waits and what was not delivered stands at its routes.
    said = node.remark or f"{node.counts.today:,} today"
    return _box(node.state, _LEFT, middle, node.name, said, f"/chatbots/{quote(node.name, safe='')}")


def _destination(node: FlowNode, middle: float) -> str:
    said = ", ".join(filter(None, (node.remark, counts_text(node.counts))))
    return _box(node.state, _RIGHT, middle, node.name, said, f"/destinations/{quote(node.name, safe='')}")


def _route(route: FlowRoute, middle: float) -> str:
    names = ", ".join(route.names) or "no route any more"
    address = f"/leads?chatbot={quote(route.chatbot, safe='')}&destination={quote(route.destination, safe='')}"
    title = f"{route.chatbot} to {route.destination} ({names}): {counts_text(route.counts)}"
    return _box(route.counts.state, _MIDDLE, middle, "", counts_text(route.counts), address, title)


def _box(
    state: str, columns: tuple[int, int], middle: float, name: str, said: str, address: str, title: str = ""
) -> str:
    """Draw a box with a name on the left and numbers on the right, or with numbers alone."""
    left, right = columns
    base = middle + 4
    room = (right - left - 2 * _MARGIN) // _LETTER - len(said)
    short = name if len(name) <= room else f"{name[: max(_LEAST_LETTERS, room) - 1]}…"
    words = f'<text x="{left + _MARGIN}" y="{base:.1f}">{escape(short if name else said)}</text>'
    if name:
        words += f'<text class="said" x="{right - _MARGIN}" y="{base:.1f}" text-anchor="end">{escape(said)}</text>'
    return (
        f'<a href="{escape(address)}" tabindex="-1"><title>{escape(title or f"{name}: {said}")}</title>'
        f'<rect class="{state}" x="{left}" y="{middle - _BOX / 2:.1f}" width="{right - left}" height="{_BOX}" rx="4"/>'
        f"{words}</a>"
    )

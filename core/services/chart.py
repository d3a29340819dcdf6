"""Draws a timeline as an SVG picture, for people who would rather look than read numbers.

The picture stands alone: no script, no font, nothing fetched. Its colours are attributes, so that
it is whole where style sheets are ignored; the only style sheet turns it dark for those who ask
their system for that, and `style-src 'unsafe-inline'` is all that it needs of a content policy.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo

from msgspec import Struct

from core.domain.periods import Interval
from core.services.chart_words import (
    GAP,
    LABEL_SIZE,
    abbreviated,
    clean,
    description,
    fitted,
    labels,
    moment,
    scans,
    span,
    text_width,
)
from core.services.statistics import Point, Timeline

NARROWEST, WIDEST = 300, 1200
"""The widths, in pixels, for which the picture is made."""

TOOLTIPS = 100
"""How many points may have a tooltip each; more would be most of the picture's bytes."""

COLUMN = 4
"""The pixels that a point needs for a column of its own; with fewer, points become an area."""

BIN = 2
"""The pixels that share their highest and their lowest point where points are closer than that."""

TITLE = 200
"""How many characters of a title are kept at most."""

EMPTY = "No scans in this window"

# Of each part of the picture: the attribute that colours it, its colour in the light and the dark.
# NOTE: text has a contrast of 4.5 to the paper at least, and graphics 3, as WCAG 2.2 (1.4.3 and
# 1.4.11) has it; uniques have 3 to the scans around them too. Only the grid is fainter: its labels
# say all that it says.
PALETTE = {
    "paper": ("fill", "#ffffff", "#16181d"),
    "ink": ("fill", "#18181b", "#f4f4f5"),
    "muted": ("fill", "#52525b", "#b4b4bd"),
    "scans": ("fill", "#7e97e6", "#b9c9ff"),
    "unique": ("fill", "#24357f", "#4a69c8"),
    "before": ("stroke", "#a3360b", "#ff9d6b"),
    "halo": ("stroke", "#ffffff", "#16181d"),
    "axis": ("stroke", "#85858f", "#787882"),
    "grid": ("stroke", "#e4e4e7", "#30333b"),
}

_DARK = "".join(f".qz-{name}{{{kind}:{dark}}}" for name, (kind, _, dark) in PALETTE.items())

_EDGE = 12
_WIDEST_COLUMN = 40
_ROUNDING = 2


class _Plot(Struct, frozen=True):
    """The rectangle in which the columns stand, in pixels, and the count that its top means."""

    left: int
    top: int
    width: int
    height: int
    points: int
    ceiling: int

    @property
    def base(self) -> int:
        return self.top + self.height

    @property
    def slot(self) -> float:
        """The room that a point has."""
        return self.width / max(self.points, 1)

    def center(self, index: int) -> float:
        return self.left + self.width * (2 * index + 1) / (2 * self.points)

    def rise(self, count: int) -> float:
        """How far a count rises above the base; one that is not zero can always be seen."""
        # NOTE: both operands are whole, so counts beyond the range of a float do no harm.
        return max(self.height * count / self.ceiling, 1) if count else 0


def draw(timeline: Timeline, title: str, width: int) -> str:
    """The chart as the text of an SVG file of this width: the same bytes for the same timeline."""
    zone = ZoneInfo(timeline.timezone)
    starts = [point.start.astimezone(zone) for point in timeline.points]
    title = clean(title)[:TITLE].strip() or "Scans"
    before = [point.scans for point in timeline.previous.points] if timeline.previous else []
    before = before[: len(starts)]
    head, header = _header(timeline, title, span(starts, timeline.interval), width)
    height = min(max(width * 32 // 100, 140), 300)
    ticks = _ticks(max([0, *(point.scans for point in timeline.points), *before]), height)
    marks = [abbreviated(tick) for tick in ticks]
    left = _EDGE + 6 + round(max((text_width(mark, LABEL_SIZE) for mark in marks), default=-6))
    ceiling = ticks[-1] if ticks else 1
    plot = _Plot(left, head, width - _EDGE - left, height, len(starts), ceiling)
    told = description(timeline, starts)
    # Several charts may stand in one page, so the names in them must differ.
    name = f"qz-{zlib.crc32(repr((title, told, width)).encode()):08x}"
    return "".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
                f'height="{plot.base + 30}" viewBox="0 0 {width} {plot.base + 30}" role="img" '
                f'aria-labelledby="{name}-title {name}-desc" font-family="system-ui, sans-serif" '
                f'font-size="12"><title id="{name}-title">{escape(title, quote=False)}</title>'
                f'<desc id="{name}-desc">{escape(told, quote=False)}</desc>'
                f"<style>@media (prefers-color-scheme:dark){{{_DARK}}}</style>"
                f'<rect {_color("paper")} width="100%" height="100%"/>'
            ),
            header,
            _grid(plot, ticks, marks),
            _counts(plot, timeline.points),
            (
                f'<path {_color("axis")} shape-rendering="crispEdges" '
                f'd="M{plot.left} {plot.base}h{plot.width}"/>'
            ),
            _before(plot, before),
            "" if timeline.total else _message(plot),
            _calendar(plot, starts, timeline.interval, width),
            _tooltips(plot, starts, timeline, before) if len(starts) <= TOOLTIPS else "",
            "</svg>",
        ]
    )


# What stands above the columns.


def _header(timeline: Timeline, title: str, window: str, width: int) -> tuple[int, str]:
    """Title, window and legend, and the height at which the plot may begin."""
    room = width - 2 * _EDGE
    window = f"{window} · {timeline.timezone}"
    y = 27
    shown = fitted(title, room, 15, bold=True)
    parts = [f'<text {_color("ink")} x="{_EDGE}" y="{y}" font-size="15" font-weight="600">']
    parts.append(f"{escape(shown, quote=False)}</text>")
    aside = text_width(shown, 15, bold=True) + 2 * GAP + text_width(window, 12) <= room
    x, anchor = (width - _EDGE, ' text-anchor="end"') if aside else (_EDGE, "")
    y += 0 if aside else 19
    parts.append(f'<text {_color("muted")} x="{x}" y="{y}"{anchor}>')
    parts.append(f"{escape(fitted(window, room, 12), quote=False)}</text>")
    y += 22
    left = _EDGE
    for name, number, word in _legend(timeline):
        key = 22 if name == "before" else 16
        wide = key + round(text_width(number, 12, bold=True) + text_width(f" {word}", 12))
        if left > _EDGE and left + wide > width - _EDGE:
            left, y = _EDGE, y + 19
        if name == "before":
            parts.append(f'<path {_color(name)} {_DASHES} d="M{left} {y - 4}h17"/>')
        else:
            parts.append(
                f'<rect {_color(name)} x="{left}" y="{y - 9}" width="10" height="10" rx="2"/>'
            )
        parts.append(
            f'<text {_color("muted")} x="{left + key}" y="{y}"><tspan {_color("ink")} '
            f'font-weight="600">{number}</tspan> {word}</text>'
        )
        left += wide + 2 * GAP
    return y + 20, "".join(parts)


_DASHES = 'fill="none" stroke-width="1.5" stroke-dasharray="4 2.5"'


def _legend(timeline: Timeline) -> Iterator[tuple[str, str, str]]:
    yield "scans", f"{timeline.total:,}", "scan" if timeline.total == 1 else "scans"
    yield "unique", f"{timeline.unique:,}", "unique"
    if timeline.previous is not None:
        yield "before", f"{timeline.previous.total:,}", "before"


# The plot.


def _ticks(peak: int, height: int) -> list[int]:
    """Round counts from zero to at least the peak, in steps of 1, 2 or 5 times a power of ten."""
    if not peak:
        return []
    steps = min(max(height // 36, 1), 5)
    unit = 1
    while True:
        for factor in (1, 2, 5):
            step = factor * unit
            if step * steps >= peak:
                return list(range(0, peak + step, step))
        unit *= 10


def _grid(plot: _Plot, ticks: list[int], marks: list[str]) -> str:
    if not ticks:
        return ""
    heights = [_number(plot.base - plot.height * tick / plot.ceiling) for tick in ticks]
    lines = "".join(f"M{plot.left} {y}h{plot.width}" for y in heights[1:])
    texts = "".join(
        f'<text x="{plot.left - 6}" y="{y}" dy="3.5">{mark}</text>'
        for y, mark in zip(heights, marks, strict=True)
    )
    return (
        f'<path {_color("grid")} shape-rendering="crispEdges" d="{lines}"/>'
        f'<g {_color("muted")} font-size="11" text-anchor="end">{texts}</g>'
    )


def _counts(plot: _Plot, points: Sequence[Point]) -> str:
    """Scans, and the uniques in front of them: as columns, or else as areas."""
    if not any(point.scans or point.unique for point in points):
        return ""
    if plot.slot >= COLUMN:
        scans, unique = _columns(plot, points)
    else:
        # The vertices of both are those of the scans: uniques never rise above them in between.
        shown = _telling([point.scans for point in points], plot)
        scans = _area(plot, [(n, points[n].scans) for n in shown])
        unique = _area(plot, [(n, points[n].unique) for n in shown])
    drawn = (("scans", scans), ("unique", unique))
    return "".join(f'<path {_color(name)} d="{path}"/>' for name, path in drawn if path)


def _columns(plot: _Plot, points: Sequence[Point]) -> tuple[str, str]:
    """All columns as one path, and the uniques as another one; zeros have nothing in either."""
    # Whole pixels look sharp, and all columns equally wide.
    width = min(max(int(plot.slot * 0.75), 3), _WIDEST_COLUMN)
    radius = _ROUNDING if width >= 3 * _ROUNDING else 0
    scans, unique = [], []
    for index, point in enumerate(points):
        x = round(plot.center(index) - width / 2)
        tall, part = plot.rise(point.scans), plot.rise(point.unique)
        scans.append(_column(x, plot.base, width, tall, radius))
        # Its corners must not stick out of the rounded ones behind them.
        unique.append(_column(x, plot.base, width, part, radius if part > tall - radius else 0))
    return "".join(scans), "".join(unique)


def _column(x: int, base: int, width: int, height: float, radius: int) -> str:
    if not height:
        return ""
    y = base - height
    if not radius or height <= radius:
        return f"M{x} {base}V{_number(y)}h{width}V{base}z"
    r = radius
    side, flat = _number(y + r), width - 2 * r
    return f"M{x} {base}V{side}q0-{r} {r}-{r}h{flat}q{r} 0 {r} {r}V{base}z"


def _area(plot: _Plot, counts: list[tuple[int, int]]) -> str:
    """What is between the base and the line through the counts."""
    if not any(count for _, count in counts):
        return ""
    first, last = counts[0][0], counts[-1][0]
    line = _line(plot, counts)
    return (
        f"M{_number(plot.center(first), 1)} {plot.base}L{line}"
        f"L{_number(plot.center(last), 1)} {plot.base}z"
    )


def _line(plot: _Plot, counts: Iterable[tuple[int, int]]) -> str:
    return " ".join(
        f"{_number(plot.center(n), 1)} {_number(plot.base - plot.rise(count), 1)}"
        for n, count in counts
    )


def _telling(counts: Sequence[int], plot: _Plot) -> list[int]:
    """Which points to draw: all, or the highest and lowest of those that share a few pixels."""
    count, bins = len(counts), plot.width // BIN
    if count <= 2 * bins:
        return list(range(count))
    chosen = {0, count - 1}
    for n in range(bins):
        some = range(n * count // bins, (n + 1) * count // bins)
        chosen |= {min(some, key=counts.__getitem__), max(some, key=counts.__getitem__)}
    return sorted(chosen)


def _before(plot: _Plot, before: list[int]) -> str:
    """The compared span as a dashed line, which a halo keeps apart from the columns behind it."""
    if not before:
        return ""
    if len(before) == 1:
        # One point makes no line, but the width of a column does.
        y = _number(plot.base - plot.rise(before[0]))
        reach = min(plot.slot / 2, _WIDEST_COLUMN)
        path = f"M{_number(plot.center(0) - reach)} {y}h{_number(2 * reach)}"
    else:
        # PERF: the shape of the line depends on its own points alone, so they are chosen anew.
        path = "M" + _line(plot, ((n, before[n]) for n in _telling(before, plot)))
    return (
        f'<path {_color("halo")} fill="none" stroke-width="3.5" stroke-opacity=".75" '
        f'stroke-linejoin="round" d="{path}"/>'
        f'<path {_color("before")} {_DASHES} stroke-linejoin="round" d="{path}"/>'
    )


def _message(plot: _Plot) -> str:
    """That there is nothing to see, on a piece of paper that hides what is behind it."""
    x, y = plot.left + plot.width // 2, plot.top + plot.height // 2
    width = round(text_width(EMPTY, 13)) + 2 * GAP
    return (
        f'<rect {_color("paper")} x="{x - width // 2}" y="{y - 14}" width="{width}" height="28"/>'
        f'<text {_color("muted")} x="{x}" y="{y}" dy="4.5" font-size="13" text-anchor="middle">'
        f"{EMPTY}</text>"
    )


def _tooltips(plot: _Plot, starts: list[datetime], timeline: Timeline, before: list[int]) -> str:
    """What each point counts, for whoever points at its slot, above its column too."""
    parts = []
    for n, (start, point) in enumerate(zip(starts, timeline.points, strict=True)):
        text = f"{moment(start, timeline.interval)}: {scans(point.scans)}, {point.unique:,} unique"
        text += f", {before[n]:,} before" if n < len(before) else ""
        x = _number(plot.left + plot.slot * n, 1)
        parts.append(
            f'<rect x="{x}" y="{plot.top}" width="{_number(plot.slot, 1)}" '
            f'height="{plot.height}"><title>{text}</title></rect>'
        )
    return f'<g fill="none" pointer-events="all">{"".join(parts)}</g>' if parts else ""


def _calendar(plot: _Plot, starts: list[datetime], interval: Interval, width: int) -> str:
    """As many labels as there is room for, at hours, days or months that go by round numbers."""
    centers = [plot.center(index) for index in range(len(starts))]
    texts = "".join(
        f'<text x="{_number(x, 1)}" y="{plot.base + 18}">{text}</text>'
        for x, text in labels(starts, centers, interval, width)
    )
    group = f'<g {_color("muted")} font-size="{LABEL_SIZE}" text-anchor="middle">'
    return f"{group}{texts}</g>" if texts else ""


def _color(name: str) -> str:
    """The attributes that colour a part of the picture, and let the dark style sheet find it."""
    kind, light, _ = PALETTE[name]
    return f'class="qz-{name}" {kind}="{light}"'


def _number(value: float, digits: int = 2) -> str:
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text

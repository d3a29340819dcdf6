"""The words of a chart: its labels, as many as there is room for, its window and its sentence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from core.domain.periods import Interval
from core.services.statistics import Timeline

LABEL_SIZE = 11
"""The font size of labels, in pixels."""

GAP = 8
"""The pixels between two texts, at least."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# From these on, every label is that of a month, and each of these counts divides or joins years.
_MONTH_STRIDES = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200)

_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))

# What XML 1.0 (2.2) cannot hold in any way.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide a text is in pixels, rather too wide: nobody knows which font will be there.

    The widths are those of DejaVu Sans, which is wider than what most systems have.
    """
    ems = sum(map(_ems, text))
    return ems * size * (1.15 if bold else 1.0)


def _ems(character: str) -> float:
    if character.isdigit() and character.isascii():
        return 0.64
    if character in " .,:;'|!ijlI":
        return 0.36
    if character in "mMW@%–…—":
        return 1.0
    if character.isascii():
        return 0.84 if character.isupper() or not character.isalpha() or character == "w" else 0.64
    if character == "·":
        return 0.36
    return 0.0 if unicodedata.combining(character) else 1.1


def fitted(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """The text, or as much of its beginning as there is room for, and an ellipsis."""
    if text_width(text, size, bold=bold) <= room:
        return text
    while text and text_width(f"{text}…", size, bold=bold) > room:
        text = text[:-1]
    # A joiner would have to join with the ellipsis.
    return text.rstrip(" \u200d") + "…"


def abbreviated(count: int) -> str:
    """A round count as short as it can be told exactly: `1,500`, `20k`, `1.2M`."""
    for unit, letter in _UNITS:
        if count >= max(unit, 10_000):
            whole, rest = divmod(count, unit)
            digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
            return f"{whole:,}{'.' if digits else ''}{digits}{letter}"
    return f"{count:,}"


def labels(
    starts: list[datetime], centers: Sequence[float], interval: Interval, width: int
) -> list[tuple[float, str]]:
    """The labels and their middles: of the choices that do not overlap, the one with the most."""

    def place(chosen: Iterable[tuple[int, str]]) -> list[tuple[float, str]]:
        placed = []
        for index, text in chosen:
            # Half of an outer label may have no room beside the plot.
            half = text_width(text, LABEL_SIZE) / 2
            x = min(max(centers[index], half + 2), width - half - 2)
            placed.append((x, text))
        return placed

    for chosen in _choices(starts, interval):
        if len(chosen) >= min(2, len(starts)) and len(chosen) * 20 <= width:
            placed = place(chosen)
            if _apart(placed):
                return placed
    ends = [
        (n, _short(starts[n], interval)) for n in sorted({0, len(starts) - 1} if starts else ())
    ]
    return place(ends) if _apart(place(ends)) else place(ends[:1])


def _apart(placed: list[tuple[float, str]]) -> bool:
    return all(
        after - x >= (text_width(text, LABEL_SIZE) + text_width(following, LABEL_SIZE)) / 2 + GAP
        for (x, text), (after, following) in pairwise(placed)
    )


def _choices(starts: list[datetime], interval: Interval) -> Iterator[list[tuple[int, str]]]:
    """Which points could have labels, and which ones: ever fewer of them."""
    if interval is Interval.HOUR:
        hours = _beginnings(starts, lambda t: (t.date(), t.hour))
        for stride in (1, 2, 3, 4, 6, 12):
            some = [n for n in hours if starts[n].hour % stride == 0]
            yield [(n, _short(starts[n], Interval.HOUR)) for n in some]
    if interval in (Interval.HOUR, Interval.DAY):
        days = _beginnings(starts, datetime.date)
        if interval is Interval.HOUR and starts and starts[0].hour:
            days = days[1:]
        for stride in (1, 2, 3, 4, 5):
            # Counted from the end: today has a label.
            yield _dated(starts, days[::-1][::stride][::-1])
        mondays = [n for n in days if starts[n].weekday() == 0]
        for stride in (1, 2):
            yield _dated(starts, mondays[::-1][::stride][::-1])
    if interval is Interval.WEEK:
        for stride in (1, 2, 4):
            yield _dated(starts, list(range(len(starts)))[::-1][::stride][::-1])
    months = _beginnings(starts, lambda t: (t.year, t.month))
    # A window that begins in the middle of a month has not seen it begin.
    latest = {Interval.WEEK: 7, Interval.MONTH: 31}.get(interval, 1)
    if starts and (starts[0].day > latest or (interval is Interval.HOUR and starts[0].hour)):
        months = months[1:]
    for stride in _MONTH_STRIDES:
        some = [n for n in months if (starts[n].year * 12 + starts[n].month - 1) % stride == 0]
        yield [(n, _short(starts[n], Interval.MONTH)) for n in some]


def _dated(starts: list[datetime], chosen: list[int]) -> list[tuple[int, str]]:
    return [(n, _short(starts[n], Interval.DAY)) for n in chosen]


def _beginnings(starts: list[datetime], key: Callable[[datetime], object]) -> list[int]:
    """The points at which something else begins than the one before them has."""
    keys = [key(start) for start in starts]
    return [n for n, k in enumerate(keys) if n == 0 or k != keys[n - 1]]


def _short(start: datetime, interval: Interval) -> str:
    """The label below a point; midnight is told by the day that it begins, January by its year."""
    month = _MONTHS[start.month - 1]
    if interval is Interval.MONTH:
        return f"{month} {start.year}" if start.month == 1 else month
    if interval is Interval.HOUR and start.hour:
        return f"{start:%H:%M}"
    return f"{start.day} {month}"


def moment(start: datetime, interval: Interval) -> str:
    """A point by its full name."""
    month = f"{_MONTHS[start.month - 1]} {start.year}"
    if interval is Interval.MONTH:
        return month
    if interval is Interval.HOUR:
        return f"{start.day} {month}, {start:%H:%M}"
    return f"{'week of ' if interval is Interval.WEEK else ''}{start.day} {month}"


def span(starts: list[datetime], interval: Interval) -> str:
    """The window in words: for days, weeks and months the first and the last of them."""
    if not starts:
        return ""
    first, last = starts[0], starts[-1]
    if interval is Interval.HOUR:
        # Hours are told by the clock, so the last one ends where the window does.
        end = (last.astimezone(UTC) + timedelta(hours=1)).astimezone(last.tzinfo)
        year = "" if first.year == end.year else f" {first.year}"
        begin = f"{first.day} {_MONTHS[first.month - 1]}{year}, {first:%H:%M}"
        return f"{begin} – {moment(end, Interval.HOUR)}"
    month = _MONTHS[first.month - 1]
    if interval is Interval.MONTH:
        begin = month
    elif first.month == last.month and first.year == last.year:
        begin = f"{first.day}"
    else:
        begin = f"{first.day} {month}"
    begin += "" if first.year == last.year else f" {first.year}"
    end_name = moment(last, Interval.MONTH if interval is Interval.MONTH else Interval.DAY)
    weeks = "weeks of " if interval is Interval.WEEK else ""
    if len(starts) == 1:
        return moment(first, interval)
    return f"{weeks}{begin} – {end_name}"


def description(timeline: Timeline, starts: list[datetime]) -> str:
    """The picture in one sentence: the total, the window and the peak."""
    window = (
        f"by {timeline.interval.value}, {span(starts, timeline.interval)} ({timeline.timezone})"
    )
    sentence = f"No scans, {window}"
    if timeline.total:
        peak = max(range(len(starts)), key=lambda n: timeline.points[n].scans)
        most = f"{timeline.points[peak].scans:,} ({moment(starts[peak], timeline.interval)})"
        total = f"{scans(timeline.total)}, {timeline.unique:,} of them unique"
        sentence = f"{total}, {window}; at most {most}"
    if timeline.previous is not None:
        sentence += f"; {timeline.previous.total:,} in the span before"
    return f"{sentence}."


def scans(count: int) -> str:
    """A number of scans."""
    return f"{count:,} scan{'' if count == 1 else 's'}"


def clean(text: str) -> str:
    """The text on one line, in characters that XML can hold."""
    return " ".join(_UNWRITABLE.sub("\ufffd", text).split())

"""The chart of a timeline: what is in the picture, whatever is drawn."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from resvg_py import svg_to_bytes

from core.domain.periods import Interval, Window
from core.services.chart import COLUMN, NARROWEST, TOOLTIPS, WIDEST, draw
from core.services.chart_words import text_width
from core.services.statistics import Point, Previous, Timeline

SVG = "{http://www.w3.org/2000/svg}"
FIRST = date(2026, 2, 20)


def timeline(
    counts: list[int],
    interval: Interval = Interval.DAY,
    zone: str = "Europe/Berlin",
    before: list[int] | None = None,
) -> Timeline:
    """A timeline with these scans, half of them unique."""
    steps = {Interval.HOUR: 1 / 24, Interval.DAY: 1, Interval.WEEK: 7, Interval.MONTH: 31}
    days = int(len(counts) * steps[interval]) + 32
    first = FIRST.replace(day=1) if interval is Interval.MONTH else FIRST
    window = Window.days(first, first + timedelta(days=days), ZoneInfo(zone), interval)
    starts = window.starts()[: len(counts)]
    points = tuple(Point(s, n, n // 2) for s, n in zip(starts, counts, strict=True))
    previous = None
    if before is not None:
        earlier = tuple(Point(s, n, 0) for s, n in zip(starts, before, strict=False))
        previous = Previous(starts[0], starts[-1], sum(before), 0, None, earlier)
    return Timeline(
        code=None,
        period="30d",
        interval=interval,
        timezone=zone,
        start=starts[0],
        end=starts[-1] + timedelta(days=1),
        total=sum(counts),
        unique=sum(n // 2 for n in counts),
        points=points,
        previous=previous,
        updated_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


def drawn(chart: Timeline, title: str = "Poster", width: int = 640) -> ET.Element:
    return ET.fromstring(draw(chart, title, width))


def texts(picture: ET.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def test_a_chart_tells_its_total_peak_and_window_to_who_cannot_see_it() -> None:
    picture = drawn(timeline([3, 0, 12], before=[1, 2, 3]), "Poster")

    assert picture.get("role") == "img"
    assert picture.findtext(f"{SVG}title") == "Poster"
    assert picture.findtext(f"{SVG}desc") == (
        "15 scans, 7 of them unique, by day, 20 – 22 Feb 2026 (Europe/Berlin); "
        "at most 12 (22 Feb 2026); 6 in the span before."
    )
    labelled = str(picture.get("aria-labelledby")).split()
    assert labelled == [e.get("id") for e in picture if e.tag in (f"{SVG}title", f"{SVG}desc")]


def test_each_point_has_a_tooltip_while_there_are_few() -> None:
    few, many = drawn(timeline([5] * TOOLTIPS)), drawn(timeline([5] * (TOOLTIPS + 1)))

    told = [title.text for title in few.iter(f"{SVG}title")][1:]
    assert told[0] == "20 Feb 2026: 5 scans, 2 unique"
    assert len(told) == TOOLTIPS
    assert len(list(many.iter(f"{SVG}title"))) == 1


def test_titles_are_harmless_whatever_they_are() -> None:
    title = '</title><script>alert("1")</script>\x00\ud800&amp; ' + "x" * 5000

    picture = drawn(timeline([1, 2]), title)

    assert not list(picture.iter(f"{SVG}script"))
    shown = str(picture.findtext(f"{SVG}title"))
    assert shown.startswith('</title><script>alert("1")</script>\ufffd\ufffd&amp; xxx')
    assert len(shown) == 200


def test_no_scans_are_told_in_words() -> None:
    assert "No scans in this window" in texts(drawn(timeline([0] * 30)))
    assert "No scans in this window" not in texts(drawn(timeline([0] * 29 + [1])))


def test_the_same_timeline_gives_the_same_bytes() -> None:
    assert draw(timeline([1, 2, 3]), "a", 640) == draw(timeline([1, 2, 3]), "a", 640)


@pytest.mark.parametrize(
    ("peak", "marks"),
    [
        (1, ["0", "1"]),
        (7, ["0", "2", "4", "6", "8"]),
        (23, ["0", "5", "10", "15", "20", "25"]),
        (99_000, ["0", "20k", "40k", "60k", "80k", "100k"]),
        (1_200_000, ["0", "500k", "1M", "1.5M"]),
    ],
)
def test_the_axis_goes_by_round_whole_numbers(peak: int, marks: list[str]) -> None:
    found = texts(drawn(timeline([0, peak])))

    assert [text for text in found if re.fullmatch(r"[\d.,]+[kM]?", text)] == marks


def test_hours_are_told_by_the_clock_of_the_zone() -> None:
    found = texts(drawn(timeline([1] * 24, Interval.HOUR, "Asia/Kathmandu")))

    assert "20 Feb" in found
    assert "12:00" in found


@given(
    counts=st.lists(st.integers(0, 10**7) | st.just(0), min_size=1, max_size=400),
    interval=st.sampled_from(Interval),
    compared=st.booleans(),
    width=st.integers(NARROWEST, WIDEST),
    title=st.text(max_size=80),
)
def test_every_chart_is_well_formed_and_its_labels_have_room(
    counts: list[int], interval: Interval, compared: bool, width: int, title: str
) -> None:
    chart = timeline(counts, interval, before=counts[::-1] if compared else None)

    picture = drawn(chart, title, width)

    height = float(str(picture.get("height")))
    assert float(str(picture.get("width"))) == width
    rows: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for group in picture.iter(f"{SVG}g"):
        if group.get("text-anchor") != "middle":
            continue
        for text in group.iter(f"{SVG}text"):
            x, wide = float(str(text.get("x"))), text_width(str(text.text), 11)
            rows.setdefault((text.get("y"),), []).append((x - wide / 2, x + wide / 2))
    for row in rows.values():
        assert all(left >= 0 and right <= width for left, right in row)
        assert all(one[1] < other[0] for one, other in pairwise(row))
    for path in picture.iter(f"{SVG}path"):
        # Corners are told relative to where they begin.
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", str(path.get("d")))]
        assert all(-3 <= n <= max(width, height) + 1 for n in numbers)


def test_many_points_stay_a_small_picture_that_shows_the_peak() -> None:
    counts = [n * 7919 % 100 for n in range(5000)]
    counts[1234] = 900

    text = draw(timeline(counts, Interval.HOUR), "Poster", WIDEST)

    assert len(text) < 60_000
    top = min(float(y) for y in re.findall(r"L?[\d.]+ ([\d.]+)", text.split('class="qz-scans"')[2]))
    plain = draw(timeline([900] * 2, Interval.HOUR), "Poster", WIDEST)
    assert "1,000" in text
    assert "1,000" in plain
    assert top < 100
    assert WIDEST / len(counts) < COLUMN


def test_pictures_can_be_drawn_by_others() -> None:
    chart = replace(timeline([3, 8, 1], before=[1, 1, 9]), timezone="UTC")

    assert svg_to_bytes(svg_string=draw(chart, "Poster", NARROWEST)).startswith(b"\x89PNG")

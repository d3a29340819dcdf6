"""The benchmark of drawing: codes nobody has asked for before, against what others draw with.

Everything runs in this one process, by turns, so that all suffer alike from whatever else the
machine does: each round draws a few new links with each contestant. A row shows the median and the
95th percentile in milliseconds and, against each of the others, how many times faster the median
is. What a row has to reach stands in `loadtests/targets.toml`; the exit code is 1 where one misses
it. Run it from the root of the repository:

    .venv/bin/python -m loadtests.drawing
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import chain, count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import segno

from core.app import create_app
from core.domain.accounts import OrganizationDraft
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft, random_slug
from core.domain.images import ImageOptions
from core.domain.looks import PLAIN, FinderShape, ModuleShape, changed
from core.domain.sheets import SheetOptions, sheet_of
from core.services import Services
from core.settings import parse
from loadtests import targets
from loadtests.targets import Bound
from plugins.caches.memory import MemoryCache

Draw = Callable[[str], bytes]

ENCODERS = ("segno", "zxing")
_HOST = "HTTPS://QR.EXAMPLE.COM/R/"
OTHERS = {"segno": "segno.make().save()", "qrcode": "qrcode + Pillow", "qrencode": "libqrencode"}
"""Whom we measure ourselves against, by the head of the column."""

SIZES = (100, 300, 1000, 2000)
ETAGS = 2000

# Looks are drawn and read; both with all that there is in shapes.
LOOK = ImageOptions(color="#0a3d62", shape=ModuleShape.DOT, finder_shape=FinderShape.CIRCLE)
LOOK_SIZES = (300, 2000)
STYLED_CODES = 1000

# So many images of 300 pixels are kept by the cache.
CACHED = 10_000

# How often one draws before the next one's turn: few, so that all suffer alike, and more than one,
# so that nobody is judged by what his predecessor left in the processor's caches.
IN_A_ROW = 5

# The largest archive that the settings allow by themselves, and how often it is made.
ARCHIVE_CODES = 10_000
ARCHIVES = 3


class Row(msgspec.Struct, frozen=True):
    """One measured contestant: its times in milliseconds, in the order of the rounds.

    `bytes` is the length of the longest image, or what one costs in the cache, `mb` by how much the
    memory in use grew at most.
    """

    name: str
    times: Sequence[float]
    bytes: int | None = None
    mb: float | None = None

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        """The time within which 95 of 100 are drawn."""
        return statistics.quantiles(self.times, n=20, method="inclusive")[-1]


def link(number: int) -> str:
    """The short link of a code, with a slug as they are drawn; another one for each number."""
    return _HOST + random_slug(random.Random(number).randbytes(8))


def services(encoder: str, data: str = "var") -> Services:
    """Quietzone's services with nothing open: drawing needs no database."""
    address = "https://qr.example.com"
    settings = {
        "service": {"data": data, "base_url": address},
        "images": {"encoder": encoder},
        # The one of which Python can tell what it takes.
        "cache": {"backend": "memory"},
    }
    return create_app(parse(settings, {})).services


def quietzone(of: Services, image_format: str, size: int) -> Draw:
    """Quietzone's own drawing, its check of the options and the entity tag included."""
    options = ImageOptions(format=image_format, size=size)

    def draw(content: str) -> bytes:
        plan = of.images.plan(content, options)
        assert plan.entity_tag
        return of.images.draw(plan)

    return draw


def styled(of: Services, size: int) -> Draw:
    """A PNG of a look that was never asked for: its proof is a part of it."""
    options = msgspec.structs.replace(LOOK, size=size)
    look = changed(PLAIN, options)

    def draw(content: str) -> bytes:
        return of.images.picture(of.images.plan(content, options, look)).data

    return draw


def with_segno(kind: str, size: int) -> Draw:
    """What a script does: `segno.make().save()`, at the scale that comes nearest to the size."""

    def draw(content: str) -> bytes:
        code = segno.make(content, error="m", micro=False)
        file = io.BytesIO()
        code.save(file, kind=kind, border=4, scale=size // code.symbol_size(border=4)[0])
        return file.getvalue()

    return draw


def with_qrcode(size: int) -> Draw:
    """The package qrcode with Pillow, at the scale that comes nearest to the size."""
    import qrcode
    from qrcode.constants import ERROR_CORRECT_M

    def draw(content: str) -> bytes:
        code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=4)
        code.add_data(content)
        code.make(fit=True)
        code.box_size = size // (code.modules_count + 8)
        file = io.BytesIO()
        code.make_image().save(file)
        return file.getvalue()

    return draw


def with_libqrencode(program: str, kind: str, size: int) -> Draw:
    """The command of libqrencode; a process for each symbol, as scripts start it."""

    def draw(content: str) -> bytes:
        scale = size // (segno_size + 8)
        command = [program, "-o", "-", "-t", kind.upper(), "-l", "M", "-m", "4", "-s", str(scale)]
        return subprocess.run([*command, content], check=True, capture_output=True).stdout

    segno_size = segno.make(link(0), error="m", micro=False).symbol_size(border=0)[0]
    return draw


def contestants() -> Iterator[tuple[str, Draw]]:
    """Who takes part, by the name of the row: `WHO FORMAT SIZE`."""
    for size in SIZES:
        for kind in ("png", "svg"):
            yield f"segno.make().save() {kind} {size}", with_segno(kind, size)
        if find_spec("qrcode"):
            yield f"qrcode + Pillow png {size}", with_qrcode(size)
        program = shutil.which("qrencode")
        if program:
            for kind in ("png", "svg"):
                yield f"libqrencode {kind} {size}", with_libqrencode(program, kind, size)
    for encoder in ENCODERS:
        own = services(encoder)
        for kind in ("png", "svg"):
            for size in SIZES:
                yield f"{encoder} {kind} {size}", quietzone(own, kind, size)
        for size in LOOK_SIZES:
            yield f"{encoder} look {size}", styled(own, size)


def run(rounds: int, progress: Callable[[int], None]) -> dict[str, Row]:
    """Every contestant in every round, each time with a link of its own."""
    entrants = list(contestants())
    times: dict[str, list[float]] = {name: [] for name, _ in entrants}
    longest = dict.fromkeys(times, 0)
    # Each time another link, so that nobody meets a symbol that somebody has left in a cache.
    links = map(link, count())
    for number in range(rounds + 2):
        for name, draw in entrants:
            for content in islice(links, IN_A_ROW):
                began = time.perf_counter()
                image = draw(content)
                if number >= 2:  # The first rounds import and fill tables.
                    times[name].append((time.perf_counter() - began) * 1000)
                longest[name] = max(longest[name], len(image))
        progress(number)
    return {name: Row(name, took, longest[name]) for name, took in times.items()}


def entity_tag() -> Row:
    """The entity tag alone, as it is worked out before anything is drawn."""
    images = services("segno").images
    options = ImageOptions()
    times = []
    for number in range(ETAGS):
        content = link(number)
        began = time.perf_counter()
        tag = images.plan(content, options).entity_tag
        times.append((time.perf_counter() - began) * 1000)
        assert tag
    return Row("entity tag", times)


def cached() -> Iterator[Row]:
    """What the cache says that an image costs in memory, and what Python says; each is a mean."""
    own = services("zxing")
    draw, cache = quietzone(own, "png", 300), own.cache
    assert isinstance(cache, MemoryCache)
    images = [draw(link(number)) for number in range(CACHED)]
    times = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number, image in enumerate(images):
            key = f"image:{number:032x}"
            began = time.perf_counter()
            cache.set(key, image, 3600)
            times.append((time.perf_counter() - began) * 1000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    yield Row("cached png 300, as accounted", times, round(cache.size / CACHED))
    # The times are in that row: lists grow as well.
    traced = after - before - sys.getsizeof(times) - CACHED * sys.getsizeof(0.0)
    yield Row("cached png 300, as traced", times, round(traced / CACHED))


def archives(encoder: str) -> Iterator[Row]:
    """Archives of as many codes as there may be in one, from the database to the last byte.

    And of fewer codes with a look, all of them in an archive and on a sheet of labels.
    """
    times = []
    with TemporaryDirectory() as folder:
        own = services(encoder, folder)
        own.open()
        try:
            own.storage.migrate()
            organization = own.organizations.found(
                OrganizationDraft("Bench", "bench"), None, by=OPERATOR
            )
            for tags in (("few",), *((),) * (ARCHIVE_CODES // STYLED_CODES - 1)):
                drafts = [CodeDraft(destination="https://example.com/", tags=tags)] * STYLED_CODES
                own.codes.create_many(organization.id, drafts, None, by=OPERATOR)
            # A small one first: what is imported and built once is not the archive's.
            for piece in own.archives.stream(organization.id, ImageOptions(), "few"):
                assert piece
            before = _forget_peak()
            for _ in range(ARCHIVES):
                began = time.perf_counter()
                for piece in own.archives.stream(organization.id, ImageOptions(), None):
                    assert piece
                times.append((time.perf_counter() - began) * 1000)
            grown = _memory("VmHWM") - before
            yield Row(f"{encoder} archive of {ARCHIVE_CODES}", times, mb=grown)
            times = []
            for _ in range(2):
                began = time.perf_counter()
                for piece in own.archives.stream(organization.id, LOOK, "few"):
                    assert piece
                times.append((time.perf_counter() - began) * 1000)
            yield Row(f"{encoder} archive of {STYLED_CODES} looks", times)
            times = []
            printer, sheet = own.sheets.printer("pdf"), sheet_of(SheetOptions())
            for _ in range(2):
                began = time.perf_counter()
                assert own.sheets.print(printer, organization.id, sheet, LOOK, (None, "few"))
                times.append((time.perf_counter() - began) * 1000)
            yield Row(f"{encoder} sheet of {STYLED_CODES} looks", times)
        finally:
            own.close()


def _memory(name: str) -> float:
    """A figure of this process (proc(5), `status`), in MB: VmRSS is now, VmHWM the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def _forget_peak() -> float:
    """Let the peak of the memory in use begin anew; what is in use, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def report(rows: dict[str, Row], bounds: dict[str, Bound]) -> bool:
    """Print every row with its verdict; whether all bounds are kept."""
    kept = True
    heads = " ".join(f"{f'x {head}':>8}" for head in OTHERS)
    print(f"{'':32} {'p50 ms':>9} {'p95 ms':>9} {heads}  target")
    for name, row in rows.items():
        drawn = " ".join(name.split()[-2:])
        bases = {head: rows.get(f"{other} {drawn}") for head, other in OTHERS.items()}
        ratios = {head: base.p50 / row.p50 if base else None for head, base in bases.items()}
        shown = " ".join(f"{ratio:8.1f}" if ratio else " " * 8 for ratio in ratios.values())
        told = ""
        bound = bounds.get(name)
        if bound is not None:
            good, told = judge(row, bound, ratios, rows.get(f"{name.rsplit(' ', 1)[0]} 100"))
            kept = kept and good
        print(f"{name:32} {row.p50:9.3f} {row.p95:9.3f} {shown}  {told}".rstrip())
    return kept


def judge(
    row: Row, bound: Bound, ratios: dict[str, float | None], small: Row | None
) -> tuple[bool, str]:
    """Whether a row keeps its bound, and the words for it; `small` is its image of 100 pixels.

    A contestant that is not installed binds nobody.
    """
    verdicts = [
        (f"{sign} {limit:g}{unit} ({got:.3g})", got >= limit if sign == ">=" else got <= limit)
        for sign, limit, unit, got in (
            (">=", bound.ratio, "x segno", ratios["segno"]),
            (">=", bound.qrcode, "x qrcode", ratios["qrcode"]),
            (">=", bound.libqrencode, "x qrencode", ratios["qrencode"]),
            ("<=", bound.ms, " ms", row.p50),
            ("<=", bound.growth, "x its 100 px", row.p50 / small.p50 if small else None),
            ("<=", bound.bytes, " bytes", row.bytes),
            ("<=", bound.mb, " MB more", row.mb),
        )
        if limit is not None and got is not None
    ]
    good = all(holds for _, holds in verdicts)
    return good, f"{', '.join(text for text, _ in verdicts)}: {'ok' if good else 'miss'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="Benchmark of drawing.")
    parser.add_argument("--rounds", type=int, default=30, help="how often it is everybody's turn")
    options = parser.parse_args(arguments)
    bounds = targets.read().drawing

    def progress(number: int) -> None:
        if sys.stderr.isatty():
            print(f"\rround {number - 1} of {options.rounds}", end="", file=sys.stderr)

    rows = run(options.rounds, progress)
    for row in (entity_tag(), *cached(), *chain(*map(archives, ENCODERS))):
        rows[row.name] = row
    unknown = sorted(set(bounds) - set(rows))
    if unknown:
        print(f"{targets.FILE}: there is no row named {', '.join(unknown)}", file=sys.stderr)
        return 2
    return 0 if report(rows, bounds) else 1


if __name__ == "__main__":
    sys.exit(main())

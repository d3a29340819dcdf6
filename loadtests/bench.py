"""The benchmark of drawing: codes nobody has asked for before, against what others draw with.

Everything runs in this one process, by turns, so that all suffer alike from whatever else the
machine does: each round draws a few new links with each contestant. A row shows the median and the
95th percentile in milliseconds and, against segno, how many times faster the median is. What a row
has to reach stands in `loadtests/targets.toml`; the exit code is 1 where one misses it. Run it from
the root of the repository:

    .venv/bin/python -m loadtests.bench
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
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import count, islice
from tempfile import TemporaryDirectory

import msgspec
import segno

from core.app import create_app
from core.domain.accounts import OrganizationDraft
from core.domain.codes import CodeDraft, random_slug
from core.domain.images import ImageOptions
from core.services import Services
from core.settings import parse
from loadtests import targets
from loadtests.targets import Bound

Draw = Callable[[str], bytes]

ENCODERS = ("segno", "zxing")
_HOST = "HTTPS://QR.EXAMPLE.COM/R/"
OTHERS_SIZES = (300, 2000)
ETAGS = 2000

# How often one draws before the next one's turn: few, so that all suffer alike, and more than one,
# so that nobody is judged by what his predecessor left in the processor's caches.
IN_A_ROW = 5

# The largest archive that the settings allow by themselves, and how often it is made.
ARCHIVE_CODES = 10_000
ARCHIVES = 3


class Row(msgspec.Struct, frozen=True):
    """One measured contestant: its times in milliseconds, in the order of the rounds."""

    name: str
    times: Sequence[float]

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
    for size in OTHERS_SIZES:
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
        for kind, sizes in (("png", (100, 300, 1000, 2000)), ("svg", (100, 300, 1000, 2000))):
            for size in sizes:
                yield f"{encoder} {kind} {size}", quietzone(own, kind, size)


def run(rounds: int, progress: Callable[[int], None]) -> dict[str, Row]:
    """Every contestant in every round, each time with a link of its own."""
    entrants = list(contestants())
    times: dict[str, list[float]] = {name: [] for name, _ in entrants}
    # Each time another link, so that nobody meets a symbol that somebody has left in a cache.
    links = map(link, count())
    for number in range(rounds + 2):
        for name, draw in entrants:
            for content in islice(links, IN_A_ROW):
                began = time.perf_counter()
                draw(content)
                if number >= 2:  # The first rounds import and fill tables.
                    times[name].append((time.perf_counter() - began) * 1000)
        progress(number)
    return {name: Row(name, took) for name, took in times.items()}


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


def archives(encoder: str) -> Row:
    """Archives of as many codes as there may be in one, from the database to the last byte."""
    times = []
    with TemporaryDirectory() as folder:
        own = services(encoder, folder)
        own.open()
        try:
            own.storage.migrate()
            organization = own.organizations.found(OrganizationDraft("Bench", "bench"), None)
            drafts = [CodeDraft(destination="https://example.com/")] * 1000
            for _ in range(ARCHIVE_CODES // len(drafts)):
                own.codes.create_many(organization.id, drafts, None)
            for _ in range(ARCHIVES):
                began = time.perf_counter()
                for piece in own.archives.stream(organization.id, ImageOptions(), None):
                    assert piece
                times.append((time.perf_counter() - began) * 1000)
        finally:
            own.close()
    return Row(f"{encoder} archive of {ARCHIVE_CODES}", times)


def report(rows: dict[str, Row], bounds: dict[str, Bound]) -> bool:
    """Print every row with its verdict; whether all bounds are kept."""
    kept = True
    print(f"{'':32} {'p50 ms':>9} {'p95 ms':>9} {'x segno':>8}  target")
    for name, row in rows.items():
        base = rows.get("segno.make().save() " + " ".join(name.split()[-2:]))
        ratio = base.p50 / row.p50 if base else None
        shown = f"{ratio:8.1f}" if ratio else " " * 8
        bound = bounds.get(name)
        told = ""
        if bound is not None:
            growth = row.p50 / rows[name.rsplit(" ", 1)[0] + " 100"].p50 if bound.growth else None
            verdicts = [
                (
                    f"{sign} {limit:g}{unit} ({got:.3g})",
                    got >= limit if sign == ">=" else got <= limit,
                )
                for sign, limit, unit, got in (
                    (">=", bound.ratio, "x segno", ratio),
                    ("<=", bound.ms, " ms", row.p50),
                    ("<=", bound.growth, "x its 100 px", growth),
                )
                if limit is not None and got is not None
            ]
            good = all(holds for _, holds in verdicts)
            kept = kept and good
            told = f"{', '.join(text for text, _ in verdicts)}: {'ok' if good else 'miss'}"
        print(f"{name:32} {row.p50:9.3f} {row.p95:9.3f} {shown}  {told}")
    return kept


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
    for row in (entity_tag(), *(archives(encoder) for encoder in ENCODERS)):
        rows[row.name] = row
    unknown = sorted(set(bounds) - set(rows))
    if unknown:
        print(f"{targets.FILE}: there is no row named {', '.join(unknown)}", file=sys.stderr)
        return 2
    return 0 if report(rows, bounds) else 1


if __name__ == "__main__":
    sys.exit(main())

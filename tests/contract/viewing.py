"""Shows images as viewers and printers do, with programs that know nothing of ours."""

from __future__ import annotations

import io
import shutil
import subprocess

import pypdfium2
import pytest
import resvg_py
from PIL import Image


def view(name: str, data: bytes) -> Image.Image:
    """What a viewer shows of an image in the format `name`, on white; EPS and PDF at 300 dpi."""
    if name == "pdf":
        (page,) = pages(data)
        return page
    if name == "svg":
        data = resvg_py.svg_to_bytes(svg_string=data.decode("utf-8"), skip_system_fonts=True)
    elif name == "eps":
        data = _ghostscript(data)
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def pages(pdf: bytes, dpi: float = 300) -> list[Image.Image]:
    """What a printer of so many dots an inch shows of the pages of a PDF file."""
    with pypdfium2.PdfDocument(pdf) as document:
        return [_printed(page, dpi) for page in document]


def _printed(page: pypdfium2.PdfPage, dpi: float) -> Image.Image:
    # pypdfium2 rounds up: the least bit above a whole number would be a pixel more.
    width = page.get_width()
    scale = round(width * dpi / 72) / width * (1 - 1e-9)
    return page.render(scale=scale).to_pil().convert("RGB")


def _ghostscript(eps: bytes) -> bytes:
    program = shutil.which("gs")
    if program is None:
        pytest.fail("gs is not installed; `make test` installs it (Debian: ghostscript)")
    command = [program, "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-dEPSCrop", "-r300"]
    command += ["-sDEVICE=png16m", "-sstdout=%stderr", "-sOutputFile=-", "-"]
    result = subprocess.run(command, input=eps, capture_output=True, check=True, timeout=60)
    assert not result.stderr, result.stderr.decode()
    return result.stdout

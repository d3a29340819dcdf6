"""Shows images as viewers and printers do, with programs that know nothing of ours."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest
import resvg_py
from PIL import Image


def view(name: str, data: bytes) -> Image.Image:
    """What a viewer shows of an image in the format `name`, on white; EPS at 300 dpi."""
    if name == "svg":
        data = resvg_py.svg_to_bytes(svg_string=data.decode("utf-8"), skip_system_fonts=True)
    elif name == "eps":
        data = _ghostscript(data)
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def _ghostscript(eps: bytes) -> bytes:
    program = shutil.which("gs")
    if program is None:
        pytest.fail("gs is not installed; `make test` installs it (Debian: ghostscript)")
    command = [program, "-q", "-dSAFER", "-dBATCH", "-dNOPAUSE", "-dEPSCrop", "-r300"]
    command += ["-sDEVICE=png16m", "-sstdout=%stderr", "-sOutputFile=-", "-"]
    result = subprocess.run(command, input=eps, capture_output=True, check=True, timeout=60)
    assert not result.stderr, result.stderr.decode()
    return result.stdout

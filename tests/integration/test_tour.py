"""The tour in the README is run line by line against the real service."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import zxingcpp
from PIL import Image

from tests.integration.service import ROOT, Answer, Service

README = (ROOT / "README.md").read_text(encoding="utf-8")
END = "--- end of output ---"

_VARYING = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"127\.0\.0\.1:\d+", "<address>"),
)


def blocks() -> list[tuple[str, str]]:
    """Every command of the tour with the output that the README shows for it."""
    tour = README.split("## Five-minute tour", 1)[1].split("\n## ", 1)[0]
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", tour, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            length = 1
            while lines[length - 1].endswith("\\"):
                length += 1
            found.append(("\n".join(lines[:length]), "\n".join(lines[length:])))
    return found


def same(text: str) -> str:
    for pattern, word in _VARYING:
        text = re.sub(pattern, word, text, flags=re.IGNORECASE)
    return text.strip()


def counted(me: Callable[..., Answer]) -> int:
    """The scans of all codes, as the first owner sees them."""
    organization = me("GET", "/api/session").json()["organizations"][0]["id"]
    codes = me("GET", f"/api/organizations/{organization}/qr-codes").json()["items"]
    return sum(code["scans_total"] for code in codes)


def test_the_tour_works_as_it_is_printed(tmp_path: Path) -> None:
    commands = blocks()
    assert len(commands) > 8
    with Service(tmp_path) as service:
        shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
        )
        assert shell.stdin is not None
        assert shell.stdout is not None
        scans, me = 0, service.sign_in()
        for command, expected in commands:
            command = command.replace("http://127.0.0.1:8000", service.url)
            if command.startswith("PASSWORD="):
                command = f"PASSWORD='{service.password}'"
            scans += "/r/menu" in command
            if command == "sleep 1":
                service.wait_until(lambda scans=scans: counted(me) == scans)  # type: ignore[misc]
            shell.stdin.write(f"{command}\necho; echo '{END}'\n")
            shell.stdin.flush()
            lines: list[str] = []
            for line in shell.stdout:
                if line.rstrip("\n") == END:
                    break
                lines.append(line)
            assert same("".join(lines)) == same(expected), command
        shell.stdin.close()
        assert shell.wait(10) == 0
        shell.stdout.close()
    image = Image.open(tmp_path / "menu.png")
    assert image.size == (600, 600)
    assert zxingcpp.read_barcodes(image.convert("L"))[0].text == f"{service.url}/r/menu".upper()

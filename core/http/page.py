"""The few pages that the service shows to people, and the policy that lets nothing else run."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from string import Template

MEDIA_TYPE = "text/html; charset=utf-8"

_STYLE = """
:root { color-scheme: light dark }
body {
  font: 1.125rem/1.5 system-ui, sans-serif;
  max-width: 32rem; margin: 15vh auto; padding: 0 1.5rem;
}
h1 { font-size: 1.5rem; line-height: 1.25 }
label { display: block; margin: 1rem 0 }
input, button { display: block; box-sizing: border-box; width: 100%; font: inherit; padding: .4rem }
"""

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def page(title: str, body: str, script: str = "") -> str:
    """A page; `title` and `body` are HTML already."""
    if script:
        body = f"{body}\n<script>{script}</script>"
    return _PAGE.substitute(title=title, style=_STYLE, body=body)


def policy(script: str = "") -> str:
    """The Content-Security-Policy of a page with that script, which may call the service.

    Style and script are known by their digests: a text that got into the page could bring none.
    """
    scripts = f"script-src {_digest(script)}; connect-src 'self'; " if script else ""
    return (
        f"default-src 'none'; {scripts}style-src {_digest(_STYLE)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"

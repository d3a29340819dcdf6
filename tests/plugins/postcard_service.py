"""Serves a few requests with the settings file that is named, and prints the answers as JSON."""

from __future__ import annotations

import json
import sys

from falcon.testing import Result, TestClient

from core.app import Application, create_app
from core.domain.accounts import OrganizationDraft, Role
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.settings import load


def answers(app: Application) -> dict[str, object]:
    """What a caller sees of the plugin's renderer, period and cache."""
    services = app.services
    services.storage.migrate()
    organization = services.organizations.found(OrganizationDraft("Post office"), None, by=OPERATOR)
    code = services.codes.create(
        organization.id, CodeDraft(destination="https://example.com"), by=OPERATOR
    )
    token, _ = services.accounts.new_key(organization.id, "test", Role.OWNER, None)
    client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    url = f"/api/organizations/{organization.id}/qr-codes/{code.id}"
    seen: dict[str, object] = {
        "short_url": services.codes.short_url(code),
        "cache": type(services.cache).__module__,
        "cached_before": len(services.cache),  # type: ignore[arg-type]
        "scan": _seen(client.simulate_get(f"/r/{code.slug}")),
    }
    services.drainer.drain()
    for name, path in {
        "txt": "/image?format=txt&size=101&margin=4",
        "png": "/image",
        "14d": "/timeline?period=14d",
        "15d": "/timeline?period=15d",
    }.items():
        seen[name] = _seen(client.simulate_get(url + path))
    seen["cached_after"] = len(services.cache)  # type: ignore[arg-type]
    return seen


def _seen(result: Result) -> dict[str, object]:
    text = result.content.decode("utf-8", "replace")
    return {"status": result.status_code, "type": result.headers.get("content-type"), "text": text}


if __name__ == "__main__":
    application = create_app(load(sys.argv[1]))
    application.services.open()
    try:
        json.dump(answers(application), sys.stdout)
    finally:
        application.services.close()

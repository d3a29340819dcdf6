"""The composition root: settings, plugins, services and HTTP become one application."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

import falcon

from core.errors import ConfigurationError
from core.extension.hookspecs import PluginContext
from core.extension.host import PluginHost
from core.http import problems, routes
from core.http.events import Events
from core.http.headers import Headers, Sharing
from core.http.middleware import Gate, Tracing
from core.http.request import Request
from core.http.resources.session import cookie_name
from core.http.response import Response
from core.ports import ScanStore
from core.services import Components, Services, utc_now
from core.settings import Settings, load

_TALKATIVE = ("PIL", "fontTools", "peewee", "playhouse")


class Application(falcon.App[Request, Response]):
    """The WSGI application, with what belongs to it."""

    # NOTE: Falcon refuses such methods before any middleware is asked, and the answer would have
    # neither an id nor the headers that all have. Without this they are unknown methods: 400.
    _META_METHODS: ClassVar[frozenset[str]] = frozenset()

    settings: Settings
    host: PluginHost
    services: Services


def create_app(
    settings: Settings | None = None,
    *,
    clock: Callable[[], datetime] = utc_now,
    token_bytes: Callable[[int], bytes] = secrets.token_bytes,
    seconds: Callable[[], float] = time.monotonic,
) -> Application:
    """The application, put together but with nothing open: `app.services.open()` does that.

    `clock` tells the time; `seconds` go on evenly, and never back.

    Raises ConfigurationError for anything that an operator has to mend.
    """
    settings = settings or load()
    host = load_plugins(settings)
    services = Services(settings, choose(settings, host), clock, token_bytes, seconds)
    headers = Headers(settings)
    app = Application(
        request_type=Request,
        response_type=Response,
        middleware=[
            Tracing(settings.log.requests, headers),
            *([Events(settings, clock)] if settings.log.security else ()),
            *([Sharing(settings)] if settings.http.cors_origins else ()),
            Gate(services, settings, headers, cookie_name(settings.base_url)),
        ],
    )
    app.settings, app.host, app.services = settings, host, services
    app.req_options.auto_parse_form_urlencoded = False
    app.resp_options.xml_error_serialization = False
    problems.install(app)
    routes.install(app, services, settings)
    return app


def load_plugins(settings: Settings) -> PluginHost:
    """The enabled plugins and what they offer."""
    context = PluginContext(data=settings.data, base_url=settings.base_url)
    return PluginHost(settings.plugins.enabled, settings.plugin, context)


def choose(settings: Settings, host: PluginHost) -> Components:
    """The components that the settings name; raises ConfigurationError where one is missing."""
    return Components(
        encoder=host.encoders.choose(settings.images.encoder, "images.encoder"),
        renderers=dict(host.renderers),
        sheets=dict(host.sheets),
        storage=host.storages.choose(settings.storage.backend, "storage.backend"),
        scan_store=_choose_scan_store(settings, host),
        cache=host.caches.choose(settings.cache.backend, "cache.backend"),
        periods=dict(host.periods),
        scan_enrichers=dict(host.scan_enrichers),
        destination_checks=dict(host.destination_checks),
        notifier=host.notifiers.choose(settings.accounts.notifier, "accounts.notifier"),
    )


def _choose_scan_store(settings: Settings, host: PluginHost) -> ScanStore:
    backend, name = settings.storage.backend, settings.scans.store or settings.storage.backend
    store = host.scan_stores.choose(name, "scans.store")
    beside = name in host.storages.names() and (
        host.storages.owner(name) == host.scan_stores.owner(name)
    )
    if beside and name != backend:
        # It would look for the codes there, find none, and pass over the scans of all others.
        raise ConfigurationError(
            f"scans.store: {name!r} counts the scans of the codes in the storage {name!r}, but "
            f"storage.backend is {backend!r}; leave scans.store out, or choose {name!r} for both"
        )
    return store


def configure_logging(settings: Settings) -> None:
    """Write the log to standard error, from `log.level` up."""
    level = logging.getLevelNamesMapping()[settings.log.level.upper()]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in _TALKATIVE:
        # NOTE: at level debug they log from the threads that draw, and a handler's lock belongs to
        # gevent's greenlets: threads that wait for it may never be woken.
        logging.getLogger(name).setLevel(max(level, logging.INFO))

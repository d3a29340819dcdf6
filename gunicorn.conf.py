"""How gunicorn serves Quietzone; `quietzone serve` starts it with this file.

Address and number of workers come from the settings (`[service]`). Why gevent, and why one
listening socket for all workers, is measured in `docs/worker-class.md`.
"""

from __future__ import annotations

# NOTE: this must stay the first thing that happens. `preload_app` imports the application in the
# master, and locks, sockets and psycopg's waiting that are made before the patch would block the
# whole worker instead of one greenlet.
from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import suppress  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any, TypeVar, cast  # noqa: E402

from gevent.threadpool import ThreadPool  # noqa: E402

from core.app import configure_logging  # noqa: E402
from core.errors import ConfigurationError  # noqa: E402
from core.services.offload import Offload  # noqa: E402
from core.settings import load  # noqa: E402

T = TypeVar("T")

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""What tells a process to end."""

_GIVING_WAY = 10
"""The nice value of threads that give way; the usual one is 0."""

# This file is run again at each reload. What the service started with is kept outside of it, since
# gunicorn would end at once, requests and all, where the settings can no longer be read.
try:
    settings = load()
except ConfigurationError as error:
    settings = getattr(sys, "quietzone_settings", None)
    if settings is None:
        sys.exit(f"Quietzone cannot start: {error}")
setattr(sys, "quietzone_settings", settings)  # noqa: B010

configure_logging(settings)

wsgi_app = "core.app:create_app()"
proc_name = "quietzone"
bind = settings.service.bind
workers = settings.service.workers
worker_class = "core.wire.Worker"

# `create_app()` opens nothing, so that it may run once in the master: a wrong setting stops the
# start instead of each worker, and the workers share the memory of the code.
preload_app = True

# NOTE: each worker would bind a socket of its own. A reload then resets the connections that wait
# in the socket of a leaving worker, a second server on the same port is not noticed, a taken port
# makes the workers restart for ever, and Unix sockets do not work at all.
reuse_port = False

# A connection is one greenlet. Slow clients fill this many in each worker before others wait.
worker_connections = settings.http.max_connections
backlog = 2048

# Seconds that a client has for a whole request head, and that an idle connection is kept.
# NOTE: 0 would turn off both limits, and heads that never end would be waited for.
keepalive = settings.http.head_timeout

# Seconds without a sign of life after which a worker is replaced; not a limit on requests.
timeout = 30

# Seconds that requests in flight have at a stop or reload; more than `keepalive`, because idle
# connections are waited for as well.
graceful_timeout = settings.http.head_timeout + 20

limit_request_line = settings.http.max_request_line
limit_request_fields = settings.http.max_header_fields
limit_request_field_size = settings.http.max_header_field_bytes

# What gunicorn does by itself, and must go on doing: two servers that read one request in two ways
# can be made to take the body of one for another (RFC 9112, 11.2). Its
# other parser is not tested here.
http_parser = "python"
http_protocols = "h1"
permit_obsolete_folding = False
strip_header_spaces = False
permit_unconventional_http_method = False
permit_unconventional_http_version = False
casefold_http_method = False

# Fields with an underscore would be taken for those with a hyphen; none of them may set the path.
header_map = "drop"
forwarder_headers = ""

# The sign of life is a file's time stamp: on a slow disk, touching it could stall a worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# One socket per user would be shared by every gunicorn of this account; signals do all we need.
control_socket_disable = True

# The application logs each request with its id; gunicorn's own messages go to standard error,
# without what they would tell of visitors (see `Discretion`).
accesslog = None
errorlog = "-"
loglevel = settings.log.level

# The application trusts proxies by `http.trusted_proxies` alone, so gunicorn must trust none.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}


class Discretion(logging.Filter):
    """Takes out of gunicorn's messages what a request held: its address, or what had come of it.

    Requests that cannot be read are logged by our own worker, which tells nothing of either.
    """

    _TELLING = re.compile(r"Error handling request|Ignored premature client disconnection")

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, shortened where it tells too much."""
        match = self._TELLING.match(record.getMessage())
        if match is not None:
            record.msg = match[0]
            record.args = ()
        return True


def on_starting(server: Any) -> None:
    """Keep visitors out of the log, and allow as many open files as connections.

    The usual soft limit of open files is 1,024. Loggers outlive a reload, and so do their filters.
    New processes listen to signals.
    """
    logging.getLogger("gunicorn.error").addFilter(Discretion())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = worker_connections + 1024
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # Another one, beside this one (SIGUSR2), is started in the same way. What gunicorn would start
    # has its own folder before all others, where `http` is another module.
    server.START_CTX["args"] = [sys.executable, "-m", "core.cli", "serve"]
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _ENDING),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _ENDING),
        after_in_child=_listen,
    )


def _listen() -> None:
    """Have a new process end where it is told to, from its first moment on.

    The worker has handlers of its own later.
    """
    # NOTE: a new process has the handlers of the master, which put a signal into a queue, and no
    # master that reads it; what comes even before that, Python drops. A worker that missed its end
    # would go on taking connections until the master, which is stopping, kills it after
    # `graceful_timeout`, requests and all.
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def on_reload(server: Any) -> None:
    """SIGHUP: put the application together anew, since the preloaded one has the old settings."""
    previous = server.app.callable
    try:
        server.app.callable = None
        server.app.wsgi()
    except ConfigurationError as error:
        server.app.callable = previous
        server.log.error("the old settings stay in force: %s", error)


def when_ready(server: Any) -> None:
    """Do what is done once for all workers."""
    # PERF: what there is by now stays. Workers need not look at it, and go on sharing the memory:
    # to look at an object writes into it.
    gc.freeze()
    gc.enable()
    server.app.wsgi().services.begin()


def post_worker_init(worker: Any) -> None:
    """Open connections and files in the worker, after the fork."""
    # NOTE: the disk has threads of its own. Behind drawings that take seconds, scans would not be
    # written out, and with scans.sync = "always" redirects would wait. Nor does anybody wait behind
    # them who signs in.
    worker.wsgi.services.open(
        offload=_offload(settings.service.threads),
        disk=_offload(2),
        hashing=_offload(settings.service.threads, gives_way=True),
    )
    worker.wsgi.services.serve()


def _offload(size: int, *, gives_way: bool = False) -> Offload:
    """Runs functions in `size` real threads; the other greenlets go on meanwhile.

    Threads that give way get less of the processor where others need it as well. That is for work
    that leaves the GIL alone: who is kept waiting with it keeps the whole process waiting.
    """
    threads = ThreadPool(size)
    told: set[int] = set()

    def outcome(
        function: Callable[..., T], arguments: tuple[object, ...]
    ) -> tuple[T | None, Exception | None]:
        if gives_way and (thread := threading.get_native_id()) not in told:
            told.add(thread)
            # NOTE: without this, the threads that hash passwords take turns with those that serve:
            # while somebody floods the service with sign-ins, redirects take up to half a second.
            # That a priority is a thread's own, and not the process's, is so on Linux alone.
            if sys.platform == "linux":
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, thread, _GIVING_WAY)
        return _outcome(function, arguments)

    def offload(function: Callable[..., T], *arguments: object) -> T:
        # NOTE: gevent prints a traceback of whatever its threads raise, and here that is often
        # no more than a size that is too small; so it is carried over and raised in the caller.
        result, error = threads.apply(outcome, (function, arguments))
        if error is not None:
            raise error
        return cast("T", result)

    return offload


def _outcome(
    function: Callable[..., T], arguments: tuple[object, ...]
) -> tuple[T | None, Exception | None]:
    try:
        return function(*arguments), None
    except Exception as error:  # noqa: BLE001 - it is raised again by the caller.
        return None, error


def worker_exit(server: Any, worker: Any) -> None:
    """Close what was opened; runs after a failed boot as well, when there may be nothing."""
    application = getattr(worker, "wsgi", None)
    if application is not None:
        application.services.close()

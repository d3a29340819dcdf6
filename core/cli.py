"""The `quietzone` command."""

# ruff: noqa: E402

from __future__ import annotations

import sys

_BECOMES_SERVER = sys.argv[1:] == ["serve"] and sys.argv[0].endswith(("/quietzone", "/cli.py"))

if _BECOMES_SERVER:
    # NOTE: this must come before all else where this process is to become the server; why, says
    # gunicorn.conf.py.
    from gevent import monkey

    monkey.patch_all()

    # PERF: to look for cycles among what is imported takes 0.05 s; gunicorn.conf.py turns it on
    # again.
    import gc

    gc.disable()

import getpass
import os
import random
import runpy
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click
import msgspec
from msgspec.structs import replace

from core import __version__
from core.app import Application, configure_logging, create_app
from core.domain.accounts import ApiKey, OrganizationDraft, Role, User, check_organization_slug
from core.domain.audit import OPERATOR, AuditFilter, Origin
from core.domain.content_reading import read_content
from core.domain.images import QUIET_ZONE, ErrorCorrection, ImageOptions, SymbolKind
from core.domain.logos import Logo, LogoType
from core.domain.looks import MAX_CAPTION, FinderShape, ModuleShape, look_rules
from core.domain.validation import field_rules, read
from core.errors import (
    ConfigurationError,
    Conflict,
    FieldProblem,
    InvalidFields,
    NotFound,
    QuietzoneError,
    StorageUnavailable,
)
from core.http.resources.base import Access
from core.http.routes import ROUTES
from core.services import Services, sample
from core.services.journal.drainer import status
from core.services.meters import Namespace
from core.services.monitor import IN_CACHE
from core.settings import dump, unpack

_GUNICORN_CONFIGS = (
    Path(__file__).resolve().parent.parent / "gunicorn.conf.py",  # In a clone.
    Path(sys.prefix) / "share" / "quietzone" / "gunicorn.conf.py",  # From a wheel.
)
_FIRST_EMAIL = "owner@example.com"
_ROLES = click.Choice([role.value for role in Role])


class _Group(click.Group):
    """Shows our own errors as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StorageUnavailable as error:
            raise click.ClickException(f"{error} ({error.__cause__})") from error
        except QuietzoneError as error:
            raise click.ClickException(str(error)) from error


def _one_of(choices: type[StrEnum]) -> str:
    return f"One of {', '.join(choices)}."


_IMAGE_OPTIONS = {
    "color": "Of modules, finder patterns and caption: 3 or 6 hexadecimal digits.",
    "background": "The same, or transparent.",
    "shape": f"Of the modules. {_one_of(ModuleShape)}",
    "finder_shape": f"Of the three large squares. {_one_of(FinderShape)}",
    "logo_size": "Percent of the symbol's width, 5 to 100; 20 where it is left out.",
    "caption": f"Below the symbol, up to {MAX_CAPTION} characters.",
    "size": "Pixels, 100 to 2000 unless the settings say otherwise; 300 where it is left out.",
    "error_correction": f"At least this much. {_one_of(ErrorCorrection)} M where it is left out.",
    "margin": f"Modules, 0 to 20; {QUIET_ZONE} where it is left out.",
    "symbol": f"{_one_of(SymbolKind)} Phones do not read micro.",
    "dpi": "Pixels an inch in print, 1 to 10000.",
    "width_mm": "The width in print, 1 to 10000; give this or --dpi.",
}


def _image_options(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each parameter of an image, named and checked as those of the API are."""
    for name, told in reversed(_IMAGE_OPTIONS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, help=told)(command)
    return command


@click.group(cls=_Group)
@click.version_option(__version__, prog_name="quietzone")
def main() -> None:
    """Self-hosted QR codes for organisations."""


@main.command()
def serve() -> None:
    """Serve HTTP under gunicorn until stopped."""
    _check()
    config = next((path for path in _GUNICORN_CONFIGS if path.exists()), None)
    if config is None:
        raise ConfigurationError(f"{_GUNICORN_CONFIGS[0]} is missing; install Quietzone anew")
    words = ["--config", str(config)]
    if not _BECOMES_SERVER:
        # Somebody else's program has called this one, and is not fit for it.
        os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *words])
    # PERF: to start another Python, which imports everything anew, would take 0.8 s of 1.5.
    sys.argv[1:] = words
    runpy.run_module("gunicorn", run_name="__main__", alter_sys=True)


def _check() -> None:
    """Refuse to serve what cannot be served; nothing of it stays."""
    with _open(create_app()) as services:
        services.destinations.prove()
        try:
            _refuse_pending(services)
            # Once the service runs, one that cannot be opened is passed over.
            services.enrichment.check()
        except StorageUnavailable as error:
            # A database that is away now may be back in a moment; gunicorn does not wait for it.
            click.echo(f"Warning: {error} ({error.__cause__})", err=True)


@main.command()
def init() -> None:
    """Set up the database; where it is empty, create a first organisation and its owner.

    The owner's account is an operator of the installation, too.
    """
    app = create_app()
    with _open(app) as services:
        services.storage.migrate()
        if services.storage.organizations.all() or services.accounts.find(_FIRST_EMAIL):
            click.echo("Quietzone is set up already.")
            return
        password = secrets.token_urlsafe(12)
        with services.storage.transaction():
            owner = services.accounts.add_user(_FIRST_EMAIL, password, "Owner")
            services.accounts.set_operator(owner.email, True, by=_origin())
            organization = services.organizations.found(
                OrganizationDraft(name="My organization", slug="main"), owner, by=_origin()
            )
    url = app.settings.base_url
    cookies = app.settings.data / "cookies.txt"
    json = "-H 'Content-Type: application/json'"
    click.echo(
        f"""\
Quietzone is set up. This is shown once:

address: {url}
email: {_FIRST_EMAIL}
password: {password}

Try it, once it serves: sign in, make a code, scan it.

curl -c {cookies} {json} -d '{{"email": "{_FIRST_EMAIL}", "password": "{password}"}}' {url}/api/session
curl -b {cookies} {json} -d '{{"destination": "https://example.com", "slug": "hello"}}' {url}/api/organizations/{organization.id}/qr-codes
curl -i {url}/r/hello
"""  # noqa: E501
    )


@main.command()
@click.option("--check", "only_check", is_flag=True, help="Only tell; exit 1 if any is pending.")
def migrate(only_check: bool) -> None:
    """Bring the database's schema up to date."""
    with _open(create_app()) as services:
        if only_check:
            pending = services.storage.pending_migrations()
            for name in pending:
                click.echo(f"pending: {name}")
            if pending:
                sys.exit(1)
            click.echo("The schema is up to date.")
            return
        applied = services.storage.migrate()
        for name in applied:
            click.echo(f"applied: {name}")
        if not applied:
            click.echo("The schema is up to date.")


@main.command()
def check() -> None:
    """Validate the effective configuration and show it, secrets hidden."""
    app = create_app()
    for name in app.settings.__struct_fields__:
        if name != "plugin":
            _show(name, dump(getattr(app.settings, name)))
    for name, options in app.host.options.items():
        if options is not None:
            _show(f"plugin.{name}", dump(options))
    _show("storage in use", dict(app.services.storage.describe()))
    folder = app.settings.data
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"service.data: nothing can be written to {folder}, where scans are kept until they "
            "are counted; give the account that serves the right to, or choose another folder"
        )
    click.echo("The configuration is sound.")
    pending = app.services.storage.pending_migrations()
    if pending:
        click.echo(f"The database lacks {', '.join(pending)}; run 'quietzone migrate'.")


@main.command()
def plugins() -> None:
    """List the installed plugins, their versions, and who offers what."""
    for plugin in create_app().host.describe():
        state = "enabled" if plugin.enabled else "not enabled"
        offers = f"  {', '.join(plugin.offers)}" if plugin.offers else ""
        click.echo(f"{plugin.name:12} {plugin.distribution} {plugin.version:8} {state}{offers}")


@main.command()
def routes() -> None:
    """List every route with what it takes to call it."""
    for route in ROUTES:
        for method, rule in route.access.items():
            who = rule.value if isinstance(rule, Access) else f"role {rule.value}"
            path = route.path.replace(":uuid", "").replace(":segment", "")
            click.echo(f"{method:6} {path:58} {who}")


@main.command()
@click.argument("text")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="The file; - for stdout.")
@click.option("--format", "image_format", help="Left out: what the file's name ends with, or text.")
@click.option("--logo", type=click.Path(exists=True, dir_okay=False), help="A PNG or SVG file.")
@click.option("--json", "typed", is_flag=True, help="TEXT is a typed content in JSON.")
@_image_options
def render(
    text: str,
    output: str | None,
    image_format: str | None,
    logo: str | None,
    typed: bool,
    **given: str | None,
) -> None:
    """Draw TEXT into a file, in any look; needs no database."""
    services = create_app().services
    chosen = image_format or _format_of_file(services, output)
    sent = {name: value for name, value in given.items() if value is not None}
    options = read(ImageOptions, {**sent, "format": chosen}, look_rules, strict=False)
    content = read_content(_json(text) if typed else text, "TEXT")
    picture = services.images.offline(
        content.encode(), options, _logo(services, logo), content.limits
    )
    if output is None or output == "-":
        sys.stdout.buffer.write(picture.data)
    else:
        try:
            Path(output).write_bytes(picture.data)
        except OSError as error:
            reason = f"{output} cannot be written ({error.strerror}); choose another file"
            raise InvalidFields.of("--output", reason) from error
        click.echo(f"{output}: {picture.media_type}, {len(picture.data)} bytes", err=True)


def _format_of_file(services: Services, output: str | None) -> str:
    """What the name of a file asks for; PNG where it says nothing, text without a file."""
    if output is None:
        return "text"
    suffix = Path(output).suffix[1:].lower()
    image_format = services.images.format_of(suffix) if suffix else "png"
    if image_format is None:
        reason = f"no enabled format has files that end with .{suffix}; name one with --format"
        raise InvalidFields.of("--output", reason)
    return image_format


def _json(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidFields.of("TEXT", f"is not JSON: {error}") from error


@main.group()
def organization() -> None:
    """Organisations."""


@organization.command("add")
@click.argument("name")
@click.option("--slug", help="Its name in commands; made from NAME where it is left out.")
def organization_add(name: str, slug: str | None) -> None:
    """Create an organisation; give it an owner with `quietzone user add`."""
    data = {"name": name} if slug is None else {"name": name, "slug": slug}
    draft = read(OrganizationDraft, data, field_rules(slug=check_organization_slug))
    with _open(create_app()) as services:
        added = services.organizations.found(draft, None, by=_origin())
    click.echo(f"organization: {added.slug}\nid: {added.id}")


@main.command()
@click.argument("organization_id", type=click.UUID)
def audit(organization_id: UUID) -> None:
    """Write the whole audit log of an organisation as CSV, one that is deleted included."""
    with _open(create_app()) as services:
        for piece in services.exports.audit(organization_id, AuditFilter()):
            sys.stdout.buffer.write(piece)


@main.group()
def user() -> None:
    """People."""


@user.command("add")
@click.argument("email")
@click.option("--organization", "slug", required=True, help="The organisation's slug.")
@click.option("--role", type=_ROLES, required=True)
@click.option("--name", default="", help="The person's name.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def user_add(email: str, slug: str, role: str, name: str, password_stdin: bool) -> None:
    """Create an account and make it a member; an account that exists is made a member."""
    _check_slug(slug)
    with _open(create_app()) as services:
        found = services.storage.organizations.by_slug(slug)
        if found is None:
            raise NotFound(
                f"there is no organization {slug!r}; create it with 'quietzone organization add'"
            )
        account = services.accounts.find(email)
        if account and password_stdin:
            raise Conflict(
                f"there is an account {account.email} already; leave out --password-stdin to make "
                "it a member, or change its password with 'quietzone user password'"
            )
        password = "" if account else _password(password_stdin)
        with services.storage.transaction():
            account = account or services.accounts.add_user(email, password, name)
            services.organizations.add_membership(found.id, account, Role(role), by=_origin())
    click.echo(f"{account.email} is {role} of {found.slug}.")


@user.command("password")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def user_password(email: str, password_stdin: bool) -> None:
    """Give an account another password; all its sessions end."""
    with _open(create_app()) as services:
        account = services.accounts.change_password(email, _password(password_stdin))
    click.echo(f"{account.email} has a new password; every session has ended.")


@user.command("reset-link")
@click.argument("email")
def user_reset_link(email: str) -> None:
    """Make a link by which a person sets a new password; pass it on by a way that you trust."""
    with _open(create_app()) as services:
        click.echo(services.password_resets.issue(email))


@user.command("remove-second-factor")
@click.argument("email")
def user_remove_second_factor(email: str) -> None:
    """Let a person in without a code, who has lost the phone; exit 1 if none is asked for."""
    with _open(create_app()) as services:
        if not services.accounts.remove_second_factor(email):
            raise Conflict(f"{email} has no second factor")
    click.echo("No code is asked for any more.")


@main.group()
def operator() -> None:
    """Who may look after the installation itself, whatever his role in an organisation.

    WHO is the e-mail address of an account, or the id of an API key.
    """


@operator.command("add")
@click.argument("who")
def operator_add(who: str) -> None:
    """Make an account, which has to sign in again, or an API key an operator."""
    with _open(create_app()) as services:
        found = services.accounts.set_operator(who, True, by=_origin())
        click.echo(f"{_named(services, found)} is an operator.")


@operator.command("remove")
@click.argument("who")
def operator_remove(who: str) -> None:
    """Let an account or an API key be an operator no more; exit 1 if it is none."""
    with _open(create_app()) as services:
        found = services.accounts.set_operator(who, False, by=_origin())
        click.echo(f"{_named(services, found)} is no operator any more.")


@operator.command("list")
def operator_list() -> None:
    """List the operators: accounts, then API keys."""
    with _open(create_app()) as services:
        people, keys = services.accounts.operators()
        names = [_named(services, user) for user in people]
        names += [_named(services, key) for key in keys]
        for name in names:
            click.echo(name)
        if not names:
            click.echo("There is no operator; make one with 'quietzone operator add'.")


def _named(services: Services, who: User | ApiKey) -> str:
    if isinstance(who, User):
        return who.email
    organization = services.organizations.get(who.organization_id)
    return f"{who.id} (API key {who.name!r} of {organization.slug})"


@main.group()
def cache() -> None:
    """What is cached: images, timelines and statistics."""


@cache.command("stats")
@click.argument("namespace", required=False, type=click.Choice([name.value for name in Namespace]))
def cache_stats(namespace: str | None) -> None:
    """Show how often what was looked for was found, by all workers of this machine."""
    app = create_app()
    with _open(app) as services:
        report = services.monitor.report()
    where = "shared by all workers" if report.shared else "in each worker"
    click.echo(f"cache: {report.backend}, {where}; workers counted here: {report.workers}")
    for title, number in (
        ("entries", report.entries),
        ("bytes", report.size),
        ("evictions", report.evictions),
    ):
        click.echo(f"{title}: {'unknown' if number is None else number}")
    for server in report.servers:
        click.echo(f"server: {server}{' (left aside)' if server in report.aside else ''}")
    click.echo(f"counted since: {_time(report.since)}\n")
    click.echo(_COLUMNS.format(*_TITLES))
    for name, readings in report.namespaces.items():
        if namespace not in (None, name):
            continue
        for span, looks in (
            ("minute", readings.last_minute),
            ("hour", readings.last_hour),
            ("start", readings.since_start),
        ):
            ratio = "-" if looks.hit_ratio is None else f"{looks.hit_ratio:.1%}"
            mean = "-" if looks.mean_us is None else f"{looks.mean_us:.1f}"
            wrong = (looks.errors, looks.evictions, looks.too_large, looks.refused)
            read_and_written = (looks.bytes_read, looks.bytes_written)
            row = (name, span, looks.hits + looks.misses, ratio, *wrong, *read_and_written, mean)
            click.echo(_COLUMNS.format(*row))


_TITLES = (
    *("namespace", "last", "looks", "found", "errors", "evicted", "large", "refused"),
    *("read", "written", "mean us"),
)
_COLUMNS = "{:9}  {:6} {:>9} {:>7} {:>7} {:>8} {:>6} {:>8} {:>11} {:>11} {:>8}"


@cache.command("clear")
@click.argument("namespace", type=click.Choice([*(name.value for name in IN_CACHE), "all"]))
def cache_clear(namespace: str) -> None:
    """Have nothing of NAMESPACE found any more, on any machine, within a second.

    Codes and sessions are kept for less than a second in any case.
    """
    cleared = IN_CACHE if namespace == "all" else (Namespace(namespace),)
    with _open(create_app()) as services:
        services.monitor.clear(*cleared)
    click.echo(f"cleared: {', '.join(cleared)}")


@main.group()
def scans() -> None:
    """Scans, and their way from the journal into the store."""


@scans.command("drain")
@click.option("--follow", type=int, hidden=True, help="Go on as long as this process lives.")
def scans_drain(follow: int | None) -> None:
    """Move the scans of this machine's journal into the store; the service does so by itself."""
    # A worker that starts us sends its own settings: their file may have been edited since.
    app = create_app(None if follow is None else unpack(sys.stdin.buffer.read()))
    with _open(app) as services:
        if follow is not None:
            # Started by a worker, which has handed its lock on.
            _drain_until_the_end_of(follow, app)
            return
        with services.drainer.elected() as elected:
            if not elected:
                raise QuietzoneError("the service is running, and drains its journal by itself")
            try:
                click.echo(f"drained: {services.drainer.drain()}")
            finally:
                services.drainer.tell()


@scans.command("rebuild")
def scans_rebuild() -> None:
    """Count all scans that are kept anew, while the service runs.

    Days of which scans were removed for their age keep the numbers that they have.
    """
    with (
        _open(create_app()) as services,
        click.progressbar(length=1, label="scans", file=sys.stderr) as bar,
    ):

        def progress(done: int, whole: int) -> None:
            bar.length = whole
            bar.update(done - bar.pos)

        services.scan_store.rebuild(progress)
    click.echo("All numbers are the sums of the scans again.")


@scans.command("status")
def scans_status() -> None:
    """Show how far the scans of this machine are stored, and what could not be recorded."""
    app = create_app()
    known = status(app.settings.journal)
    if known is None:
        click.echo("Nothing was drained on this machine yet.")
    else:
        click.echo(f"drainer: {known.error or 'ok'}, last seen {_time(known.at)}")
        oldest = (
            "" if known.oldest_at is None else f", the oldest scan from {_time(known.oldest_at)}"
        )
        click.echo(f"backlog: {known.backlog} bytes{oldest}")
        if known.stuck:
            click.echo(f"files: {known.stuck}")
    losses = app.services.journal.losses
    last = "" if losses.last_at is None else f", the last time at {_time(losses.last_at)}"
    click.echo(
        f"since {_time(losses.since)}: {losses.dropped} not recorded, "
        f"{losses.unsynced} times not confirmed by the disk{last}"
    )
    # Told first, because the store may be away.
    with _open(app) as services:
        first = (services.clock() - timedelta(days=6)).date()
        for day, (misses, dropped) in services.scan_store.tallies(first).items():
            click.echo(f"{day}: {misses} of unknown slugs, {dropped} not recorded")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _drain_until_the_end_of(parent: int, app: Application) -> None:
    configure_logging(app.settings)
    stop = threading.Event()
    # The worker that has started us decides: a terminal's Ctrl-C goes to all of its processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    app.services.drainer.run(stop, lambda: os.getppid() == parent)


@main.command()
@click.option("--days", default=180, show_default=True, type=click.IntRange(1, 3650))
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same scans.")
def demo(days: int, seed: int) -> None:
    """Create a sample organisation with codes and months of scans."""
    email, password = "sample@example.com", secrets.token_urlsafe(12)
    with _open(create_app()) as services:
        services.storage.migrate()
        with services.storage.transaction():
            owner = _sample_owner(services, email, password)
            made, codes = sample.create_organization(services, owner, _origin())
        chance = random.Random(seed)
        click.echo(f"organization: {made.slug}\nid: {made.id}\ncodes: {len(codes)}")
        click.echo(f"email: {email}\npassword: {password}")
        scans = list(sample.scans(codes, services.clock(), days, chance))
        with click.progressbar(length=len(scans), label="scans", file=sys.stderr) as bar:
            for start in range(0, len(scans), sample.BATCH):
                batch = scans[start : start + sample.BATCH]
                services.scan_store.append(batch)
                bar.update(len(batch))
    click.echo(f"scans: {len(scans)}")


def _logo(services: Services, path: str | None) -> Logo | None:
    if path is None:
        return None
    source = Path(path)
    media_type = LogoType.SVG if source.suffix.lower() == ".svg" else LogoType.PNG
    try:
        return services.logos.check(uuid4(), source.name[:100], media_type, source.read_bytes())
    except InvalidFields as error:
        # There is no body here: what is wrong is wrong with the file.
        raise InvalidFields(
            [FieldProblem("--logo", problem.message) for problem in error.problems]
        ) from error


def _sample_owner(services: Services, email: str, password: str) -> User:
    if services.storage.users.by_email(email) is not None:
        raise QuietzoneError(
            f"the sample exists already ({email}); start with another data folder for a new one"
        )
    return services.accounts.add_user(email, password, "Sample owner")


def _origin() -> Origin:
    """Whoever runs the command, by the name that the system knows him by."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        # A container may run under a number that has no name.
        return OPERATOR
    return Origin(replace(OPERATOR.actor, name=name))


def _check_slug(slug: str) -> None:
    try:
        check_organization_slug(slug)
    except ValueError as error:
        raise InvalidFields.of("organization", str(error)) from error


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


def _refuse_pending(services: Services) -> None:
    pending = services.storage.pending_migrations()
    if pending:
        raise ConfigurationError(
            f"the database lacks {', '.join(pending)}; run 'quietzone migrate' first"
        )


def _show(title: str, values: dict[str, Any]) -> None:
    click.echo(f"[{title}]")
    for name, value in values.items():
        click.echo(f"{name} = {value!r}")
    click.echo()


@contextmanager
def _open(app: Application) -> Iterator[Services]:
    app.services.open()
    try:
        yield app.services
    finally:
        app.services.close()


if __name__ == "__main__":
    main()

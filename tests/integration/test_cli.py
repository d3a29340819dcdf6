"""The `quietzone` command, run as an operator would.

Most run in the process of the test, which spares the start of another one; what is said of
processes, and each command once, is tried with the one that is installed.
"""

from __future__ import annotations

import csv
import fcntl
import getpass
import io
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image

from core.app import create_app
from core.domain.accounts import Credentials, Role
from core.domain.audit import OPERATOR
from core.domain.codes import CodeDraft
from core.domain.images import ErrorCorrection, ImageOptions, SymbolKind
from core.domain.looks import FinderShape, ModuleShape
from core.domain.scans import Visit
from core.domain.validation import Secret
from core.http.routes import ROUTES
from core.services.journal.folder import LOCK, SUFFIX
from core.services.journal.losses import LossCounter
from core.settings import load
from tests.command import Done, run
from tests.contract.reading import read
from tests.integration.service import QUIETZONE, ROOT


class Shell:
    """Runs `quietzone` against one data folder, and in a process of its own with `apart`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "QUIETZONE_DATA": str(folder / "data")}
        self.environ.pop("QUIETZONE_CONFIG", None)

    def __call__(self, *words: str, stdin: str = "", **environ: str) -> Done:
        return run(words, {**self.environ, **environ}, stdin)

    def apart(self, *words: str, stdin: str = "", **environ: str) -> Done:
        done = subprocess.run(
            [str(QUIETZONE), *words],
            env={**self.environ, **environ},
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def config(self, text: str) -> str:
        path = self.folder / "quietzone.toml"
        path.write_text(text)
        return str(path)


@pytest.fixture
def quietzone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """With no data folder yet."""

    def refuse(*command: object) -> None:
        raise AssertionError(f"the process of the tests would become {command}")

    monkeypatch.setattr(os, "execv", refuse)
    monkeypatch.chdir(ROOT)
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `quietzone init` leaves it."""
    shell = Shell(tmp_path_factory.mktemp("initialised"))
    done = shell("init")
    assert done.returncode == 0, done.stderr
    return shell.folder / "data"


@pytest.fixture
def installed(quietzone: Shell, initialised: Path) -> Shell:
    """After `quietzone init`."""
    shutil.copytree(initialised, quietzone.folder / "data")
    return quietzone


def test_init_prints_its_credentials_once(quietzone: Shell) -> None:
    first = quietzone.apart("init")
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert "address: http://127.0.0.1:8000" in lines
    assert "email: owner@example.com" in lines
    assert sum(line.startswith("password: ") for line in lines) == 1
    assert sum(line.startswith("curl ") for line in lines) == 3
    second = quietzone.apart("init")
    assert second.returncode == 0
    assert "password" not in second.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--version",), "quietzone"),
        (("migrate",), "up to date"),
        (("check",), "sound"),
        (("plugins",), "storage sqlite"),
        (("routes",), "/api/session"),
        (("render", "HELLO"), "▄"),
        (("organization", "add", "Harbour"), "organization: harbour"),
        (("audit", "2b0a5e1c-7c1e-4a86-9d3f-0d6d6d0f7a11"), "actor_name"),
        (("user", "reset-link", "owner@example.com"), "#token="),
        (("user", "password", "owner@example.com", "--password-stdin"), "a new password"),
        (("operator", "list"), "owner@example.com"),
        (("cache", "clear", "stats"), "cleared: stats"),
        (("scans", "drain"), "drained: 0"),
        (("demo", "--days", "1"), "organization: sample"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_the_command_that_is_installed_does_the_same_in_a_process_of_its_own(
    installed: Shell, words: tuple[str, ...], told: str
) -> None:
    done = installed.apart(*words, stdin="a long pass phrase\n")
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


def test_another_program_that_serves_becomes_gunicorn(
    installed: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []

    def become(_: str, words: list[str]) -> None:
        became.append(words)
        raise SystemExit

    monkeypatch.setattr(os, "execv", become)
    assert installed("serve").returncode == 0
    assert became == [
        [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]
    ]


def test_migrate_check_exits_1_until_migrated(quietzone: Shell) -> None:
    before = quietzone("migrate", "--check")
    assert before.returncode == 1
    assert "pending: 0001" in before.stdout
    assert not (quietzone.folder / "data" / "quietzone.db").exists()
    assert "applied: 0001" in quietzone("migrate").stdout
    assert quietzone("migrate", "--check").returncode == 0
    assert quietzone("migrate").stdout == "The schema is up to date.\n"


def test_organizations_and_users_are_added(quietzone: Shell) -> None:
    quietzone("migrate")
    made = quietzone("organization", "add", "Café Léon")
    assert "organization: cafe-leon" in made.stdout, made.stderr
    words = ("--organization", "cafe-leon", "--role", "editor", "--password-stdin")
    added = quietzone("user", "add", "Anna@Example.com", *words, stdin="a long pass phrase\n")
    assert added.stdout == "anna@example.com is editor of cafe-leon.\n", added.stderr
    again = quietzone("user", "add", "anna@example.com", *words, stdin="")
    assert again.returncode == 1
    assert "member" in again.stderr
    assert "Traceback" not in again.stderr


def test_an_operator_gets_a_link_that_sets_a_new_password(installed: Shell) -> None:
    made = installed("user", "reset-link", "Owner@Example.com")
    assert re.fullmatch(
        r"http://127\.0\.0\.1:8000/password-resets#token=[A-Za-z0-9_-]{43}\n", made.stdout
    ), made.stderr
    unknown = installed("user", "reset-link", "nobody@example.com")
    assert unknown.returncode == 1
    assert "there is no account 'nobody@example.com'" in unknown.stderr


def test_a_second_factor_that_is_not_there_is_not_removed(installed: Shell) -> None:
    done = installed("user", "remove-second-factor", "owner@example.com")
    assert done.returncode == 1
    assert "owner@example.com has no second factor" in done.stderr


@pytest.mark.parametrize(
    ("words", "stdin", "reason"),
    [
        (("user", "add", "a@b.example", "--organization", "nobody", "--role", "owner",
          "--password-stdin"), "a long pass phrase\n", "no organization 'nobody'"),
        (("user", "add", "no-address", "--organization", "main", "--role", "owner",
          "--password-stdin"), "a long pass phrase\n", "email"),
        (("user", "add", "a@b.example", "--organization", "main", "--role", "owner",
          "--password-stdin"), "short\n", "at least 12 characters"),
        (("user", "add", "a@b.example", "--organization", "main", "--role", "king"), "", "king"),
        (("organization", "add", "X", "--slug", "Not A Slug"), "", "slug"),
        (("organization", "add", "X", "--slug", "main"), "", "main"),
        (("organization", "add", ""), "", "name"),
        (("no-such-command",), "", "no-such-command"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused_with_a_reason(
    installed: Shell, words: tuple[str, ...], stdin: str, reason: str
) -> None:
    done = installed(*words, stdin=stdin)
    assert done.returncode != 0
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_check_shows_the_configuration_and_hides_secrets(quietzone: Shell) -> None:
    done = quietzone("check")
    assert done.returncode == 0, done.stderr
    assert "[service]" in done.stdout
    assert "[plugin.sqlite]" in done.stdout
    assert "sqlite" in done.stdout.lower()
    config = quietzone.config(
        '[plugins]\nenabled = ["segno", "png", "postgres", "shared_memory", "rolling", "log"]\n'
        '[storage]\nbackend = "postgres"\n'
        '[plugin.postgres]\ndsn = { env = "DSN" }\n'
    )
    hidden = quietzone(
        "check", QUIETZONE_CONFIG=config, DSN="postgresql://user:hunter2@127.0.0.1:1/quietzone"
    )
    assert "hunter2" not in hidden.stdout + hidden.stderr
    assert "********" in hidden.stdout


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("[service]\nworkerz = 3\n", "service.workerz"),
        ("[servce]\n", "servce: unknown section"),
        ("[service]\nworkers = 0\n", "service.workers"),
        ('[service]\nbind = "nowhere"\n', "service.bind"),
        ('[service]\nbase_url = { env = "NOT_SET_ANYWHERE" }\n', "NOT_SET_ANYWHERE"),
        ('[plugins]\nenabled = ["segno", "pgn"]\n', "pgn"),
        ('[plugin.sqlite]\npaht = "x"\n', "plugin.sqlite.paht"),
        ('[cache]\nbackend = "redis"\n', "cache.backend"),
        ('[scans]\nstore = "influx"\n', "scans.store"),
        (
            (
                "[plugins]\n"
                'enabled = ["segno", "png", "sqlite", "postgres", "shared_memory", "rolling"]\n'
                '[storage]\nbackend = "sqlite"\n[scans]\nstore = "postgres"\n'
                '[plugin.postgres]\ndsn = "host=127.0.0.1"\n'
            ),
            "choose 'postgres' for both",
        ),
        ("not toml at all", "TOML"),
    ],
)
def test_check_exits_1_on_any_error_and_names_the_setting(
    quietzone: Shell, config: str, reason: str
) -> None:
    for command in ("check", "serve", "plugins"):
        done = quietzone(command, QUIETZONE_CONFIG=quietzone.config(config))
        assert done.returncode == 1, (command, done.stdout)
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_plugins_lists_who_offers_what(quietzone: Shell) -> None:
    lines = {line.split()[0]: line for line in quietzone("plugins").stdout.splitlines()}
    assert "renderer png" in lines["png"]
    assert "storage sqlite, scan store sqlite" in lines["sqlite"]
    assert "not enabled" in lines["postgres"]
    assert "period 7d" in lines["rolling"]


def test_routes_shows_the_table(quietzone: Shell) -> None:
    lines = quietzone("routes").stdout.splitlines()
    assert len(lines) == sum(len(route.access) for route in ROUTES)
    assert any(
        line.split() == ["POST", "/api/organizations/{org_id}/qr-codes", "role", "editor"]
        for line in lines
    )


def test_demo_makes_an_organization_with_months_of_scans(quietzone: Shell) -> None:
    done = quietzone("demo", "--days", "30")
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert int(said["codes"]) == 8
    assert int(said["scans"]) > 1000
    assert said["organization"] == "sample"
    again = quietzone("demo")
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_init_can_be_run_again_when_the_first_organization_is_gone(quietzone: Shell) -> None:
    assert quietzone("init").returncode == 0
    app = create_app(load(environ={"QUIETZONE_DATA": quietzone.environ["QUIETZONE_DATA"]}))
    app.services.open()
    (only,) = app.services.storage.organizations.all()
    app.services.organizations.delete(only.id, by=OPERATOR)
    app.services.close()
    again = quietzone("init")
    assert again.returncode == 0, again.stderr
    assert "set up already" in again.stdout


def test_a_password_is_changed_and_never_ignored(installed: Shell) -> None:
    given = ("owner@example.com", "--password-stdin")
    changed = installed("user", "password", *given, stdin="another long phrase\n")
    assert changed.returncode == 0, changed.stderr
    assert installed("user", "password", *given, stdin="short\n").returncode == 1
    nobody = installed(
        "user", "password", "x@y.example", "--password-stdin", stdin="a phrase long enough\n"
    )
    assert "no account" in nobody.stderr
    installed("organization", "add", "Two")
    ignored = installed(
        "user", "add", *given, "--organization", "two", "--role", "member", stdin="a third phrase\n"
    )
    assert ignored.returncode == 1
    assert "quietzone user password" in ignored.stderr
    app = create_app(load(environ={"QUIETZONE_DATA": installed.environ["QUIETZONE_DATA"]}))
    app.services.open()
    app.services.accounts.sign_in(Credentials("owner@example.com", Secret("another long phrase")))
    app.services.close()


def test_what_commands_change_is_in_the_audit_log(quietzone: Shell) -> None:
    quietzone("migrate")
    made = quietzone("organization", "add", "Harbour")
    identity = made.stdout.split()[-1]
    words = ("--organization", "harbour", "--role", "editor", "--password-stdin")
    quietzone("user", "add", "anna@example.com", *words, stdin="a long pass phrase\n")
    app = create_app(load(environ={"QUIETZONE_DATA": quietzone.environ["QUIETZONE_DATA"]}))
    app.services.open()
    app.services.organizations.delete(UUID(identity), by=OPERATOR)
    app.services.close()

    log = quietzone("audit", identity)
    assert log.returncode == 0, log.stderr
    rows = list(csv.DictReader(io.StringIO(log.stdout)))
    assert [(row["action"], row["actor_kind"], row["subject_label"]) for row in rows] == [
        ("organization.delete", "operator", "harbour"),
        ("member.add", "operator", "anna@example.com"),
        ("organization.create", "operator", "harbour"),
    ]
    assert rows[0]["actor_name"] == ""
    assert {row["actor_name"] for row in rows[1:]} == {getpass.getuser()}
    assert json.loads(rows[1]["changes"]) == {"role": {"before": None, "after": "editor"}}
    assert "pass phrase" not in log.stdout
    nonsense = quietzone("audit", "harbour")
    assert nonsense.returncode == 2
    assert "Traceback" not in nonsense.stderr


def make_key(quietzone: Shell) -> tuple[str, str]:
    """A new API key of the first organisation: its id and its token."""
    app = create_app(load(environ={"QUIETZONE_DATA": quietzone.environ["QUIETZONE_DATA"]}))
    app.services.open()
    try:
        (only,) = app.services.storage.organizations.all()
        token, key = app.services.accounts.new_key(only.id, "till", Role.MEMBER, None)
    finally:
        app.services.close()
    return str(key.id), token


def test_the_first_account_is_an_operator_and_others_are_made(installed: Shell) -> None:
    assert installed("operator", "list").stdout == "owner@example.com\n"
    words = ("--organization", "main", "--role", "member", "--password-stdin")
    installed("user", "add", "anna@example.com", *words, stdin="a long pass phrase\n")
    assert installed("operator", "list").stdout == "owner@example.com\n"

    for _ in range(2):
        added = installed("operator", "add", "Anna@Example.com")
        assert added.stdout == "anna@example.com is an operator.\n", added.stderr
    assert installed("operator", "list").stdout == "anna@example.com\nowner@example.com\n"

    removed = installed("operator", "remove", "anna@example.com")
    assert removed.stdout == "anna@example.com is no operator any more.\n", removed.stderr
    again = installed("operator", "remove", "anna@example.com")
    assert again.returncode == 1
    assert again.stderr == (
        "Error: anna@example.com is no operator; 'quietzone operator list' shows who is one\n"
    )


def test_a_key_is_made_an_operators_and_none_again(installed: Shell) -> None:
    installed("operator", "remove", "owner@example.com")
    nobody = installed("operator", "list")
    assert nobody.stdout == "There is no operator; make one with 'quietzone operator add'.\n"
    key_id, token = make_key(installed)
    name = f"{key_id} (API key 'till' of main)"

    added = installed("operator", "add", key_id)
    assert added.stdout == f"{name} is an operator.\n", added.stderr
    assert installed("operator", "list").stdout == f"{name}\n"
    assert installed("operator", "remove", key_id).stdout == f"{name} is no operator any more.\n"
    assert installed("operator", "remove", key_id).returncode == 1

    mistaken = installed("operator", "add", token)
    assert mistaken.returncode == 1
    assert "WHO: is the token of a key; give the key's id" in mistaken.stderr
    assert token not in mistaken.stderr


@pytest.mark.parametrize("command", ["add", "remove"])
@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("x@y.example", "no account 'x@y.example'; create it with 'quietzone user add'"),
        ("2b0a5e1c-7c1e-4a86-9d3f-0d6d6d0f7a11", "no API key of the id 2b0a5e1c"),
        ("owner", "neither an account's e-mail address nor the id of an API key"),
        ("", "neither"),
    ],
)
def test_an_unknown_operator_is_told_with_the_way_out(
    installed: Shell, command: str, who: str, reason: str
) -> None:
    done = installed("operator", command, who)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert installed("operator", "list").stdout == "owner@example.com\n"


def test_serve_refuses_a_database_that_was_never_migrated(quietzone: Shell) -> None:
    done = quietzone.apart("serve")
    assert done.returncode == 1
    assert "quietzone migrate" in done.stderr


def test_serve_refuses_a_data_folder_that_cannot_be_used_in_one_line(quietzone: Shell) -> None:
    done = quietzone.apart("serve", QUIETZONE_DATA="/dev/null/x")
    assert done.returncode == 1
    assert "service.data" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_settings_file_states_only_what_differs(quietzone: Shell) -> None:
    config = quietzone.config("[codes]\nslug_length = 10\n")
    done = quietzone("check", QUIETZONE_CONFIG=config, QUIETZONE_BIND="127.0.0.1:1234")
    assert "slug_length = 10" in done.stdout
    assert "bind = '127.0.0.1:1234'" in done.stdout
    assert repr(quietzone.environ["QUIETZONE_DATA"]) in done.stdout
    assert "run 'quietzone migrate'" in done.stdout
    assert not (quietzone.folder / "data").exists()


def test_render_draws_every_look_without_a_database(quietzone: Shell, tmp_path: Path) -> None:
    logo = tmp_path / "logo.svg"
    logo.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">'
        '<circle cx="4" cy="4" r="4"/></svg>'
    )
    file = tmp_path / "code.png"
    look = ["--color", "#0a3d62", "--shape", "rounded", "--caption", "Scan me"]
    done = quietzone(
        "render", "HELLO", "-o", str(file), "--size", "400", *look, "--logo", str(logo)
    )
    assert done.returncode == 0, done.stderr
    with Image.open(file) as image:
        assert image.size == (400, 400)
        assert read(image.convert("L")).text == "HELLO"
    assert not (tmp_path / "data").exists()


def test_render_shows_a_code_in_the_terminal(quietzone: Shell) -> None:
    done = quietzone("render", "HELLO")
    assert done.returncode == 0, done.stderr
    assert "▄" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "no/such/folder/x.png"], "--output: no/such/folder/x.png cannot be written"),
        (["-o", "x.xyz"], "--output: no enabled format has files that end with .xyz"),
        (["--json"], "TEXT: is not JSON"),
        (["--format", "gif"], "format: 'gif' is unknown"),
        (["--logo", "pyproject.toml"], "--logo: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_render_says_what_is_wrong(quietzone: Shell, arguments: list[str], words: str) -> None:
    done = quietzone("render", "HELLO", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_render_tells_what_each_option_takes(quietzone: Shell) -> None:
    done = quietzone("render", "--help")
    assert done.returncode == 0
    told = " ".join(done.stdout.split())
    own = {"format", "logo", "style", "download"}
    for name in set(ImageOptions.__struct_fields__) - own:
        assert re.search(rf"--{name.replace('_', '-')} TEXT [A-Z]", told), name
    for choices in (ModuleShape, FinderShape, ErrorCorrection, SymbolKind):
        assert f"One of {', '.join(choices)}." in told
    assert "0 to 20" in told


@pytest.mark.parametrize(
    "arguments", [["--format", "jpeg", "--background", "transparent"], ["--color", "#0a3d62"]]
)
def test_render_advises_nothing_that_it_lacks(quietzone: Shell, arguments: list[str]) -> None:
    done = quietzone("render", "HELLO", *arguments)
    assert done.returncode == 1
    assert "format: " in done.stderr
    assert "style" not in done.stderr


def test_render_draws_a_typed_content(quietzone: Shell, tmp_path: Path) -> None:
    file = tmp_path / "wifi.png"
    done = quietzone("render", "--json", '{"type": "text", "text": "a;b"}', "-o", str(file))
    assert done.returncode == 0, done.stderr
    with Image.open(file) as image:
        assert read(image.convert("L")).text == "a;b"


def test_render_refuses_what_cannot_be_scanned(quietzone: Shell, tmp_path: Path) -> None:
    file = tmp_path / "code.svg"
    done = quietzone("render", "HELLO", "-o", str(file), "--color", "#ffee00")
    assert done.returncode == 1
    assert "color: the contrast of #ffee00" in done.stderr
    assert not file.exists()


def leave_scans(quietzone: Shell, count: int) -> Path:
    """Scans in the journal that nobody has drained; its folder."""
    app = create_app(load(None, quietzone.environ))
    services = app.services
    services.open()
    try:
        (organization,) = services.storage.organizations.all()
        draft = CodeDraft(destination="https://example.com")
        code = services.codes.create(organization.id, draft, by=OPERATOR)
        for n in range(count):
            visit = Visit(code.id, organization.id, services.clock(), f"192.0.2.{n}", "Phone/1.0")
            services.journal.record(visit)
        services.journal.miss()
    finally:
        services.close()
    return app.settings.journal


def test_scans_are_drained_by_hand_while_no_service_does(installed: Shell) -> None:
    folder = leave_scans(installed, 3)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = installed("scans", "drain")
    assert refused.returncode == 1
    assert refused.stderr == ("Error: the service is running, and drains its journal by itself\n")
    done = installed("scans", "drain")
    assert (done.stdout, done.stderr) == ("drained: 3\n", "")
    assert not list(folder.glob(f"*{SUFFIX}"))
    assert installed("scans", "drain").stdout == "drained: 0\n"


def test_scans_status_tells_all_that_is_known(installed: Shell) -> None:
    before = installed("scans", "status").stdout.splitlines()
    assert before[0] == "Nothing was drained on this machine yet."
    folder = leave_scans(installed, 3)
    LossCounter(folder, lambda: datetime(2026, 5, 6, 12, tzinfo=UTC)).add(dropped=7, unsynced=2)
    (folder / f"strange{SUFFIX}").mkdir()
    installed("scans", "drain")
    drainer, backlog, stuck, losses, today = installed("scans", "status").stdout.splitlines()
    assert drainer.startswith("drainer: ok, last seen 20")
    assert backlog == "backlog: 0 bytes"
    assert stuck == "files: 1 cannot be stored, such as strange.scans: Is a directory"
    assert losses == (
        "since 2026-05-06 12:00:00 UTC: 7 not recorded, 2 times not confirmed by the disk, "
        "the last time at 2026-05-06 12:00:00 UTC"
    )
    assert today.endswith(": 1 of unknown slugs, 0 not recorded")


def test_scans_status_tells_what_this_machine_knows_while_the_store_is_away(
    installed: Shell,
) -> None:
    folder = leave_scans(installed, 3)
    LossCounter(folder, lambda: datetime(2026, 5, 6, 12, tzinfo=UTC)).add(dropped=7)
    database = installed.folder / "data" / "quietzone.db"
    database.rename(database.with_name("elsewhere"))
    database.mkdir()
    done = installed("scans", "status")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "7 not recorded" in done.stdout


def test_the_cache_tells_its_state_and_is_cleared(installed: Shell) -> None:
    told = installed("cache", "stats")
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(
        "cache: shared_memory, shared by all workers; workers counted here: 0\n"
    )
    assert re.search(r"^image +minute +0 +- ", told.stdout, re.MULTILINE)
    assert re.search(r"^session +start +0 +- ", told.stdout, re.MULTILINE)
    only = installed("cache", "stats", "timeline").stdout
    assert "timeline" in only
    assert "image" not in only
    assert installed("cache", "clear", "stats").stdout == "cleared: stats\n"
    assert installed("cache", "clear", "all").stdout == "cleared: image, proof, stats, timeline\n"
    storage = create_app(load(environ=installed.environ)).services.storage
    storage.open()
    try:
        numbers = storage.cache_epochs.all()
    finally:
        storage.close()
    assert numbers == {"image": 1, "proof": 1, "stats": 2, "timeline": 1}
    refused = installed("cache", "clear", "session")
    assert refused.returncode == 2
    assert "image" in refused.stderr

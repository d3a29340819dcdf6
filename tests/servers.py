"""Real servers for tests: started in a folder of their own, stopped by those who started them."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg

from core.api import PluginContext, ScanStore, Secret, Storage
from plugins.storage.postgres import PostgresPlugin, PostgresSettings
from plugins.storage.sqlite import SqlitePlugin, SqliteSettings

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian keeps servers, one folder a version, outside PATH."""

HINT = "run `make test`, which says what to install"


@dataclass
class Backend:
    """One database with what its plugin, made anew, offers for it."""

    name: str
    settings: Any
    context: PluginContext
    storage: Storage
    scans: ScanStore

    @classmethod
    def of(cls, name: str, settings: Any, context: PluginContext) -> Backend:
        """The storage and the scan store of a plugin, not opened yet."""
        plugin: Any = {"sqlite": SqlitePlugin, "postgres": PostgresPlugin}[name]()
        storage = plugin.qz_storages(settings=settings, context=context)[name]
        scans = plugin.qz_scan_stores(settings=settings, context=context)[name]
        return cls(name, settings, context, storage, scans)

    @classmethod
    def at(cls, name: str, place: str) -> Backend:
        """A database by the path of its file or by its dsn, as another process is told of it."""
        settings: Any = (
            SqliteSettings(path=place) if name == "sqlite" else PostgresSettings(dsn=Secret(place))
        )
        context = PluginContext(data=Path("unused"), base_url="http://localhost")
        return cls.of(name, settings, context)

    @property
    def place(self) -> str:
        """What `at` takes to get here."""
        if self.name == "sqlite":
            return str(self.context.data / "quietzone.db")
        dsn: Secret = self.settings.dsn
        return dsn.reveal()

    def again(self) -> Backend:
        """The same database as another process would see it, not opened yet."""
        return Backend.of(self.name, self.settings, self.context)


class Postgres:
    """A PostgreSQL server on a socket in a new folder; `stop` removes both.

    One that is `durable` waits for the disk, as a server that keeps data does.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._durable = durable
        self._bin = _postgres_bin()
        self._folder = Path(tempfile.mkdtemp(prefix="quietzone-postgres-"))
        # initdb refuses to run as root, and so does the server.
        self._user = _unprivileged_user() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", self._data, "-U", "quietzone", "-A", "trust", "-E", "UTF8", "-N")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def dsn(self, database: str = "postgres") -> str:
        """What leads to a database of the server."""
        return f"host={self._folder} user=quietzone dbname={database}"

    def start(self) -> None:
        """Start the server, again after it was stopped, and wait until it answers."""
        assert self._process is None, "the server runs already"
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._folder),
            "max_connections": "100",
            "shared_buffers": "32MB",
        }
        if not self._durable:
            # Nothing here has to outlive the machine.
            options |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        arguments = [f"-c{name}={value}" for name, value in options.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, *arguments],
                stdout=log,
                stderr=log,
                **self._identity(),
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def halt(self) -> None:
        """Stop the server at once, cutting every connection."""
        # PostgreSQL's fast shutdown.
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop the server as if it had crashed: the next start has to recover the databases."""
        # PostgreSQL's immediate shutdown.
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """Stop the server and remove its files."""
        if self._process is not None:
            self.halt()
        shutil.rmtree(self._folder)

    def create_database(self, template: str = "template0") -> str:
        """Make a database, like `template`; its name."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, with whoever is still connected to it."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)
        self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, **self._identity()
        )
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {result.stderr}")

    def _identity(self) -> dict[str, Any]:
        identity: dict[str, Any] = {"cwd": self._folder, "env": {**os.environ, "LC_ALL": "C"}}
        if self._user is not None:
            identity |= {
                "user": self._user.pw_uid,
                "group": self._user.pw_gid,
                "extra_groups": [],
            }
        return identity


class Copies:
    """Copies of one database, each used again and again.

    PERF: PostgreSQL needs a fifth of a second to make one, and a hundredth of that to empty one.
    """

    def __init__(self, server: Postgres, template: str) -> None:
        self._server = server
        self._template = template
        self._idle: list[str] = []
        with psycopg.connect(server.dsn(template), autocommit=True) as connection:
            every = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
            self._tables = [name for (name,) in every]
            # What migrations have put there is kept beside it.
            connection.execute("CREATE SCHEMA kept")
            self._filled = []
            for table in self._tables:
                connection.execute(f"CREATE TABLE kept.{table} AS TABLE {table}")
                if connection.execute(f"SELECT 1 FROM {table}").fetchone() is None:
                    connection.execute(f"DROP TABLE kept.{table}")
                else:
                    self._filled.append(table)
            found = connection.execute("SELECT sequencename, last_value FROM pg_sequences")
            self._sequences = found.fetchall()
            self._made = _youngest_definition(connection)

    def take(self) -> str:
        """The name of a database that is like the template."""
        return self._idle.pop() if self._idle else self._server.create_database(self._template)

    def give_back(self, name: str) -> None:
        """Let others have it, emptied; or drop it, where tables have changed."""
        with psycopg.connect(self._server.dsn(name), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            unchanged = _youngest_definition(connection) == self._made
            if unchanged:
                # Neither triggers nor foreign keys are asked.
                connection.execute("SET session_replication_role = replica")
                statements = [f"DELETE FROM {table}" for table in self._tables]
                statements += [
                    f"INSERT INTO {table} SELECT * FROM kept.{table}" for table in self._filled
                ]
                connection.execute(";".join(statements))
                for sequence, value in self._sequences:
                    connection.execute(
                        "SELECT setval(%s, %s, %s)", (sequence, value or 1, value is not None)
                    )
        if unchanged:
            self._idle.append(name)
        else:
            self._server.drop_database(name)


def _youngest_definition(connection: psycopg.Connection[Any]) -> int:
    """The last transaction that has changed a table, an index or anything of that kind."""
    catalogs = ("class", "attribute", "constraint", "index", "trigger", "proc", "type", "sequence")
    each = [f"SELECT max(xmin::text::bigint) AS number FROM pg_{name}" for name in catalogs]
    row = connection.execute(f"SELECT max(number) FROM ({' UNION ALL '.join(each)}) AS found")
    (number,) = row.fetchone() or (0,)
    return int(number)


class Memcached:
    """A memcached server on a port of the loopback interface, or on a Unix socket.

    It keeps its port from start to start. `options` are those of its command line; with `tls`, the
    paths of a certificate and its key, it speaks nothing else.
    """

    def __init__(
        self, *options: str, unix: bool = False, tls: tuple[Path, Path] | None = None
    ) -> None:
        found = shutil.which("memcached")
        if found is None:
            raise FileNotFoundError(f"no memcached in PATH; {HINT}")
        self._program = found
        self._options = options
        self._tls = tls
        self._folder = Path(tempfile.mkdtemp(prefix="quietzone-memcached-"))
        self.port = 0 if unix else free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def name(self) -> str:
        """What the settings call it."""
        return f"127.0.0.1:{self.port}" if self.port else f"unix:{self._folder / 'socket'}"

    def start(self) -> None:
        """Start the server, empty, and wait until it accepts connections."""
        assert self._process is None, "the server runs already"
        arguments = ["-U", "0", *self._options]
        if self._tls is not None:
            certificate, key = self._tls
            arguments += ["-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={key}"]
        if self.port:
            arguments += ["-l", "127.0.0.1", "-p", str(self.port)]
        else:
            arguments += ["-s", str(self._folder / "socket"), "-a", "0777"]
        if os.geteuid() == 0:
            # It would have to give up its rights to somebody who may read the folder.
            arguments += ["-u", "root"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *arguments], stdout=log, stderr=log, cwd=self._folder
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def connect(self) -> socket.socket:
        """A bare connection to it."""
        if self.port:
            return socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        try:
            connection.connect(str(self._folder / "socket"))
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, command: bytes) -> bytes:
        """What it answers to a command, up to the end of its first piece."""
        with self.connect() as connection:
            connection.sendall(command + b"\r\n")
            return connection.recv(65536)

    def keys(self) -> list[str]:
        """The keys of all that it holds."""
        with self.connect() as connection:
            connection.sendall(b"lru_crawler metadump all\r\n")
            answer = b""
            while not answer.endswith(b"END\r\n"):
                answer += connection.recv(65536)
                if answer.startswith(b"BUSY"):
                    # It is at it already, by itself.
                    answer = b""
                    connection.sendall(b"lru_crawler metadump all\r\n")
        return [unquote(key) for key in re.findall(r"key=(\S+)", answer.decode())]

    def suspend(self) -> None:
        """Let it accept connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The signal takes a moment to reach all of its threads.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)
        self._process = None

    def stop(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder)


def free_port() -> int:
    """A port of the loopback interface on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Children:
    """Processes that run the same Python text with arguments of their own, let loose together.

    The text is given `start()`, which returns once all of them have got there.
    """

    def __init__(self, text: str, arguments: Sequence[Sequence[str]]) -> None:
        preamble = "import sys\ndef start(): print('ready', flush=True); sys.stdin.readline()\n"
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", preamble + text, *each],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for each in arguments
        ]

    def __enter__(self) -> Children:
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def go(self) -> None:
        """Let them loose."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

    def lines(self) -> list[str]:
        """What each has printed once it has ended well."""
        outputs = [process.communicate(timeout=60)[0].strip() for process in self._processes]
        assert [process.returncode for process in self._processes] == [0] * len(outputs)
        return outputs

    @property
    def first(self) -> subprocess.Popen[str]:
        """The first of them."""
        return self._processes[0]


def _postgres_bin() -> Path:
    installed = sorted(
        DEBIAN.glob("*/bin/initdb"),
        key=lambda path: int(path.parts[-3]) if path.parts[-3].isdigit() else 0,
    )
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    if found is None:
        raise FileNotFoundError(f"no PostgreSQL server (initdb) in {DEBIAN} or PATH; {HINT}")
    return Path(found).resolve().parent


def _unprivileged_user() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LookupError(f"neither the user postgres nor nobody is there to run a server; {HINT}")

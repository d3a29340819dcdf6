"""Connections to cache servers that end at a deadline, whatever the server does.

pymemcache waits at most its timeout for each piece that arrives, so a server that sends a byte at a
time holds a command for as long as it likes. Here all that belongs to one operation (connecting,
the TLS handshake, signing in, sending, each piece of the answer) counts down one deadline.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Event, Lock, Thread
from typing import Any

Clock = Callable[[], float]
Place = tuple[str, int] | str
"""A host and its port, or the path of a Unix socket."""

_PIECE = 65536
_LATE_PIECES = 16

_CHANCE = 0.01
"""So long, in seconds, a server is waited for at least, however late it was asked."""

_TOO_LATE = "the server has not answered in time"

_NO_OP = b"\r\nmn\r\n"
_NO_OP_DONE = b"MN\r\n"

_deadline: ContextVar[float] = ContextVar("deadline")


class deadline:  # noqa: N801 - it is used as a function is.
    """All connections that are used in the block, by this thread or greenlet, end after `seconds`.

    Within another deadline the earlier one holds.
    """

    # PERF: a class of its own takes a third of the time of a generator with @contextmanager.
    __slots__ = ("_token", "_until")

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._until = clock() + seconds

    def __enter__(self) -> None:
        until = self._until
        self._token = _deadline.set(min(until, _deadline.get(until)))

    def __exit__(self, *_: object) -> None:
        _deadline.reset(self._token)


def seconds_left(clock: Clock) -> float:
    """The time until the deadline of the operation that runs here."""
    return _deadline.get() - clock()


class Network:
    """Stands in for the module `socket` where pymemcache connects: its sockets are `Connection`s.

    `login` is the first command of a connection, if any. Names are resolved, and their addresses
    tried, by the connection, within its deadline.
    """

    AF_UNIX = socket.AF_UNIX
    AF_UNSPEC = socket.AF_UNSPEC
    SOCK_STREAM = socket.SOCK_STREAM
    IPPROTO_TCP = socket.IPPROTO_TCP
    TCP_NODELAY = socket.TCP_NODELAY

    def __init__(
        self,
        connect_timeout: float,
        clock: Clock,
        tls: ssl.SSLContext | None = None,
        login: bytes = b"",
    ) -> None:
        self.connect_timeout = connect_timeout
        self.clock = clock
        self.tls = tls
        self.login = login
        self.resolver = Resolver()
        self.epoch = 0
        self.waiting: set[Connection] = set()

    def renew(self) -> None:
        """End the waiting of all, and connect anew for whatever is sent from now on."""
        self.epoch += 1
        # NOTE: copied in one step, for other threads come and leave meanwhile.
        for connection in tuple(self.waiting):
            connection.wake()

    def getaddrinfo(self, host: str, port: int, *_: object) -> list[tuple[Any, ...]]:
        """One entry that stands for all addresses, since pymemcache would try the first alone."""
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    def socket(self, *_: object) -> Connection:
        """A connection that is not connected yet."""
        return Connection(self)


class Connection:
    """What pymemcache needs of a socket, under the deadline of whoever uses it."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._place: Place = ""
        self._socket: socket.socket | None = None
        self._poll = select.poll()
        self._epoch = 0
        self._is_new = True
        self._ends_with_no_op = False
        self._late = 0
        self._waited = 0.0

    def settimeout(self, _: float | None) -> None:
        """Nothing: the deadline holds."""

    def setsockopt(self, *_: object) -> None:
        """Nothing: `connect` sets what is needed."""

    def connect(self, place: Place) -> None:
        """Connect, and sign in; raises OSError."""
        self._place = place
        self._epoch = self._network.epoch
        self._waited = 0.0
        with deadline(self._network.connect_timeout, self._network.clock):
            errors: list[OSError] = []
            for family, address in self._addresses():
                try:
                    self._open(family, address)
                except OSError as error:
                    self.close()
                    errors.append(error)
                else:
                    return
            raise errors[0]

    def sendall(self, data: bytes) -> None:
        """Send a command, over a new connection where the one from before is of no use any more."""
        if not self._is_new and not self._is_usable():
            self.close()
            self.connect(self._place)
        self._is_new = False
        self._late = 0
        self._waited = 0.0
        self._ends_with_no_op = data.startswith((b"ma ", b"delete ")) and data.endswith(_NO_OP)
        self._send(data)

    def recv(self, _: int) -> bytes:
        """What has arrived, possibly more than was asked for; raises TimeoutError."""
        if not self._ends_with_no_op:
            return self._receive()
        # NOTE: of an answer to `raw_command` that comes in pieces pymemcache 4.0 keeps the last one
        # alone, and does not see an end that is torn in two: so it is given all of it at once.
        answer = bytearray()
        while not answer.endswith(_NO_OP_DONE):
            piece = self._receive()
            if not piece:
                return b""
            answer += piece
        return bytes(answer)

    def _receive(self) -> bytes:
        connected = self._connected()
        if self._left() <= 0:
            # What has arrived in time counts, even if the process was busy with something else
            # meanwhile, such as a greenlet that draws. Who sends without end must not use that.
            self._late += 1
            if self._late > _LATE_PIECES:
                raise TimeoutError(_TOO_LATE)
        while True:
            try:
                return connected.recv(_PIECE)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._poll.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def wake(self) -> None:
        """Have the thread or greenlet that waits here see that the network was renewed."""
        waited_for = self._socket
        if waited_for is not None:
            # What was shut down is ready for anything. It may just have been closed.
            with suppress(OSError):
                waited_for.shutdown(socket.SHUT_RDWR)

    def _addresses(self) -> list[tuple[int, Any]]:
        if isinstance(self._place, str):
            return [(socket.AF_UNIX, self._place)]
        return self._network.resolver.addresses(*self._place, self._left())

    def _open(self, family: int, address: Any) -> None:
        self._adopt(socket.socket(family, socket.SOCK_STREAM))
        connected = self._connected()
        if family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connected.connect(address)
        except BlockingIOError:
            self._wait(select.POLLOUT)
            if not self._poll.poll(0):
                raise TimeoutError("the server does not accept the connection in time") from None
            if error := connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error)) from None
        if self._network.tls is not None and not isinstance(self._place, str):
            self._poll.unregister(connected)
            self._socket = None
            with _closing_on_error(connected):
                self._adopt(
                    self._network.tls.wrap_socket(
                        connected, server_hostname=self._place[0], do_handshake_on_connect=False
                    )
                )
            self._shake_hands()
        self._is_new = True
        if self._network.login:
            self._sign_in()

    def _adopt(self, opened: socket.socket) -> None:
        opened.setblocking(False)
        self._socket = opened
        self._poll.register(opened, select.POLLIN)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("the connection is closed")
        return self._socket

    def _shake_hands(self) -> None:
        connected = self._connected()
        assert isinstance(connected, ssl.SSLSocket)
        while True:
            try:
                return connected.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def _sign_in(self) -> None:
        self._send(self._network.login)
        answer = b""
        while not answer.endswith(b"\r\n"):
            piece = self._receive()
            if not piece or len(answer) > _PIECE:
                break
            answer += piece
        if answer != b"STORED\r\n":
            # NOTE: what the server says is not repeated, since it might repeat the password.
            raise ConnectionError("the server refuses username and password")

    def _is_usable(self) -> bool:
        """Whether an idle connection is still one, with nothing left over from another answer."""
        if self._socket is None or not self._is_current():
            return False
        try:
            # Nothing was asked for, so whatever can be read is its end, or no answer to us.
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def _send(self, data: bytes) -> None:
        connected = self._connected()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[connected.send(rest) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)

    def _wait(self, event: int) -> None:
        """Wait until the socket may be ready; raises TimeoutError after the deadline.

        Who was late himself waits for `_CHANCE` all the same. Raises ConnectionError once the
        network was renewed: what one has waited for in vain, nobody else needs to wait for.
        """
        left = self._left()
        if left <= 0:
            # The time may have passed before the server was asked at all: each system call hands
            # the interpreter to the threads that draw, which give it back 5 ms later. Without a
            # chance, servers would be left aside while they are needed most.
            left = _CHANCE - self._waited
            if left <= 0:
                raise TimeoutError(_TOO_LATE)
        self._poll.modify(self._connected(), event)
        began = self._network.clock()
        self._network.waiting.add(self)
        try:
            # NOTE: looked at after joining those who are woken, so that nobody is overlooked.
            ready = self._poll.poll(left * 1000) if self._is_current() else []
        finally:
            self._network.waiting.discard(self)
        if not self._is_current():
            raise ConnectionError("the server has failed others meanwhile")
        self._waited += max(self._network.clock() - began, 0.0 if ready else left)

    def _is_current(self) -> bool:
        return self._epoch == self._network.epoch

    def _left(self) -> float:
        return seconds_left(self._network.clock)


class Resolver:
    """Finds the addresses of names without letting a slow name server hold up whoever waits."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[tuple[str, int], list[tuple[int, Any]]] = {}
        self._asked: dict[tuple[str, int], Event] = {}

    def addresses(self, host: str, port: int, seconds: float) -> list[tuple[int, Any]]:
        """Families and addresses, those of the last time where the answer takes too long."""
        place = host, port
        try:
            return _look_up(host, port, socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        with self._lock:
            answered = self._asked.get(place)
            if answered is None:
                answered = self._asked[place] = Event()
                Thread(target=self._ask, args=(place, answered), daemon=True).start()
        answered.wait(max(0.0, seconds))
        with self._lock:
            if place not in self._known:
                raise TimeoutError(f"the address of {host} is not known")
            return self._known[place]

    def _ask(self, place: tuple[str, int], answered: Event) -> None:
        try:
            found = _look_up(*place)
        except OSError:
            found = []
        with self._lock:
            if found:
                self._known[place] = found
            del self._asked[place]
        answered.set()


def _look_up(host: str, port: int, flags: int = 0) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]


@contextmanager
def _closing_on_error(opened: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        opened.close()
        raise

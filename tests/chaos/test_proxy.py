"""The proxy does what it says, or no scenario proves anything."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from chaos.frames import Frames
from chaos.proxy import Mode, Proxy
from support.waiting import wait_for

PUBACK = b"\x40\x02\x00\x07"
PUBLISH = b"\x32\x85\x01" + b"\x00\x01t\x00\x07" + b"a" * 128

Connect = Callable[[], socket.socket]


class Echo:
    """Says `re:` and what it has heard."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while said := client.recv(65536):
                self.heard += said
                client.sendall(b"re:" + said)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    made = Proxy(echo.port)
    yield made
    made.close()


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Connect]:
    with contextlib.ExitStack() as closing:

        def connected() -> socket.socket:
            return closing.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 5))

        yield connected


def says_nothing(client: socket.socket) -> bool:
    client.settimeout(0.2)
    try:
        return client.recv(100) == b"never"
    except TimeoutError:
        return True


def test_it_passes_everything_on(connect: Connect) -> None:
    client = connect()

    client.sendall(b"hello")

    assert client.recv(100) == b"re:hello"


def test_a_cut_ends_what_is_open_and_what_is_opened(proxy: Proxy, connect: Connect) -> None:
    client = connect()
    client.sendall(b"hello")
    client.recv(100)

    proxy.set(Mode.CUT)

    assert client.recv(100) == b""
    assert connect().recv(100) == b""


def test_after_a_cut_it_passes_again(proxy: Proxy, connect: Connect) -> None:
    proxy.set(Mode.CUT)
    proxy.set(Mode.PASS)
    client = connect()

    client.sendall(b"hello")

    assert client.recv(100) == b"re:hello"


def test_a_hole_takes_everything_and_says_nothing(proxy: Proxy, connect: Connect, echo: Echo) -> None:
    proxy.set(Mode.HOLE)
    client = connect()

    client.sendall(b"hello")

    assert says_nothing(client)
    assert echo.heard == b""


def test_one_way_is_the_way_up(proxy: Proxy, connect: Connect, echo: Echo) -> None:
    proxy.set(Mode.UP_ONLY)
    client = connect()

    client.sendall(b"hello")

    wait_for(lambda: echo.heard == b"hello")
    assert says_nothing(client)


def test_a_connection_that_lost_something_ends_and_one_that_did_not_goes_on(proxy: Proxy, connect: Connect) -> None:
    busy, quiet = connect(), connect()
    quiet.sendall(b"hello")
    quiet.recv(100)
    proxy.set(Mode.HOLE)
    busy.sendall(b"lost")
    assert says_nothing(busy)

    proxy.set(Mode.PASS)

    assert busy.recv(100) == b""
    quiet.sendall(b"still here")
    assert quiet.recv(100) == b"re:still here"


def test_a_withheld_request_never_arrives(proxy: Proxy, connect: Connect, echo: Echo) -> None:
    trap = proxy.trap(b"marker", "request")
    client = connect()
    client.sendall(b"before;")
    client.recv(100)

    client.sendall(b"the marker is here")

    assert trap.sprung.wait(5)
    assert says_nothing(client)
    assert echo.heard == b"before;"


def test_a_withheld_reply_is_one_to_a_request_that_arrived(proxy: Proxy, connect: Connect, echo: Echo) -> None:
    trap = proxy.trap(b"marker", "reply")
    client = connect()

    client.sendall(b"the mar")
    client.recv(100)
    client.sendall(b"ker is here")

    assert trap.sprung.wait(5)
    wait_for(lambda: echo.heard == b"the marker is here")
    assert says_nothing(client)


def test_a_trap_catches_the_nth_and_harms_no_other_connection(proxy: Proxy, connect: Connect) -> None:
    trap = proxy.trap(b"EVALSHA", "reply", nth=2)
    first, second = connect(), connect()
    first.sendall(b"EVALSHA 1")
    assert first.recv(100) == b"re:EVALSHA 1"

    second.sendall(b"EVALSHA 2")

    assert trap.sprung.wait(5)
    assert says_nothing(second)
    first.sendall(b"EVALSHA 3")
    assert first.recv(100) == b"re:EVALSHA 3"


def test_pubacks_are_withheld_and_nothing_else(echo: Echo) -> None:
    proxy = Proxy(echo.port, "mqtt")
    proxy.withholds_pubacks = True

    with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
        client.sendall(PUBLISH + PUBACK + PUBLISH)
        wait_for(lambda: len(echo.heard) == 2 * len(PUBLISH))
    proxy.close()

    assert echo.heard == PUBLISH * 2


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_packets_are_found_however_they_arrive(size: int) -> None:
    stream, frames = (PUBLISH + PUBACK) * 3, Frames()

    found = [frame for at in range(0, len(stream), size) for frame in frames.split(stream[at : at + size])]

    assert found == [PUBLISH, PUBACK] * 3

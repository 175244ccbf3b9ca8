"""A TCP proxy that does to a connection what networks and dying servers do.

    pass      everything goes through
    cut       every connection ends at once, and new ones end as soon as they are made
    hole      connections stay and are made, and nothing goes through: no data, no end
    one way   only what the server says arrives, or only what the client says

No network takes bytes out of the middle of a connection: one that lost some ends when everything goes through again.

Beside these, a `Trap` waits for one request and withholds that, or its reply, from then on; and what a client of MQTT
acknowledges can be withheld while everything else goes through.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from chaos.frames import Frames, is_puback

CHUNK: Final = 65536

Speaks = Literal["bytes", "mqtt"]


class Mode(Enum):
    PASS = "pass"
    CUT = "cut"
    HOLE = "hole"
    UP_ONLY = "up only"
    DOWN_ONLY = "down only"


@dataclass
class Trap:
    """Springs at the `nth` piece of data from a client that holds `marker`; what is on that connection stays there.

    The request is withheld, so that it never happened; or its reply, so that nobody knows that it happened.
    """

    marker: bytes
    withheld: Literal["request", "reply"]
    nth: int = 1
    sprung: threading.Event = field(default_factory=threading.Event)
    _tail: bytes = b""

    def springs(self, data: bytes) -> bool:
        """Look at what a client says next; the marker may have been torn apart."""
        seen = self._tail + data
        self._tail = seen[-len(self.marker) + 1 :] if len(self.marker) > 1 else b""
        if self.marker not in seen:
            return False
        self.nth -= 1
        self._tail = b""
        return self.nth <= 0


class Proxy:
    """Forwards connections on `port` to the server on `target`."""

    def __init__(self, target: int, speaks: Speaks = "bytes") -> None:
        self._target = target
        self._speaks = speaks
        self._lock = threading.Lock()
        self._wires: set[Wire] = set()
        self._trap: Trap | None = None
        self.mode = Mode.PASS
        self.withholds_pubacks = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: Mode) -> None:
        """Change what happens, to open connections too."""
        self.mode = mode
        if mode is Mode.CUT:
            self.hang_up()
        elif mode is Mode.PASS:
            self.hang_up(lossy_only=True)

    def hang_up(self, *, lossy_only: bool = False) -> None:
        """End every connection there is, or those that have lost something."""
        with self._lock:
            wires = [wire for wire in self._wires if wire.lossy or not lossy_only]
        for wire in wires:
            wire.end()

    def trap(self, marker: bytes, withheld: Literal["request", "reply"], nth: int = 1) -> Trap:
        """Lay a trap in the place of the one before."""
        self._trap = Trap(marker, withheld, nth)
        return self._trap

    def caught_by(self, data: bytes) -> Trap | None:
        """Return the trap that springs at what a client says."""
        with self._lock:
            trap = self._trap
            if trap is None or not trap.springs(data):
                return None
            self._trap = None
            return trap

    def close(self) -> None:
        self.set(Mode.CUT)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        if self.mode is Mode.CUT:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        wire = Wire(self, client, server, Frames() if self._speaks == "mqtt" else None)
        with self._lock:
            self._wires.add(wire)
        wire.carry()
        with self._lock:
            self._wires.discard(wire)


class Wire:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket, frames: Frames | None) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._frames = frames
        self.lossy = False
        self._dead_up = False
        self._dead_down = False
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def carry(self) -> None:
        """Return when the connection has ended."""
        upward = threading.Thread(target=self._pump_up, daemon=True)
        upward.start()
        self._pump_down()
        upward.join()
        self._client.close()
        self._server.close()

    def end(self) -> None:
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _pump_up(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._client.recv(CHUNK):
                if self._proxy.mode not in {Mode.PASS, Mode.UP_ONLY}:
                    self._dead_up = self.lossy = True
                if allowed := self._let_up(said):
                    self._server.sendall(allowed)
        self.end()

    def _let_up(self, said: bytes) -> bytes:
        trap = self._proxy.caught_by(said)
        if trap is not None:
            self._dead_down = True
            self._dead_up = trap.withheld == "request"
        allowed = b"" if self._dead_up else self._without_pubacks(said)
        if trap is not None and not self._dead_up:
            self._server.sendall(allowed)
            allowed = b""
        if trap is not None:
            trap.sprung.set()
        return allowed

    def _without_pubacks(self, said: bytes) -> bytes:
        if self._frames is None:
            return said
        frames = self._frames.split(said)
        return b"".join(frame for frame in frames if not (self._proxy.withholds_pubacks and is_puback(frame)))

    def _pump_down(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._server.recv(CHUNK):
                if self._proxy.mode not in {Mode.PASS, Mode.DOWN_ONLY}:
                    self._dead_down = self.lossy = True
                if not self._dead_down:
                    self._client.sendall(said)
        self.end()

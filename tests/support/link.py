"""A TCP proxy between a client and its broker: the cable that a test can pull."""

import contextlib
import socket
import threading


class Link:
    """Forwards connections to `port`. While it is cut, every connection ends at once."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._up = True
        self._serving = 0
        self.swallows = False
        self.swallowed = 0
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            self._up = False
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def mend(self) -> None:
        self._up = True
        self.swallows = False

    def swallow(self) -> None:
        """Let nothing reach the broker any more, and the client think that it does; `swallowed` counts bytes."""
        self.swallows = True

    @property
    def idle(self) -> bool:
        """Have both ends of every connection hung up."""
        return self._serving == 0

    def close(self) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        with self._lock:
            if not self._up:
                client.close()
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                client.close()
                return
            broker.settimeout(None)
            for end in (client, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [client, broker]
            self._serving += 1
        threading.Thread(target=self._serve, args=(client, broker), daemon=True).start()

    def _serve(self, client: socket.socket, broker: socket.socket) -> None:
        upward = threading.Thread(target=self._pump, args=(client, broker, True), daemon=True)
        upward.start()
        self._pump(broker, client, upward=False)
        upward.join()
        client.close()
        broker.close()
        with self._lock:
            self._serving -= 1

    def _pump(self, source: socket.socket, target: socket.socket, upward: bool) -> None:  # noqa: FBT001 (a direction)
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                if upward and self.swallows:
                    self.swallowed += len(received)
                else:
                    target.sendall(received)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

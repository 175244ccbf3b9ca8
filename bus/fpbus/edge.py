"""A publisher for devices: what `publish` took is on disk until the dispatcher has accepted or rejected it.

One file on purpose: it needs paho-mqtt, msgspec and Python, nothing else of fpbus, so that it can be copied to a
device.

    publish -> SQLite, synced -> [window] -> broker -> dispatcher -> `accepted` -> deleted

* A broker's PUBACK is no acceptance: a broker may lose what it confirmed. Only the dispatcher's answer ends a message.
* Every message has a run id, so sending it again makes no second run. It is sent again after 2 s, 4 s, ... 5 min, and
  at once after a new connection. The session is clean: nothing depends on what the broker remembers of us.
* Of the messages with one key only the oldest is `ready`; its end makes the next one ready. The sender takes ready
  messages only, up to `WINDOW` of them; all the others are on disk, none of them in memory.
* Answers come on the status topic of each run in the window, on the two topics of rejections, and on `reply_to`. With
  a user name in the URL that is `devices/<user>/answers`, which is all that a device may read under `fpbus acl`.
* The outbox has one writer: SQLite's exclusive lock keeps a second process out, and ends with the process.
"""  # noqa: INP001 (fpbus is a namespace)

import contextlib
import hashlib
import logging
import math
import os
import random
import re
import secrets
import select
import signal
import socket
import sqlite3
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, Self
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    import argparse  # a device that publishes has no command line to read

log = logging.getLogger(__name__)

#: How many messages may be unanswered at a time, and how many bytes of them.
WINDOW: Final = 500
WINDOW_BYTES: Final = 4 * 1024 * 1024
#: The dispatcher takes no more, unless it is configured to.
MOST_PAYLOAD_BYTES: Final = 1024 * 1024
RESEND_FIRST_S: Final = 2.0
RESEND_MAX_S: Final = 300.0
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 60.0
#: A connection that ends sooner counts as a failed attempt.
LASTING_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 5.0
KEEPALIVE_S: Final = 30
TICK_S: Final = 1.0
#: How long the answer to a message that was sent may come after its deadline.
GRACE_S: Final = 10.0
REJECTIONS_KEPT: Final = 10_000

_UNSUPPORTED_PROTOCOL: Final = 0x84
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_PROTOCOLS: Final = {"": None, "5": paho.MQTTv5, "3.1.1": paho.MQTTv311}
_RUN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PIPELINE: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,63}")

WhenFull = Literal["refuse", "drop-oldest"]


class EdgeError(Exception):
    """Something that a person can act on; `exit_code` is what the command line returns."""

    exit_code = 8


class AddressError(EdgeError):
    """A broker URL that cannot be used."""

    exit_code = 2


class MessageError(EdgeError):
    """A message that cannot be sent as it is."""

    exit_code = 2


class OutboxError(EdgeError):
    """The file of the outbox cannot be used."""


class OutboxInUseError(OutboxError):
    """Another publisher has the outbox open."""


class OutboxFullError(EdgeError):
    """The outbox holds as much as it may; nothing was stored."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A message that became no run. Beside the dispatcher's codes: `expired` and `dropped` may be our own."""

    run_id: str
    pipeline: str
    code: str
    message: str
    at: datetime
    field: str | None = None


class RejectedError(EdgeError):
    """The message that was waited for became no run."""

    exit_code = 3

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(f"{rejection.run_id} was rejected: {rejection.code}: {rejection.message}")
        self.rejection = rejection


@dataclass(frozen=True)
class _Address:
    """Where the broker is, from a URL like `mqtt://user:password@host:1883`."""

    host: str
    port: int
    tls: bool
    websockets: bool
    path: str
    username: str | None
    password: str | None = field(repr=False)
    protocol: MQTTProtocolVersion | None

    @classmethod
    def parse(cls, url: str) -> Self:
        shown = re.sub(r"//[^/]*@", "//", url)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise AddressError(f"The host or the port in the broker URL {shown!r} cannot be read.") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise AddressError(f"{shown!r} is no broker URL; one is mqtt://user:password@host:1883 (mqtts, ws, wss).")
        protocol = parse_qs(parts.query).get("protocol", [""])[0]
        if protocol not in _PROTOCOLS:
            raise AddressError(f"protocol={protocol} in the broker URL is neither 5 nor 3.1.1.")
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            tls=parts.scheme in {"mqtts", "wss"},
            websockets=parts.scheme in {"ws", "wss"},
            path=parts.path or "/mqtt",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            protocol=_PROTOCOLS[protocol],
        )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


# On disk.

_TABLES: Final = """
create table if not exists messages (
    seq integer primary key autoincrement, run_id text not null unique, pipeline text not null, key text,
    payload blob not null, expires_at real, ready integer not null);
create index if not exists ready on messages (seq) where ready = 1;
create index if not exists by_key on messages (key, seq) where key is not null;
create index if not exists by_deadline on messages (expires_at) where expires_at is not null;
create table if not exists rejections (
    seq integer primary key autoincrement, run_id text not null, body blob not null, told integer not null default 0);
create index if not exists by_run on rejections (run_id);
create table if not exists counts (name text primary key, number integer not null);
"""


class _Message(NamedTuple):
    seq: int
    run_id: str
    pipeline: str
    key: str | None
    payload: bytes
    expires_at: float | None


class _Outbox:
    """The messages that have no answer yet, in order, and the rejections. Any thread may call it.

    `taken` are the messages in the sender's window; those are not dropped when the outbox is full.
    """

    def __init__(self, path: Path, max_messages: int, max_bytes: int, when_full: WhenFull) -> None:
        self._path = path
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._lock = threading.RLock()
        self._taken: set[int] = set()
        self._db = self._open()
        self.count: int
        self.count, self._bytes = self._db.execute(
            "select count(*), coalesce(sum(length(payload)), 0) from messages"
        ).fetchone()

    def _open(self) -> sqlite3.Connection:
        try:
            # Not when it exists: closing a second handle of a file ends SQLite's locks on it.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            self._path.chmod(0o600)
            database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise OutboxError(f"The outbox {self._path} cannot be opened: {error}.") from error
        try:
            database.execute("pragma locking_mode = exclusive")
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            database.executescript(f"begin immediate; {_TABLES} commit;")
        except sqlite3.Error as error:
            database.close()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                raise OutboxInUseError(
                    f"The outbox {self._path} is open in another publisher; give each its own file."
                ) from None
            raise OutboxError(f"The outbox {self._path} cannot be used: {error}.") from error
        return database

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        """Everything or nothing, and on disk at the end."""
        with self._lock:
            before = self.count, self._bytes
            try:
                self._db.execute("begin immediate")
                yield self._db
                self._db.execute("commit")
            except BaseException as error:
                if isinstance(error, sqlite3.Error) or self._db.in_transaction:  # else Ctrl-C came after the commit
                    self.count, self._bytes = before
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("rollback")
                if isinstance(error, sqlite3.Error):
                    raise OutboxError(f"The outbox {self._path} cannot be written: {error}.") from error
                raise

    def add(self, messages: Sequence[_Message]) -> None:
        """Store messages, all or none; one that is there already is stored already."""
        with self._transaction() as database:
            for message in messages:
                self._add(database, message)

    def _add(self, database: sqlite3.Connection, message: _Message) -> None:
        if len(message.payload) > min(self._max_bytes, MOST_PAYLOAD_BYTES):
            raise MessageError(f"The message has {len(message.payload)} bytes; that is more than may be sent.")
        row = database.execute("select payload from messages where run_id = ?", (message.run_id,)).fetchone()
        if row is not None:
            if bytes(row[0]) != message.payload:
                raise MessageError(f"The run id {message.run_id!r} is taken by another message that waits.")
            return
        self._make_room(len(message.payload))
        database.execute(
            "insert into messages (run_id, pipeline, key, payload, expires_at, ready)"
            " values (?, ?, ?, ?, ?, not exists (select 1 from messages where key = ?))",
            (*message[1:], message.key),
        )
        self.count += 1
        self._bytes += len(message.payload)

    def _make_room(self, size: int) -> None:
        while self.count >= self._max_messages or self._bytes + size > self._max_bytes:
            oldest = self._oldest_untaken() if self._when_full == "drop-oldest" else None
            if oldest is None:
                raise OutboxFullError(f"The outbox {self._path} is full: {self.count} messages, {self._bytes} bytes.")
            self._end(oldest, _rejection(oldest, "dropped", "The outbox was full, and this was its oldest message."))

    def _oldest_untaken(self) -> _Message | None:
        rows = self._db.execute("select seq from messages order by seq limit ?", (len(self._taken) + 1,))
        found = next((seq for (seq,) in rows if seq not in self._taken), None)
        return self._read(found) if found is not None else None

    def _read(self, seq: int) -> _Message:
        row = self._db.execute(
            "select seq, run_id, pipeline, key, payload, expires_at from messages where seq = ?", (seq,)
        ).fetchone()
        return _Message(*row)

    def take(self, most: int, most_bytes: int) -> list[_Message]:
        """Return ready messages that nobody has taken yet, oldest first; at least one where there is one."""
        messages: list[_Message] = []
        with self._lock:
            limit = most + len(self._taken)
            rows = self._db.execute(
                "select seq from messages where ready = 1 order by seq limit ?", (limit,)
            ).fetchall()
            for (seq,) in rows:
                if len(messages) >= most or most_bytes <= 0:
                    break
                if seq not in self._taken:
                    message = self._read(seq)
                    messages.append(message)
                    most_bytes -= len(message.payload)
                    self._taken.add(seq)
        return messages

    def settle(self, ends: Sequence[tuple[_Message, Rejection | None]]) -> None:
        """Let messages go that were accepted (None) or rejected; the next ones of their keys are ready then."""
        with self._transaction():
            for message, rejection in ends:
                self._end(message, rejection)
            self._taken -= {message.seq for message, _ in ends}

    def _end(self, message: _Message, rejection: Rejection | None) -> None:
        if self._db.execute("delete from messages where seq = ?", (message.seq,)).rowcount == 0:
            return
        self.count -= 1
        self._bytes -= len(message.payload)
        if message.key is not None:
            self._db.execute(
                "update messages set ready = 1 where seq = (select min(seq) from messages where key = ?)",
                (message.key,),
            )
        if rejection is not None:
            body = msgspec.json.encode(rejection)
            added = self._db.execute("insert into rejections (run_id, body) values (?, ?)", (message.run_id, body))
            self._db.execute("delete from rejections where seq <= ?", ((added.lastrowid or 0) - REJECTIONS_KEPT,))
        self._db.execute(
            "insert into counts values (?, 1) on conflict (name) do update set number = number + 1",
            (rejection.code if rejection else "accepted",),
        )

    def overdue(self, now: float) -> list[_Message]:
        with self._lock:
            rows = self._db.execute("select seq from messages where expires_at <= ? limit ?", (now, 2 * WINDOW))
            return [self._read(seq) for (seq,) in rows.fetchall()]

    def has_taken(self, message: _Message) -> bool:
        with self._lock:
            return message.seq in self._taken

    def waits(self, run_id: str) -> bool:
        with self._lock:
            return self._db.execute("select 1 from messages where run_id = ?", (run_id,)).fetchone() is not None

    def rejections(self, where: str = "1", *values: object) -> list[tuple[int, Rejection]]:
        with self._lock:
            rows = self._db.execute(f"select seq, body from rejections where {where} order by seq", values).fetchall()  # noqa: S608 (our own words)
        return [(seq, msgspec.json.decode(body, type=Rejection)) for seq, body in rows]

    def tell(self, seq: int) -> None:
        """Remember that somebody was told of a rejection."""
        with self._transaction() as database:
            database.execute("update rejections set told = 1 where seq = ?", (seq,))

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._db.execute("select name, number from counts").fetchall())

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _rejection(message: _Message, code: str, sentence: str, at_field: str | None = None) -> Rejection:
    return Rejection(
        run_id=message.run_id,
        pipeline=message.pipeline,
        code=code,
        message=sentence,
        at=datetime.now(UTC),
        field=at_field,
    )


# On the wire.


class _Answer(msgspec.Struct):
    """What matters to us in `run_status`, `run_result` and `rejection`."""

    type: str
    run_id: str | None = None
    state: str | None = None
    digest: str | None = None
    code: str = ""
    message: str = ""
    field: str | None = None

    @property
    def accepts(self) -> bool:
        return self.type == "run_result" or (self.type == "run_status" and self.state == "accepted")


class _Wake:
    """Ends the sender's wait for the network from another thread."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def ring(self) -> None:
        with contextlib.suppress(OSError):  # full: it rings already
            self._writer.send(b"!")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self.reader.recv(4096):
                pass

    def close(self) -> None:
        self.reader.close()
        self._writer.close()


class _Link:
    """One connection to the broker, driven by the sender's thread alone; the next one is a new object."""

    def __init__(
        self, address: _Address, client_id: str, protocol: MQTTProtocolVersion, tls: ssl.SSLContext | None
    ) -> None:
        self._address = address
        self._heard: deque[_Answer] = deque()
        self.lost: str | None = None
        self.ready = False
        self.refused_protocol = False
        self.speaks_5 = protocol == paho.MQTTv5
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self.speaks_5 else True,
            protocol=protocol,
            transport="websockets" if address.websockets else "tcp",
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        self._client.max_inflight_messages_set(0)  # the window is ours
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_socket_open = _set_nodelay
        if address.websockets:
            self._client.ws_set_options(address.path)
        if address.username is not None:
            self._client.username_pw_set(address.username, address.password)
        if address.tls:
            self._client.tls_set_context(tls)

    def connect(self) -> None:
        self._client.connect(self._address.host, self._address.port, KEEPALIVE_S)
        deadline = time.monotonic() + CONNECT_TIMEOUT_S
        while not self.ready and self.lost is None and time.monotonic() < deadline:
            self.turn(0.5, None)
        if not self.ready:
            self.lost = self.lost or f"no answer within {CONNECT_TIMEOUT_S:.0f} s"

    def turn(self, patience_s: float, wake: _Wake | None) -> None:
        """Wait for the network, or for the bell; read and write what there is."""
        sock = self._client.socket()
        if sock is None:
            self.lost = self.lost or "connection lost"
            return
        buffered = bool(getattr(sock, "pending", int)())  # decrypted already: a select does not see it
        readers = [sock, wake.reader] if wake else [sock]
        writers = [sock] if self._client.want_write() else []
        readable, writable, _ = select.select(readers, writers, [], 0 if buffered else patience_s)
        if wake is not None and wake.reader in readable:
            wake.clear()
        if buffered or sock in readable:
            self._client.loop_read()
        if sock in writable:
            self._client.loop_write()
        self._client.loop_misc()

    def subscribe(self, filters: list[str]) -> None:
        self._client.subscribe([(name, 1) for name in filters])

    def unsubscribe(self, filters: list[str]) -> None:
        self._client.unsubscribe(filters)

    def publish(self, topic: str, message: _Message, reply_to: str | None) -> None:
        properties = None
        if self.speaks_5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho has no hints here
            if reply_to is not None:  # the body says so too, but of some messages the dispatcher reads no body
                properties.ResponseTopic = reply_to
            if message.expires_at is not None:
                properties.MessageExpiryInterval = max(1, math.ceil(message.expires_at - time.time()))
        self._client.publish(topic, message.payload, 1, properties=properties)

    def answers(self) -> list[_Answer]:
        heard = list(self._heard)
        self._heard.clear()
        return heard

    def close(self) -> None:
        self._client.disconnect()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.lost = f"refused: {reason}"
            self.refused_protocol = self.speaks_5 and reason.value == _UNSUPPORTED_PROTOCOL
        else:
            self.ready = True

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self.lost = self.lost or f"connection lost ({reason})"

    def _on_publish(self, _client: Any, _data: Any, _packet_id: int, reason: Any, _properties: Any) -> None:
        if reason.is_failure:  # MQTT 5 tells; the message stays, since somebody may change the broker's rules
            log.warning("The broker does not take a message: %s", reason)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with contextlib.suppress(msgspec.MsgspecError):  # not for us
            self._heard.append(msgspec.json.decode(message.payload, type=_Answer))


def _set_nodelay(_client: Any, _data: Any, sock: Any) -> None:
    plain = getattr(sock, "_socket", sock)  # paho wraps the socket of a websocket
    if isinstance(plain, socket.socket):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass
class _Waiting:
    """A message of the window: sent, or about to be."""

    message: _Message
    status_topic: str
    digest: str
    sent: int = 0
    subscribed: bool = False
    due: float = 0.0


class _Sender:
    """The thread that sends, listens and settles. It alone talks to the broker."""

    def __init__(  # noqa: PLR0917 (its one caller has them all at hand)
        self,
        address: _Address,
        client_id: str,
        root: str,
        reply_to: str | None,
        tls: ssl.SSLContext | None,
        outbox: _Outbox,
        changed: Callable[[], None],
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._root = root
        self._tls = tls
        self._outbox = outbox
        self._changed = changed
        self._reply_to = reply_to
        self._common = [f"{root}pipelines/+/rejected", f"{root}fpbus/rejected", *([reply_to] if reply_to else [])]
        self._protocol = address.protocol or paho.MQTTv5
        self._window: dict[str, _Waiting] = {}
        self._run_of: dict[str, str] = {}  # by digest: a rejection may not know the run
        self._stopping = threading.Event()
        self._more = threading.Event()
        self._more.set()
        self._wake = _Wake()
        self._looked_at = 0.0
        self.trouble: str | None = "not connected yet"
        self._thread = threading.Thread(target=self._run, name="fpbus.edge", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Tell that there is something to send."""
        if not self._more.is_set():
            self._more.set()
            self._wake.ring()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.ring()
        self._thread.join()
        self._wake.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._serve_one_connection()
            except (OSError, ValueError, EdgeError) as error:  # ValueError: a host name that is none
                self._be_in_trouble(str(error))
            except Exception:
                log.exception("The sender stumbled; it goes on")
                self._be_in_trouble("an error of its own; see the log")
            failures = 0 if time.monotonic() - began > LASTING_S else failures + 1
            ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
            self._pause(random.uniform(ceiling / 2, ceiling))  # noqa: S311 (jitter, not a secret)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, TICK_S)):
            self._guarded(self._expire)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except EdgeError as error:
            self._be_in_trouble(str(error))

    def _serve_one_connection(self) -> None:
        link = _Link(self._address, self._client_id, self._protocol, self._tls)
        try:
            link.connect()
            if link.refused_protocol and self._address.protocol is None:
                self._protocol = paho.MQTTv311
            if link.ready:
                self._begin(link)
            while link.lost is None and not self._stopping.is_set():
                self._expire()
                self._fill()
                self._send_due(link)
                link.turn(self._patience(), self._wake)
                self._hear(link)
        finally:
            link.close()
        if link.lost is not None:
            self._be_in_trouble(link.lost)

    def _begin(self, link: _Link) -> None:
        log.info("Connected to %s", self._address)
        self.trouble = None
        self._changed()
        link.subscribe(self._common)
        for waiting in self._window.values():
            waiting.due, waiting.subscribed = 0.0, False

    def _be_in_trouble(self, reason: str) -> None:
        if reason != self.trouble and not self._stopping.is_set():
            log.warning("No connection to %s: %s", self._address, reason)
        self.trouble = reason

    def _fill(self) -> None:
        room = WINDOW - len(self._window)
        if room <= 0 or not self._more.is_set():
            return
        self._more.clear()
        held = sum(len(waiting.message.payload) for waiting in self._window.values())
        for message in self._outbox.take(room, WINDOW_BYTES - held):
            topic = f"{self._root}pipelines/{message.pipeline}/runs/{message.run_id}/status"
            digest = hashlib.blake2b(message.payload, digest_size=16).hexdigest()
            self._window[message.run_id] = _Waiting(message, topic, digest)
            self._run_of[digest] = message.run_id

    def _send_due(self, link: _Link) -> None:
        now = time.monotonic()
        due = [waiting for waiting in self._window.values() if waiting.due <= now]
        new = [waiting.status_topic for waiting in due if not waiting.subscribed]
        if new:
            link.subscribe(new)  # the broker has it before the messages, which go the same way
        for waiting in due:
            waiting.subscribed = True
            link.publish(f"{self._root}pipelines/{waiting.message.pipeline}/run", waiting.message, self._reply_to)
            pause = min(RESEND_MAX_S, RESEND_FIRST_S * 2 ** min(waiting.sent, 10))
            waiting.due = now + pause * random.uniform(0.75, 1.25)  # noqa: S311 (jitter, not a secret)
            waiting.sent += 1

    def _patience(self) -> float:
        if self._more.is_set() and len(self._window) < WINDOW:
            return 0.0
        first = min((waiting.due for waiting in self._window.values()), default=math.inf)
        return max(0.0, min(TICK_S, first - time.monotonic()))

    def _hear(self, link: _Link) -> None:
        ends: dict[str, tuple[_Message, Rejection | None]] = {}
        for answer in link.answers():
            run_id = self._run_of.get(answer.digest or "") if answer.type == "rejection" else answer.run_id
            waiting = self._window.get(run_id or "")
            if waiting is None or not (answer.accepts or answer.type == "rejection"):
                continue
            message = waiting.message
            refused = None if answer.accepts else _rejection(message, answer.code, answer.message, answer.field)
            ends.setdefault(message.run_id, (message, refused))
        if ends:
            self._settle(list(ends.values()), link)

    def _settle(self, ends: list[tuple[_Message, Rejection | None]], link: _Link | None = None) -> None:
        self._outbox.settle(ends)
        gone = [self._window.pop(message.run_id, None) for message, _ in ends]
        for waiting in gone:
            if waiting is not None:
                del self._run_of[waiting.digest]
        topics = [waiting.status_topic for waiting in gone if waiting is not None and waiting.subscribed]
        if link is not None and topics:
            link.unsubscribe(topics)
        self._more.set()
        self._changed()

    def _expire(self) -> None:
        """End what is past its deadline; what was sent gets a while longer for its answer."""
        if time.monotonic() - self._looked_at < TICK_S:
            return
        self._looked_at = time.monotonic()
        now = time.time()
        ends: list[tuple[_Message, Rejection | None]] = []
        for message in self._outbox.overdue(now):
            assert message.expires_at is not None
            if not self._outbox.has_taken(message):
                sentence = "Its deadline passed before it could be sent."
            elif message.expires_at + GRACE_S <= now:
                sentence = "Its deadline passed without an answer; it may have been accepted."
            else:
                continue
            ends.append((message, _rejection(message, "expired", sentence)))
        if ends:
            self._settle(ends)


class Publisher:
    """Publishes runs so that none is lost once `publish` has returned. Use it in a `with` block, or `close` it.

    `device` names the device in run ids; it is the user of the URL, else the host's name. `outbox` is a file that is
    its alone. `reply_to` is where the dispatcher answers and results go. `on_rejected` is called on a
    thread of its own for each rejection, also for those of an earlier process; after a crash one may come twice.
    `tls` replaces the system's certificates. Leaving the block sends nothing more; what waits is sent next time.
    """

    def __init__(
        self,
        url: str,
        *,
        outbox: str | os.PathLike[str],
        device: str | None = None,
        root: str = "",
        reply_to: str | None = None,
        max_messages: int = 100_000,
        max_bytes: int = 256 * 1024 * 1024,
        when_full: WhenFull = "refuse",
        on_rejected: Callable[[Rejection], object] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        address = _Address.parse(url)
        self._root = f"{root.strip('/')}/" if root.strip("/") else ""
        self._device = re.sub(r"[^A-Za-z0-9_-]", "-", device or address.username or socket.gethostname())[:40]
        if reply_to is None and address.username is not None:
            reply_to = f"{self._root}devices/{address.username}/answers"
        self._reply_to = reply_to
        self._when_full = when_full
        self._on_rejected = on_rejected
        self._condition = threading.Condition()
        self._together = threading.local()
        self._outbox = _Outbox(Path(outbox), max_messages, max_bytes, when_full)
        context = (tls or ssl.create_default_context()) if address.tls else None
        client_id = f"fpbus-edge-{self._device}-{secrets.token_hex(4)}"  # each its own: two must not kick each other
        self._sender = _Sender(address, client_id, self._root, reply_to, context, self._outbox, self._on_change)
        self._closed = False
        self._teller = threading.Thread(target=self._tell, name="fpbus.edge rejections", daemon=True)
        self._sender.start()
        self._teller.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(
        self,
        pipeline: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        key: str | None = None,
        final_vars: list[str] | None = None,
        priority: Literal["high", "default", "low"] | None = None,
        not_before: datetime | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
    ) -> str:
        """Store a message and return its run id; it is on disk then, and the network was not waited for.

        In a block of `together` it is on disk when the block has ended.

        Messages with the same `key` are accepted in the order of their `publish`. Times need a zone.
        Raises `MessageError`, `OutboxFullError` and `OutboxError`; nothing was stored then.
        """
        if not _PIPELINE.fullmatch(pipeline):
            raise MessageError(f"{pipeline!r} cannot name a pipeline: up to 64 of a-z, 0-9, '_', '-' and '.'.")
        run_id = run_id or f"{self._device}_{secrets.token_urlsafe(16)}"
        if not _RUN_ID.fullmatch(run_id):
            raise MessageError(f"{run_id!r} is no run id: up to 64 letters, digits, '_' and '-'.")
        if expires_in is not None:
            expires_at = datetime.now(UTC) + expires_in
        if any(at is not None and at.tzinfo is None for at in (expires_at, not_before)):
            raise MessageError("`expires_at` and `not_before` need a time zone.")
        body = {
            "run_id": run_id,
            "inputs": inputs,
            "key": key,
            "final_vars": final_vars,
            "priority": priority,
            "not_before": not_before,
            "expires_at": expires_at,
            "reply_to": self._reply_to,
        }
        try:
            payload = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
        except (TypeError, ValueError, OverflowError) as error:
            raise MessageError(f"The inputs are no JSON: {error}.") from None
        deadline = expires_at.timestamp() if expires_at else None
        message = _Message(0, run_id, pipeline, key, payload, deadline)
        if (gathered := getattr(self._together, "messages", None)) is not None:
            gathered.append(message)
        else:
            self._store([message])
        return run_id

    @contextlib.contextmanager
    def together(self) -> Generator[None]:
        """Store what this thread publishes in the block at its end, with one write; nothing of it when it raises.

        So a hundred thousand messages take seconds instead of minutes. The end raises what `publish` would.
        """
        if hasattr(self._together, "messages"):
            yield
            return
        messages: list[_Message] = []
        self._together.messages = messages
        try:
            yield
        finally:
            del self._together.messages
        self._store(messages)

    def _store(self, messages: Sequence[_Message]) -> None:
        self._outbox.add(messages)
        self._sender.nudge()
        if self._when_full == "drop-oldest":
            self._on_change()  # somebody may wait for one that was dropped

    def wait(self, run_id: str, timeout_s: float | None = None) -> None:
        """Return when a message is accepted; raise `RejectedError`, or `TimeoutError`.

        A run id that does not wait in the outbox, and was not rejected, counts as accepted.
        """
        self._wait(lambda: not self._outbox.waits(run_id), timeout_s)
        rejections = self._outbox.rejections("run_id = ?", run_id)
        if rejections:
            raise RejectedError(rejections[-1][1])

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when every message is accepted or rejected; raise `TimeoutError`."""
        self._wait(lambda: not self._outbox.count, timeout_s)

    def pending(self) -> int:
        """Return how many messages have no answer yet."""
        return self._outbox.count

    def rejections(self) -> list[Rejection]:
        """Return the last 10,000 messages that became no run, oldest first."""
        return [rejection for _, rejection in self._outbox.rejections()]

    def counts(self) -> dict[str, int]:
        """Return how many messages of this outbox were `accepted`, and how many ended with each other code."""
        return self._outbox.counts()

    @property
    def trouble(self) -> str | None:
        """Why there is no connection to the broker; None while there is one."""
        return self._sender.trouble

    def close(self) -> None:
        """Stop; what waits stays in the outbox."""
        if self._closed:
            return
        self._sender.stop()
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._teller is not threading.current_thread():
            self._teller.join()
        self._outbox.close()

    def _wait(self, condition: Callable[[], bool], timeout_s: float | None) -> None:
        with self._condition:
            if not self._condition.wait_for(lambda: self._closed or condition(), timeout_s):
                raise TimeoutError(f"No answer within {timeout_s} s; {self.pending()} messages wait in the outbox.")

    def _on_change(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _tell(self) -> None:
        """Pass rejections on, on a thread of its own: a slow callback holds nothing up."""
        while self._on_rejected is not None:
            for seq, rejection in self._outbox.rejections("told = 0"):
                try:
                    self._on_rejected(rejection)
                except Exception:
                    log.exception("on_rejected stumbled over %s", rejection.run_id)
                self._outbox.tell(seq)
            with self._condition:
                if self._closed:
                    return
                self._condition.wait(TICK_S)


# The command line.

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: list[str] | None = None) -> int:
    """Forward the lines of standard input; return the exit code."""
    options = _read_options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    forwarder = _Forwarder(options)
    try:
        return forwarder.run()
    except KeyboardInterrupt:
        return 130
    except EdgeError as error:
        _say(str(error))
        return error.exit_code


class _Forwarder:
    def __init__(self, options: "argparse.Namespace") -> None:
        self._options = options
        self._lock = threading.Lock()
        self._rejected = 0

    def run(self) -> int:
        options = self._options
        with Publisher(
            _with_password(options.url, options.password_file),
            outbox=options.outbox,
            device=options.device,
            root=options.root,
            reply_to=options.reply_to,
            max_messages=options.max_messages,
            when_full=options.when_full,
            on_rejected=self._on_rejected,
            tls=_tls(options),
        ) as publisher:
            try:
                for number, line in enumerate(sys.stdin, 1):
                    self._forward(publisher, number, line.rstrip("\r\n"))
                publisher.flush(options.timeout)
            except TimeoutError as error:
                _say(f"{error} {publisher.trouble or ''}".strip())
                return 5 if publisher.trouble else 124
            finally:
                waiting = publisher.pending()
                if waiting:
                    _say(f"{waiting} messages wait in {options.outbox}; they are sent the next time.")
        return 3 if self._rejected else 0

    def _forward(self, publisher: Publisher, number: int, line: str) -> None:
        options = self._options
        if not line.strip():
            return
        try:
            inputs = {options.input: line} if options.format == "text" else _json_object(line)
            key = str(inputs[options.key_field]) if options.key_field else None
        except (MessageError, KeyError) as error:
            self._reject(f"line {number}: {error if isinstance(error, MessageError) else f'no field {error}'}")
            return
        while True:
            try:
                publisher.publish(
                    options.pipeline, inputs, key=key, priority=options.priority, expires_in=options.expires_in
                )
            except OutboxFullError:
                time.sleep(0.05)  # reading on is what can wait
            except MessageError as error:
                self._reject(f"line {number}: {error}")
                return
            else:
                return

    def _on_rejected(self, rejection: Rejection) -> None:
        where = f" ({rejection.field})" if rejection.field else ""
        self._reject(f"{rejection.run_id}: {rejection.code}{where}: {rejection.message}")

    def _reject(self, sentence: str) -> None:
        with self._lock:
            self._rejected += 1
        _say(f"rejected {sentence}")


def _read_options(arguments: list[str] | None) -> "argparse.Namespace":
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m fpbus.edge",
        description="Forward each line of standard input as a message that starts a run, and lose none.",
        epilog="Exit codes: 0 all accepted, 2 usage, 3 something was rejected, 5 no broker, 8 the outbox is no use, "
        "124 the time was up, 130 interrupted. What has no answer stays in the outbox and is sent the next time.",
    )
    parser.add_argument(
        "url", metavar="URL", help="the broker: mqtt://user:password@host:1883, mqtts://, ws://, wss://"
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--outbox", type=Path, default=Path("fpbus-edge.db"), help="default: %(default)s")
    parser.add_argument(
        "--format", choices=["json", "text"], default="json", help="json: a line is an object of inputs"
    )
    parser.add_argument("--input", metavar="NAME", help="with --format text: the input that a line is")
    parser.add_argument("--key-field", metavar="NAME", help="the input whose equal values are accepted in order")
    parser.add_argument("--priority", choices=["high", "default", "low"])
    parser.add_argument(
        "--expires-in", type=_duration, metavar="TIME", help="drop what is not accepted by then: 30s, 1h"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="how long to wait for answers after the last line"
    )
    parser.add_argument("--when-full", choices=["refuse", "drop-oldest"], default="refuse", help="refuse: stop reading")
    parser.add_argument("--max-messages", type=int, default=100_000, help="what the outbox holds; default: %(default)s")
    parser.add_argument("--device", help="names the device in run ids; default: the user, else this host's name")
    parser.add_argument("--root", default="", help="the prefix of all topics (FPBUS_ROOT)")
    parser.add_argument("--reply-to", metavar="TOPIC", help="where answers go; default: devices/<user>/answers")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="instead of a password in the URL")
    parser.add_argument("--ca", metavar="FILE", help="certificates to trust, instead of the system's")
    parser.add_argument("--cert", metavar="FILE", help="our own certificate")
    parser.add_argument("--cert-key", metavar="FILE", help="its key")
    options = parser.parse_args(arguments)
    if options.format == "text" and not options.input:
        parser.error("--format text needs --input NAME")
    if options.format == "text" and options.key_field:
        parser.error("--key-field needs --format json")
    return options


def _duration(text: str) -> timedelta:
    import argparse

    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 30s, 5m, 1h or 2d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


def _json_object(line: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise MessageError(f"no JSON object: {error}") from None


def _with_password(url: str, file: Path | None) -> str:
    if file is None:
        return url
    try:
        password = file.read_text().rstrip("\r\n")
    except OSError as error:
        raise AddressError(f"The password cannot be read: {error}.") from None
    scheme, _, rest = url.partition("://")
    user, _, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}:{_quoted(password)}@{host}"


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _tls(options: "argparse.Namespace") -> ssl.SSLContext | None:
    if not options.ca and not options.cert:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ca)
        if options.cert:
            context.load_cert_chain(options.cert, options.cert_key)
    except OSError as error:
        raise AddressError(f"The certificates cannot be used: {error}.") from None
    return context


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

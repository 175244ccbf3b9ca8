"""paho's client with the doors that it lacks. Everything that reaches into paho stands here."""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MessageType, MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

from . import packets
from .packets import PacketReader, UnreadablePacketError
from .transport import Delivery

_READ_BYTES: Final = 64 * 1024
_WRITE_BYTES: Final = 64 * 1024
_KIND: Final = 0xF0
_QOS: Final = 0x06

log = logging.getLogger(__name__)

OnDelivery = Callable[[Delivery], None]
OnConfirmed = Callable[[paho.MQTTMessage, int], None]


class PahoClient(paho.Client):
    """A client that can fall back to MQTT 3.1.1, keeps the order of what waits, and survives what it cannot read.

    It reads many packets with one system call and writes many with one. Messages and their confirmations go to
    `on_delivery` and `on_confirmed` where those are set, and are not looked at by paho then.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reader = PacketReader()
        self._woken = False
        self._gathering = threading.local()
        self._network_thread = 0
        self.connection = 0
        self.on_delivery: OnDelivery | None = None
        self.on_confirmed: OnConfirmed | None = None
        self.tls_error: ssl.SSLError | None = None

    def log_in_with(self, username: str | None, password: str | None, tls: ssl.SSLContext | None) -> None:
        """Use these from the next connection on; paho takes a TLS context once only."""
        self.username_pw_set(username, password)
        self.tls_error = None
        if tls is not None:
            self._ssl_context = None
            self.tls_set_context(tls)

    def vanish(self) -> None:
        """Hang up as a process does that is killed."""
        self._sock_close()

    @property
    def unconfirmed(self) -> Mapping[int, paho.MQTTMessage]:
        """What was published with QoS 1 and is not confirmed, by packet id."""
        return self._out_messages

    def fall_back(self, *, durable: bool) -> None:
        """Speak MQTT 3.1.1 from the next connection on; what waits to be sent is sent there."""
        self._protocol = paho.MQTTv311
        self._clean_session = not durable

    def ack_all(self, packet_ids: Iterable[int]) -> None:
        """Confirm messages of QoS 1, in this order."""
        acks = b"".join(map(packets.puback, packet_ids))
        if acks:
            self._packet_queue(MessageType.PUBACK, acks, 0, 1)

    def wake(self) -> None:
        """Have the network thread write what is queued."""
        if not self._woken and self._sockpairW is not None and threading.get_ident() != self._network_thread:
            self._woken = True
            with contextlib.suppress(BlockingIOError):
                self._sockpairW.send(b"!")

    @contextlib.contextmanager
    def together(self) -> Generator[None]:
        """Queue what this thread sends meanwhile, and wake the network thread once for all of it."""
        self._gathering.on = True
        try:
            yield
        finally:
            self._gathering.on = False
            self.wake()

    def loop(self, timeout: float = 1.0) -> MQTTErrorCode:
        self._network_thread = threading.get_ident()
        return super().loop(timeout)

    # Reading.

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002 (paho's own shape)
        try:
            arrived = self._sock_recv(_READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError as error:
            if isinstance(error, ssl.SSLError):  # with TLS 1.3 this is where a server refuses our certificate
                self.tls_error = error
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        if not arrived:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        try:
            return self._take_packets(arrived)
        except (UnreadablePacketError, MalformedPacket) as error:
            log.warning("the broker sent what is no MQTT", extra={"reason": str(error)})
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)

    def _take_packets(self, arrived: bytes) -> MQTTErrorCode:
        for first, body in self._reader.feed(arrived):
            kind = first & _KIND
            if kind == packets.PUBLISH and self.on_delivery is not None:
                self._deliver(self.on_delivery, first, body)
            elif kind == packets.PUBACK and self.on_confirmed is not None:
                self._confirm(self.on_confirmed, body)
            else:
                self._in_packet["command"] = first
                self._in_packet["remaining_length"] = len(body)
                self._in_packet["packet"] = bytearray(body)
                code = self._packet_handle()
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return self._loop_rc_handle(code)
            if self._sock is None:
                break
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _deliver(self, on_delivery: OnDelivery, first: int, body: memoryview) -> None:
        # A message that ended the connection would be sent again on the next one, and so for ever.
        try:
            delivery = packets.read_publish(first, body, self.connection, with_properties=self._protocol == paho.MQTTv5)
        except UnreadablePacketError as error:
            if first & _QOS:  # the broker would send it again and again; without a QoS there is no id to confirm
                self.ack_all([packets.packet_id_of(body)])
            log.warning("skipped a message that cannot be read", extra={"reason": str(error)})
        else:
            on_delivery(delivery)

    def _confirm(self, on_confirmed: OnConfirmed, body: memoryview) -> None:
        packet_id, reason = packets.read_puback(body)
        with self._out_message_mutex:
            message = self._out_messages.pop(packet_id, None)
            if message is None:
                return
            self._inflight_messages -= 1
        on_confirmed(message, reason)
        _mark_as_sent(message.info)

    # Writing.

    def _send_publish(  # noqa: PLR0917
        self,
        mid: int,
        topic: bytes,
        payload: bytes | bytearray = b"",
        qos: int = 0,
        retain: bool = False,  # noqa: FBT001, FBT002 (paho's own shape)
        dup: bool = False,  # noqa: FBT001, FBT002
        info: paho.MQTTMessageInfo | None = None,
        properties: Any = None,
    ) -> MQTTErrorCode:
        # Before the broker has let us in, paho would send a message at once, ahead of those that wait for that.
        if not self.is_connected():
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        packed = b""
        if self._protocol == paho.MQTTv5:
            packed = properties.pack() if properties is not None else b"\0"
        packet = packets.publish(topic, bytes(payload), qos, mid, packed, retain=retain, duplicate=dup)
        return self._packet_queue(MessageType.PUBLISH, packet, mid, qos, info)

    def _packet_queue(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: paho.MQTTMessageInfo | None = None
    ) -> MQTTErrorCode:
        if self._on_socket_register_write is None:
            return super()._packet_queue(command, packet, mid, qos, info)
        # The network thread alone writes, and is woken once for all that comes until it does.
        size = len(packet)
        self._out_packet.append(
            {"command": command, "mid": mid, "qos": qos, "pos": 0, "to_process": size, "packet": packet, "info": info}
        )
        if not getattr(self._gathering, "on", False):
            self.wake()
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _packet_write(self) -> MQTTErrorCode:
        self._woken = False
        while self._out_packet:
            batch = self._next_out()
            if not batch:
                return super()._packet_write()
            pieces = [memoryview(one["packet"])[one["pos"] :][:_WRITE_BYTES] for one in batch]
            try:
                sent = self._sock_send(b"".join(pieces))
            except (AttributeError, OSError, ValueError) as error:
                self._out_packet.extendleft(reversed(batch))
                if isinstance(error, BlockingIOError):
                    return MQTTErrorCode.MQTT_ERR_AGAIN
                if isinstance(error, OSError):
                    return MQTTErrorCode.MQTT_ERR_CONN_LOST
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            self._out_packet.extendleft(reversed(_unsent(batch, sent)))
            with self._msgtime_mutex:
                self._last_msg_out = time.monotonic()
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _next_out(self) -> list[Any]:
        """Take what can leave with one system call; nothing when a DISCONNECT comes next, which is paho's business."""
        batch: list[Any] = []
        size = 0
        while self._out_packet and size < _WRITE_BYTES:
            one = self._out_packet.popleft()
            if one["command"] & _KIND == MessageType.DISCONNECT:
                self._out_packet.appendleft(one)
                break
            size += one["to_process"]
            batch.append(one)
        return batch

    def _sock_close(self) -> None:
        self._reader = PacketReader()
        self._woken = False
        super()._sock_close()


class LookingClient(PahoClient):
    """A client that can ask whether it might publish."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.received: dict[int, int] = {}

    def _handle_pubrec(self) -> MQTTErrorCode:
        # The broker has the message and says what it thinks of it. A PUBREL would have it sent on; there is none.
        packet = self._in_packet["packet"]
        packet_id = int.from_bytes(packet[:2])
        self.received[packet_id] = packet[2] if len(packet) > 2 else 0
        self._out_messages.pop(packet_id, None)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def set_nodelay(_client: paho.Client, _data: Any, sock: Any) -> None:
    """Have packets leave at once; without it a client that receives, acks and publishes waits 43 ms each time."""
    plain = getattr(sock, "_socket", sock)  # paho wraps the socket of a websocket
    if isinstance(plain, socket.socket):
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _unsent(batch: list[Any], sent: int) -> list[Any]:
    """Return what of a batch has to be sent yet; who waits for a message of QoS 0 hears that it has left."""
    for number, one in enumerate(batch):
        taken = min(sent, one["to_process"])
        one["pos"] += taken
        one["to_process"] -= taken
        sent -= taken
        if one["to_process"]:
            return batch[number:]
        if one["command"] & _KIND == packets.PUBLISH and not one["qos"] and one["info"] is not None:
            _mark_as_sent(one["info"])
    return []


def _mark_as_sent(info: paho.MQTTMessageInfo) -> None:
    info._set_as_published()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001 (paho has no other way)

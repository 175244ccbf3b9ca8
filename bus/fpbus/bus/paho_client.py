"""paho's client with the doors that it lacks. Everything that reaches into paho stands here."""

import logging
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

_READ_BYTES: Final = 64 * 1024

log = logging.getLogger(__name__)


class PahoClient(paho.Client):
    """A client that can fall back to MQTT 3.1.1, keeps the order of what waits, and survives what it cannot read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arrived = memoryview(b"")
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

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        code = super().loop_read(max_packets)
        while self._arrived and code == MQTTErrorCode.MQTT_ERR_SUCCESS:  # a select would not see these
            code = super().loop_read(max_packets)
        return code

    def _sock_recv(self, bufsize: int) -> bytes:
        # paho asks for a packet in at least three pieces; one system call for many packets is enough.
        if not self._arrived:
            try:
                self._arrived = memoryview(super()._sock_recv(_READ_BYTES))
            except ssl.SSLError as error:  # with TLS 1.3 this is where a server refuses our certificate
                self.tls_error = error
                raise
        piece, self._arrived = self._arrived[:bufsize], self._arrived[bufsize:]
        return bytes(piece)

    def _sock_close(self) -> None:
        self._arrived = memoryview(b"")
        super()._sock_close()

    def _send_publish(self, *args: Any, **kwargs: Any) -> MQTTErrorCode:
        # Before the broker has let us in, paho would send a message at once, ahead of those that wait for that.
        if not self.is_connected():
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        return super()._send_publish(*args, **kwargs)

    def _handle_publish(self) -> MQTTErrorCode:
        # paho ends the connection over properties that it does not like (it dislikes U+FEFF, which is legal);
        # the broker would send the message again on the next one, and so for ever.
        try:
            return super()._handle_publish()
        except MalformedPacket as error:
            self._skip_publish()
            log.warning("skipped a message that cannot be read", extra={"reason": str(error)})
            return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _skip_publish(self) -> None:
        packet = self._in_packet["packet"]
        qos = (self._in_packet["command"] & 0x06) >> 1
        behind_topic = 2 + int.from_bytes(packet[:2])
        self.ack(int.from_bytes(packet[behind_topic : behind_topic + 2]), qos)


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

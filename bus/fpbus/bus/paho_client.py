"""paho's client with the doors that it lacks. Everything that reaches into paho stands here."""

import logging
from collections.abc import Mapping
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

log = logging.getLogger(__name__)


class PahoClient(paho.Client):
    """A client that can fall back to MQTT 3.1.1, keeps the order of what waits, and survives what it cannot read."""

    @property
    def unconfirmed(self) -> Mapping[int, paho.MQTTMessage]:
        """What was published with QoS 1 and is not confirmed, by packet id."""
        return self._out_messages

    def fall_back(self, *, durable: bool) -> None:
        """Speak MQTT 3.1.1 from the next connection on; what waits to be sent is sent there."""
        self._protocol = paho.MQTTv311
        self._clean_session = not durable

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

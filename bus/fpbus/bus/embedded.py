"""The broker that comes with the package: amqtt, on loopback, MQTT 3.1.1, in memory.

It loses what it holds when it stops, and never sends an unacknowledged message again on a new connection:
fine for trying things and for tests, and `fpbus up` says so. Run it as `python -m fpbus.bus.embedded PORT`.
"""

import asyncio
import logging
import signal
import sys
from typing import Any

from amqtt.broker import Broker
from amqtt.mqtt.connect import ConnectPacket, ConnectPayload
from amqtt.plugins.base import BaseAuthPlugin


class LoopbackAuth(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no hints
    """Lets everyone in who can reach loopback, by name.

    amqtt keeps no messages for an absent client that it thinks of as anonymous, so nobody is.
    """

    async def authenticate(self, *, session: Any) -> bool | None:
        session.is_anonymous = False
        session.username = session.username or session.client_id
        return True


class _ConnectPayload(ConnectPayload):  # type: ignore[misc]  # amqtt has no hints
    """Leaves a CONNECT of MQTT 5 unread, so that amqtt refuses it.

    amqtt takes the length of its properties for that of a client id, waits for as many bytes, and never answers.
    """

    @classmethod
    async def from_stream(cls, reader: Any, _: Any, variable_header: Any) -> Any:
        if variable_header.proto_level == 5:
            return ConnectPayload(client_id="of MQTT 5", will_topic="", will_message=b"")
        return await super().from_stream(reader, _, variable_header)


class _Broker(Broker):  # type: ignore[misc]  # amqtt has no hints
    """Hands over what it kept for a client that was away as what it is.

    amqtt marks it as retained, and a retained message on a run topic is refused.
    """

    async def _publish_session_retained_messages(self, session: Any) -> None:
        handler = self._get_handler(session)
        sendings: list[asyncio.Task[Any]] = []
        while handler is not None and not session.retained_messages.empty():
            kept = session.retained_messages.get_nowait()
            sending = handler.mqtt_publish(kept.topic, kept.data, kept.qos, retain=False)
            sendings.append(asyncio.ensure_future(sending))
        if sendings:
            await asyncio.wait(sendings)


def configuration(port: int) -> dict[str, Any]:
    """Return amqtt's configuration for one TCP listener on loopback."""
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": 0}},
        "plugins": {"fpbus.bus.embedded.LoopbackAuth": {}},
    }


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    ConnectPacket.PAYLOAD = _ConnectPayload
    broker = _Broker(configuration(port))
    await broker.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(int(sys.argv[1])))

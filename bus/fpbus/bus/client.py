"""The bus as everyone in fpbus sees it: publish, subscribe, acknowledge, call, answer."""

import contextlib
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

import msgspec
from msgspec.structs import replace

from fpbus.schemas import JSON, CallCode, CallFailure, FpbusError, Reply, WireError, decode, encode, topics

from .filters import TopicFilter
from .inbox import Inbox
from .transport import Delivery, Hooks, Properties, Sending, Transport, TransportStoppedError, Will

log = logging.getLogger(__name__)

#: How often who waits for a connection or an answer looks whether it was refused.
_GLANCE_S: Final = 0.1


class CallError(FpbusError):
    """A service answered a call with an error."""

    def __init__(self, failure: CallFailure) -> None:
        super().__init__(failure.message, failure.hint)
        self.failure = failure
        self.code = failure.code


class NoAnswerError(FpbusError):
    """Nobody answered a call within its deadline."""

    exit_code = 5

    def __init__(self, service: str, timeout_s: float, hint: str | None = None) -> None:
        super().__init__(f"The {service} did not answer within {timeout_s:g} s.", hint)
        self.service = service


class NotAllowedError(FpbusError):
    """The broker does not let this account publish there."""

    exit_code = 5

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"The broker does not let this account publish on {topic}.",
            "Log in as one that may, such as `operator` of `fpbus acl`: FPBUS_MQTT_USERNAME, FPBUS_MQTT_PASSWORD_FILE.",
        )


class TopicError(FpbusError):
    """A topic that no broker takes a message on."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"No message can be published on the topic {topic[:200]!r}.")


class Presence(Protocol):
    """What a connection says of its owner when it comes, and what the broker says when it vanishes."""

    def will(self) -> Will: ...
    def birth(self) -> Will: ...


Verb = Callable[[Any], Any]
"""Answers one call: gets the decoded arguments, returns the result; raises `CallError` for theirs."""


class Bus:
    """One connection with everything that fpbus does on it. `root` is put before every topic, and never seen inside."""

    def __init__(self, transport: Transport, root: str = "", presence: Presence | None = None) -> None:
        self._transport = transport
        self._root = f"{root.strip('/')}/" if root.strip("/") else ""
        self._presence = presence
        self._announced: Will | None = None
        self._routes: list[tuple[TopicFilter, Inbox]] = []
        self._outer_routes: list[tuple[TopicFilter, Inbox]] = []
        self._calls: list[Inbox] = []
        self._connected = threading.Event()
        self._was_connected = False
        self._stopped = False
        self._lost_reason = "not yet connected"
        self._session_listeners: list[Callable[[bool], None]] = []
        self._taken_over: Callable[[str], None] = log.error
        self._hears_replies = False
        self._replies: dict[str, Inbox] = {}
        self._call_ids = itertools.count(1)
        self._call_salt = uuid.uuid4().hex[:8]

    @property
    def client_id(self) -> str:
        return self._transport.client_id

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    @property
    def trouble(self) -> str:
        """Why there is no connection."""
        return self._lost_reason

    def start(self) -> None:
        """Begin to connect, and keep at it for ever."""
        self._transport.start(
            Hooks(
                message=self._on_message,
                connected=self._on_connected,
                disconnected=self._on_disconnected,
                taken_over=self._on_taken_over,
                will=self._will,
                listening=self._on_listening,
            )
        )

    def wait_connected(self, timeout_s: float) -> bool:
        """Tell whether there is a connection that hears what was subscribed to, after `timeout_s` at the latest.

        Raises `BrokerRefusedError` or `CredentialsError` when there was none yet, and waiting will not bring one.
        """
        deadline = time.monotonic() + timeout_s
        while not self._connected.wait(max(0.0, min(_GLANCE_S, deadline - time.monotonic()))):
            refusal = None if self._was_connected else self._transport.refusal
            if refusal is not None:
                raise refusal
            if time.monotonic() >= deadline:
                return False
        return True

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send what is queued and say goodbye; the broker then publishes no will."""
        self._transport.stop(timeout_s)
        self._connected.clear()
        self._stopped = True
        for inbox in self._calls:
            inbox.wake()

    def on_session(self, listener: Callable[[bool], None]) -> None:
        """Have `listener(session_present)` called at each connect, on the network thread."""
        self._session_listeners.append(listener)

    def on_taken_over(self, listener: Callable[[str], None]) -> None:
        """Have `listener(reason)` called when another client has come with our id; the bus has stopped then."""
        self._taken_over = listener

    def publish(
        self,
        topic: str,
        message: msgspec.Struct | bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        traceparent: str | None = None,
        correlation: bytes | None = None,
    ) -> Sending:
        """Queue a message. QoS 1 is sent again after a reconnect, until the broker has it.

        Raises `TopicError` for a topic that the broker would end the connection for.
        """
        payload = message if isinstance(message, bytes) else encode(message)
        user = {"traceparent": traceparent} if traceparent else {}
        properties = Properties(correlation=correlation, user=user)  # no content type: JSON needs none
        return self._send(topic, payload, properties, qos, retain=retain)

    def together(self) -> AbstractContextManager[None]:
        """Have what this thread publishes within the `with` block leave in one go: many cost little more than one."""
        return self._transport.together()

    def _send(
        self, topic: str, payload: bytes, properties: Properties, qos: int = 1, *, retain: bool = False
    ) -> Sending:
        if not topics.is_publishable(topic):
            raise TopicError(topic)
        return self._transport.publish(self._root + topic, payload, qos, retain=retain, properties=properties)

    def subscribe(self, inbox: Inbox, *filters: str, qos: int = 1) -> None:
        """Have what matches put into `inbox`; its taker must `ack` each delivery of QoS 1, in order."""
        self._routes.extend((TopicFilter(name), inbox) for name in filters)
        self._transport.subscribe({self._root + name: qos for name in filters})

    def listen(self, inbox: Inbox, filters: Mapping[str, int]) -> None:
        """Hear devices: their topics stand outside of `root`, and are seen whole. A later call replaces the filters.

        A message that is also on a topic that was subscribed to is heard there, and only once.
        """
        gone = [one.name for one, _ in self._outer_routes if one.name not in filters]
        self._outer_routes = [(TopicFilter(name), inbox) for name in filters]
        if gone:
            own = {self._root + one.name for one, _ in self._routes}
            self._transport.unsubscribe([name for name in gone if name not in own])
        self._transport.subscribe(filters)

    def ack(self, *deliveries: Delivery) -> None:
        """Confirm deliveries: what they asked for is durable now."""
        self._transport.ack(*deliveries)

    # Calls.

    def call(self, service: str, verb: str, arguments: msgspec.Struct | None = None, timeout_s: float = 5.0) -> Any:
        """Ask a service and return what its reply holds.

        Raises `CallError` for an error reply, `NoAnswerError` when the deadline passes.
        """
        for reply in self.gather(service, verb, arguments, timeout_s):
            if reply.error is not None:
                raise CallError(reply.error)
            return reply.result
        hint = None if self.connected else f"There is no connection to the broker: {self.trouble}."
        raise NoAnswerError(service, timeout_s, hint)

    def gather(
        self, service: str, verb: str, arguments: msgspec.Struct | None = None, timeout_s: float = 5.0
    ) -> Iterator[Reply]:
        """Ask all instances of a service; yield their replies as they come, until the deadline.

        Raises `NotAllowedError` when the broker does not let us ask.
        """
        call_id = f"{self._call_salt}-{next(self._call_ids)}"
        with self._reply_inbox(call_id) as inbox:
            sending = self._send_call(topics.call(service, verb), call_id, arguments)
            deadline = time.monotonic() + timeout_s
            while (left := deadline - time.monotonic()) > 0:
                if sending.refused:
                    raise NotAllowedError(self._root + topics.call(service, verb))
                for delivery in inbox.take(1, min(left, _GLANCE_S)):
                    try:
                        reply = decode(delivery.payload, Reply)
                    except WireError as error:
                        log.warning("skipped a reply that cannot be read", extra={"verb": verb, "reason": str(error)})
                    else:
                        yield reply

    def _send_call(self, topic: str, call_id: str, arguments: msgspec.Struct | None) -> Sending:
        reply_to = self._root + topics.reply(self.client_id)
        body = msgspec.to_builtins(arguments) if arguments is not None else {}
        # In the body as well: before the first connection nobody knows the version, and the service may speak another.
        body |= {"call_id": call_id, "reply_to": reply_to}
        return self._send(topic, encode(body), Properties(JSON, reply_to, call_id.encode()))

    @contextlib.contextmanager
    def _reply_inbox(self, call_id: str) -> Generator[Inbox]:
        if not self._hears_replies:
            self._transport.subscribe({self._root + topics.reply(self.client_id): 1})
            self._hears_replies = True
        inbox = self._replies[call_id] = Inbox()
        try:
            yield inbox
        finally:
            del self._replies[call_id]

    def answer(self, service: str, instance: str, verbs: dict[str, tuple[type[Any], Verb]]) -> None:
        """Answer calls to `service` on a thread of their own; each verb has the type of its arguments."""
        inbox = Inbox()
        answerer = Answerer(self, service, instance, verbs)

        def serve() -> None:
            while not self._stopped:
                for delivery in inbox.take(16, 3600.0):
                    answerer.answer(delivery)
                    self.ack(delivery)

        self._calls.append(inbox)
        threading.Thread(target=serve, name=f"calls to {service}", daemon=True).start()
        self.subscribe(inbox, topics.calls_to(service))

    def reply(
        self,
        topic: str,
        message: msgspec.Struct | bytes,
        correlation: bytes | None,
        content_type: str | None = None,
    ) -> None:
        """Answer where it was asked for; `topic` is as the asker gave it, root and all. Raises `TopicError`."""
        if not topics.is_publishable(topic.removeprefix(self._root)):
            raise TopicError(topic)
        if content_type is None and correlation is not None:
            content_type = JSON
        properties = Properties(content_type, None, correlation)
        payload = message if isinstance(message, bytes) else encode(message)
        self._transport.publish(topic, payload, 1, retain=False, properties=properties)

    def takes_replies(self, topic: str) -> bool:
        """May a call be answered there; `topic` is as the caller gave it."""
        return topics.takes_replies(topic.removeprefix(self._root))

    # Hooks of the transport, on its network thread.

    def _will(self) -> Will | None:
        if self._presence is None:
            return None
        will = self._presence.will()
        return Will(self._root + will.topic, will.payload)

    def _on_connected(self, session_present: bool) -> None:  # noqa: FBT001 (the hook's own shape)
        self._was_connected = True
        self._announced = None
        self._announce()
        for listener in self._session_listeners:
            listener(session_present)

    def _on_listening(self) -> None:
        self._connected.set()
        self._announce()  # what has changed since the birth was told by nobody: there was no connection to tell it on

    def _announce(self) -> None:
        """Tell the presence until what was told last is true: another thread may change it, and tell it before us."""
        while self._presence is not None and (birth := self._presence.birth()) != self._announced:
            self._announced = birth
            self.publish(birth.topic, birth.payload, retain=True)

    def _on_disconnected(self, reason: str) -> None:
        was_connected = self._connected.is_set()
        self._connected.clear()
        if was_connected or reason != self._lost_reason:
            log.warning("not connected: %s", reason)
        self._lost_reason = reason

    def _on_taken_over(self, reason: str) -> None:
        self._connected.clear()
        self._lost_reason = reason
        self._taken_over(reason)

    def _on_message(self, delivery: Delivery) -> None:
        if not (self._hand_in(delivery) or self._hand_to_listener(delivery)):
            self._transport.ack(delivery)  # of a session older than this process; nobody here wants it

    def _hand_in(self, delivery: Delivery) -> bool:
        """Hand over what is under our root; False for what nobody here has subscribed to."""
        if not delivery.topic.startswith(self._root):
            return False
        if self._root:
            delivery = replace(delivery, topic=delivery.topic[len(self._root) :])
        if self._hears_replies and delivery.topic == topics.reply(self.client_id):
            self._hand_to_caller(delivery)
            return True
        levels = delivery.topic.split("/")
        for one, inbox in self._routes:
            if one.matches(levels):
                inbox.put(delivery)
                return True
        return False

    def _hand_to_listener(self, delivery: Delivery) -> bool:
        levels = delivery.topic.split("/")
        for one, inbox in self._outer_routes:
            if one.matches(levels):
                inbox.put(replace(delivery, outside=True))
                return True
        return False

    def _hand_to_caller(self, delivery: Delivery) -> None:
        self._transport.ack(delivery)
        if delivery.correlation is not None:
            call_id = delivery.correlation.decode("ascii", "replace")
        else:
            try:
                call_id = decode(delivery.payload, Reply).call_id or ""
            except WireError:
                return
        self._replies.get(call_id, _CLOSED).put(delivery)


class _ClosedInbox(Inbox):
    """Where a reply goes that came after its deadline."""

    def put(self, delivery: Delivery) -> None:
        log.debug("a reply came too late: %s", delivery.topic)


_CLOSED: Final = _ClosedInbox()


class _Envelope(msgspec.Struct, frozen=True):
    call_id: str | None = None
    reply_to: str | None = None


class Answerer:
    """Turns a delivery on a call topic into a reply; a verb that stumbles answers `internal`."""

    def __init__(self, bus: Bus, service: str, instance: str, verbs: dict[str, tuple[type[Any], Verb]]) -> None:
        self._bus = bus
        self._service = service
        self._instance = instance
        self._verbs = verbs

    def answer(self, delivery: Delivery) -> None:
        """Do what was asked and reply, if anyone wants to hear; never raises."""
        try:
            self._answer(delivery)
        except TransportStoppedError:
            log.debug("stopped before the answer to %s", delivery.topic)
        except Exception:
            log.exception("the answer to %s could not be sent", delivery.topic)

    def _answer(self, delivery: Delivery) -> None:
        verb = delivery.topic.rpartition("/")[2]
        reply_to, call_id = delivery.response_topic, None
        try:
            body: dict[str, Any] = decode(delivery.payload or b"{}", dict[str, Any], delivery.content_type)
            envelope = msgspec.convert({name: body.pop(name, None) for name in ("call_id", "reply_to")}, _Envelope)
            reply_to, call_id = reply_to or envelope.reply_to, envelope.call_id
            result, failure = self._do(verb, body), None
        except CallError as error:
            result, failure = None, error.failure
        except ValueError as error:
            field = getattr(error, "field", None)
            result, failure = None, CallFailure(code=CallCode.INVALID_CALL, message=str(error), field=field)
        except Exception as error:
            log.exception("the call %s stumbled", delivery.topic)
            result, failure = None, CallFailure(code=CallCode.INTERNAL, message=f"{type(error).__name__}: {error}")
        if reply_to is not None and not self._bus.takes_replies(reply_to):
            log.warning("did not answer a call: no reply may go to %r", reply_to[:200])
        elif reply_to is not None:
            reply = Reply(
                service=self._service,
                verb=verb,
                instance=self._instance,
                call_id=call_id,
                result=result,
                error=failure,
            )
            self._bus.reply(reply_to, reply, delivery.correlation)

    def _do(self, verb: str, body: dict[str, Any]) -> Any:
        if verb not in self._verbs:
            known = ", ".join(sorted(self._verbs))
            raise CallError(
                CallFailure(code=CallCode.UNKNOWN_VERB, message=f"The {self._service} knows no {verb!r}.", hint=known)
            )
        kind, act = self._verbs[verb]
        return act(decode(encode(body), kind))

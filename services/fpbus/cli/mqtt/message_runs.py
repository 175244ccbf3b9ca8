"""From one message to one run: what its inputs are, where it runs, and what is told of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fpbus.cli.options import Format
from fpbus.cli.output import show_event, tell, write
from fpbus.cli.pipeline.talking import talking
from fpbus.cli.run_options import settings_given
from fpbus.pipelines import PipelineFailedError, Project
from fpbus.schemas import FpbusError, PipelineConfig, RunRequest, RunSettings, TriggerConfig, encode
from fpbus.triggers import Message, Pass, ProjectCodecs, Start, TriggerTable

from .functions import function_named

if TYPE_CHECKING:
    from fpbus.bus import Delivery
    from fpbus.control import Control
    from fpbus.schemas import RunStatus

_AGAIN_S: Final = 2.0
#: Control asks again after two seconds; what took less was asked once.
_ONE_QUESTION_S: Final = 1.9


class UnreadableError(FpbusError):
    """A message that no run can be made of."""


@dataclass(frozen=True)
class Reader:
    """Makes a request of a message; what was typed is laid over what the message says."""

    project: Project
    pipeline: str
    table: TriggerTable
    settings: RunSettings
    config_hook: Callable[..., Any] | None

    @classmethod
    def of(cls, project: Project, pipeline: str, topic: str, settings: RunSettings, hook: str | None) -> "Reader":
        """Load the pipeline and the function that `--config-hook` names."""
        project.graph(pipeline)  # what is wrong with it is said before any message comes
        places = (f"hooks.{pipeline}", "hooks", "")
        function = function_named(hook, project.folder, places, "--config-hook") if hook else None
        trigger = PipelineConfig(triggers=[TriggerConfig(topic=topic, retained=True)])
        table = TriggerTable({pipeline: trigger}, project.config.limits, ProjectCodecs(project.folder))
        return cls(project, pipeline, table, settings, function)

    def read(self, delivery: "Delivery") -> RunRequest:
        """Return what to run; raise `UnreadableError`, or `HookFailedError` of the pipeline's hooks."""
        hooks = self.project.graph(self.pipeline).hooks
        inputs, config = hooks.message(delivery.topic, delivery.payload)
        request = RunRequest(inputs=inputs) if hooks.has("on_message") else self._decoded(delivery)
        config |= self._hooked(delivery) | (self.settings.config or {})
        inputs = (request.inputs or {}) | (self.settings.inputs or {})
        given = settings_given(self.settings) | {"inputs": inputs, "config": config or None}
        return msgspec.structs.replace(request, **given)

    def _decoded(self, delivery: "Delivery") -> RunRequest:
        message = Message(
            delivery.topic,
            delivery.payload,
            at=datetime.now(UTC),
            qos=delivery.qos,
            retain=delivery.retain,
            content_type=delivery.content_type,
            properties=delivery.user,
        )
        for verdict in self.table.judge(message):
            if isinstance(verdict, Start):
                return verdict.request
            raise UnreadableError(verdict.reason if isinstance(verdict, Pass) else verdict.message)
        raise UnreadableError("The topic is one of the bus itself.")

    def _hooked(self, delivery: "Delivery") -> dict[str, Any]:
        if self.config_hook is None:
            return {}
        try:
            return dict(self.config_hook(payload=delivery.payload, topic=delivery.topic))
        except Exception as error:  # it is the user's, and may raise anything
            raise UnreadableError(f"The config hook raised {type(error).__name__}: {error}.") from error


@dataclass(frozen=True)
class Listener:
    """Runs messages here, or with `control` on the bus. `lasting` is the client id of a session that outlives us."""

    project: Project
    reader: Reader
    control: "Control | None"
    lasting: str | None
    style: Format

    def handle(self, delivery: "Delivery") -> None:
        """Run one message to its end, and tell of it in one line. A bad one is told, too."""
        try:
            with talking(self.style):
                request = self.reader.read(delivery)
                told = self._submit(request, delivery) if self.control else self._run(request)
        except PipelineFailedError as failed:
            told = {"state": "failed", "error": str(failed) or repr(failed.cause)}
        except SystemExit as end:  # a pipeline's own, which must not end the listener
            told = {"state": "failed", "error": f"The pipeline called sys.exit({end.code!r})."}
        except FpbusError as error:
            told = {"state": "refused", "error": str(error)}
        self._tell({"topic": delivery.topic, **told})

    def _run(self, request: RunRequest) -> dict[str, Any]:
        named = {name: getattr(request, name) for name in RunSettings.__struct_fields__}
        outputs = self.project.run(self.reader.pipeline, settings=RunSettings(**named))
        return {"state": "succeeded", "outputs": outputs}

    def _submit(self, request: RunRequest, delivery: "Delivery") -> dict[str, Any]:
        status = self._accepted(request, delivery)
        return {"state": "accepted", "run_id": status.run_id, "duplicate": status.duplicate}

    def _accepted(self, request: RunRequest, delivery: "Delivery") -> "RunStatus":
        """Ask until the bus has answered: a message may not be lost because nobody was there."""
        run_id = request.run_id or self._run_id(delivery)
        status, seconds = self._ask(msgspec.structs.replace(request, run_id=run_id))
        asked_once = seconds < _ONE_QUESTION_S
        if status.duplicate and asked_once and not delivery.duplicate and request.run_id is None:
            # An older message with this packet id and payload: the broker would have marked what it sends again.
            status, _ = self._ask(msgspec.structs.replace(request, run_id=_random_id()))
        return status

    def _ask(self, request: RunRequest) -> "tuple[RunStatus, float]":
        """Return the answer, and the seconds until it came."""
        from fpbus.bus import NoAnswerError
        from fpbus.control import UnavailableError

        assert self.control is not None
        begun = time.monotonic()
        while True:
            try:
                return self.control.submit(self.reader.pipeline, request), time.monotonic() - begun
            except (NoAnswerError, UnavailableError) as error:
                tell(f"{error} Asking again.")
                time.sleep(_AGAIN_S)

    def _run_id(self, delivery: "Delivery") -> str:
        """Return an id that is the same when the broker sends the message again, after this process has died."""
        if self.lasting is None or not delivery.qos:
            return _random_id()
        said = (self.lasting, delivery.packet_id, delivery.topic, delivery.payload)
        return f"mqtt-{blake2b(encode(said), digest_size=16).hexdigest()}"

    def _tell(self, told: dict[str, Any]) -> None:
        if self.style != "table":
            show_event(msgspec.to_builtins(told, enc_hook=repr), self.style)
            return
        rest = told.get("error") or told.get("run_id") or _in_short(told.get("outputs"))
        write(f"{told['topic']}  {told['state']}  {rest}")


def _random_id() -> str:
    from secrets import token_hex

    return f"mqtt-{token_hex(16)}"


def _in_short(outputs: Any) -> str:
    return msgspec.json.encode(outputs, enc_hook=repr).decode()

"""What the scheduler is asked on `fpbus/call/scheduler/{verb}`. Everything is answered from the store and the files."""

import contextlib
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fpbus.bus import CallError
from fpbus.project import UnknownPipelineError, load_pipeline, load_pipelines, load_project, pipeline_names
from fpbus.schemas import (
    CallCode,
    CallFailure,
    ChangedSchedules,
    ChooseSchedules,
    Explain,
    Explained,
    FpbusError,
    ListSchedules,
    PutSchedule,
    Reconciled,
    RejectionCode,
    ScheduleAll,
    Schedules,
    ScheduleSpec,
    StoredSchedule,
    lay,
)

from .database import StoreError
from .explaining import explain_spec, explain_text, info_of
from .handlers import reconcile
from .planning import ScheduleError, planned, spec_of_call, spec_of_file, specs_of_files, timed
from .store import Changes, LeaseLostError, Store, Stored

Verb = Callable[[Any], Any]


class ScheduleCalls:
    """Answers one call after the other; `changed` is called when the store is no more what it was."""

    def __init__(self, folder: Path, store: Store, changed: Callable[[], None]) -> None:
        self._folder = folder
        self._store = store
        self._changed = changed

    def verbs(self) -> dict[str, tuple[type[Any], Verb]]:
        verbs: dict[str, tuple[type[Any], Verb]] = {
            "put_schedule": (PutSchedule, self.put_schedule),
            "schedule_all": (ScheduleAll, self.schedule_all),
            "remove": (ChooseSchedules, self.remove),
            "pause": (ChooseSchedules, self.pause),
            "resume": (ChooseSchedules, self.resume),
            "list": (ListSchedules, self.list),
            "explain": (Explain, self.explain),
        }
        return {name: (kind, _told(verb)) for name, (kind, verb) in verbs.items()}

    def put_schedule(self, put: PutSchedule) -> StoredSchedule:
        """Store a schedule; a taken id is refused unless it may be overwritten."""
        now = datetime.now(UTC)
        config = load_pipeline(self._folder, put.pipeline)
        spec = spec_of_call(put, config, load_project(self._folder))
        config.run.override(spec.settings)  # what cannot be laid over the configuration is told now, not at each slot
        if planned(timed(spec, None, now)).trigger.next_after(now) is None:
            raise CallError(_refused(f"The schedule {spec.id!r} would never be due: its time is over.", None))
        with self._changes() as changes:
            before = changes.get(spec.id)
            if before is not None and not put.overwrite:
                message = f"There is a schedule {spec.id!r} already, for the pipeline {before.spec.pipeline!r}."
                hint = "Give another id, or say that it may be overwritten: --overwrite on the command line."
                raise CallError(_refused(message, "$.id", RejectionCode.CONFLICT, hint))
            spec = timed(spec, before.spec if before else None, now)
            changes.put([spec])
        return StoredSchedule(schedule=info_of(Stored(spec, now), now), replaced=before is not None)

    def schedule_all(self, ask: ScheduleAll) -> Reconciled:
        """Make the store agree with the files. A repeat changes nothing."""
        return self.activate(ask, answering=True)

    def activate(self, ask: ScheduleAll, *, answering: bool = False) -> Reconciled:
        """Do the same without being asked, which any scheduler may, and with errors that are no replies."""
        wanted = specs_of_files(load_pipelines(self._folder), load_project(self._folder))
        wanted = [_with_executor(spec, ask.executor) for spec in wanted]
        with self._changes(answering=answering) as changes:
            stored = {one.spec.id: one.spec for one in changes.all()}
            result = reconcile(wanted, stored, datetime.now(UTC), overwrite=ask.overwrite)
            changes.put(result.put)
            changes.remove(result.remove)
        return result.report

    def remove(self, chosen: ChooseSchedules) -> ChangedSchedules:
        with self._changes() as changes:
            ids = [one.spec.id for one in _choose(changes, chosen)]
            changes.remove(ids)
        return ChangedSchedules(changed=ids, unchanged=[])

    def pause(self, chosen: ChooseSchedules) -> ChangedSchedules:
        """Let nothing fall due; a repeat changes nothing."""
        return self._set_paused(chosen, paused=True)

    def resume(self, chosen: ChooseSchedules) -> ChangedSchedules:
        """Go on; nothing is made up for that was due during the pause."""
        return self._set_paused(chosen, paused=False)

    def list(self, wanted: ListSchedules) -> Schedules:
        now = datetime.now(UTC)
        columns = {name: value for name in ("id", "pipeline") if (value := getattr(wanted, name)) is not None}
        page, total = self._store.list(columns, wanted.limit, wanted.offset)
        return Schedules(schedules=[info_of(stored, now) for stored in page], total=total)

    def explain(self, explain: Explain) -> Explained:
        """Look for a schedule of that id, then for a pipeline whose file has one; what is neither is an expression."""
        now, project = datetime.now(UTC), load_project(self._folder)
        stored = self._store.get(explain.what)
        if stored is not None:
            return explain_spec(explain, stored.spec, info_of(stored, now), now)
        if explain.what not in pipeline_names(self._folder):
            return explain_text(explain, project, now)
        schedule = load_pipeline(self._folder, explain.what).schedule
        if schedule is not None:
            spec = spec_of_file(explain.what, schedule, project)
            stored = self._store.get(spec.id)
            return explain_spec(explain, spec, info_of(stored, now) if stored else None, now)
        message = f"The pipeline {explain.what!r} has no schedule in this project."
        hint = f"Give it one: `schedule:` in conf/pipelines/{explain.what}.yml"
        raise CallError(CallFailure(code=CallCode.NOT_FOUND, message=message, hint=hint, field="$.what"))

    def _set_paused(self, chosen: ChooseSchedules, *, paused: bool) -> ChangedSchedules:
        with self._changes() as changes:
            found = _choose(changes, chosen)
            to_change = [one.spec for one in found if one.spec.paused != paused]
            changes.put(msgspec.structs.replace(spec, paused=paused) for spec in to_change)
            if not paused:
                changes.skip([spec.id for spec in to_change], datetime.now(UTC))
        changed = [spec.id for spec in to_change]
        return ChangedSchedules(changed=changed, unchanged=sorted({one.spec.id for one in found} - set(changed)))

    @contextlib.contextmanager
    def _changes(self, *, answering: bool = True) -> Generator[Changes]:
        with self._store.changes(answering=answering) as changes:
            yield changes
        self._changed()


def _choose(changes: Changes, chosen: ChooseSchedules) -> list[Stored]:
    if (chosen.id is None) != chosen.every:
        raise CallError(_refused("Name one schedule by its `id`, or choose all with `every`.", "$.id"))
    if chosen.id is None:
        return changes.all()
    found = changes.get(chosen.id)
    if found is None:
        message, hint = (
            f"There is no schedule {chosen.id!r}.",
            "List those that there are: fpbus job-queue show-schedules",
        )
        raise CallError(CallFailure(code=CallCode.NOT_FOUND, message=message, hint=hint, field="$.id"))
    return [found]


def _with_executor(spec: ScheduleSpec, executor: str | dict[str, Any] | None) -> ScheduleSpec:
    if executor is None:
        return spec
    laid = lay({"executor": spec.settings.executor}, {"executor": executor})["executor"]
    return msgspec.structs.replace(spec, settings=msgspec.structs.replace(spec.settings, executor=laid))


def _told(verb: Verb) -> Verb:
    """Turn what may go wrong into error replies."""

    def answer(arguments: Any) -> Any:
        try:
            return verb(arguments)
        except CallError:
            raise
        except LeaseLostError:
            raise CallError(_unavailable("Another scheduler has taken over.", "Ask again.")) from None
        except StoreError as error:
            raise CallError(_unavailable(str(error), "Ask again later.")) from error
        except UnknownPipelineError as error:
            code = CallCode.NOT_FOUND
            raise CallError(CallFailure(code=code, message=str(error), hint=error.hint, field="$.pipeline")) from None
        except ScheduleError as error:
            raise CallError(_refused(str(error), f"$.{error.key}")) from None
        except msgspec.ValidationError as error:
            raise CallError(_refused(f"The settings cannot be used: {error}.", "$.settings")) from None
        except FpbusError as error:
            raise CallError(_refused(str(error), None, hint=error.hint)) from None

    return answer


def _unavailable(message: str, hint: str) -> CallFailure:
    return CallFailure(code=CallCode.UNAVAILABLE, message=message, hint=hint)


def _refused(
    message: str, field: str | None, detail: str | None = RejectionCode.INVALID_PAYLOAD, hint: str | None = None
) -> CallFailure:
    return CallFailure(code=CallCode.REJECTED, message=message, hint=hint, field=field, detail=detail)

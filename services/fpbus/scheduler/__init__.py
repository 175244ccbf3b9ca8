"""The scheduler: asks for a pipeline's run when its schedule is due."""

from fpbus.bus import open_bus
from fpbus.lifecycle import ServicePresence, Settings, Stop, broker_of, run_service
from fpbus.schemas import Role

from .database import Database, schedules_url
from .service import LOOK_S as LOOK_S
from .service import SchedulerService
from .store import Store


def serve(settings: Settings, *, activate: bool = False, interval_s: float = LOOK_S) -> None:
    """Run a scheduler until it is told to stop; with `activate` it first makes the store agree with the YAML files.

    Any number may run at once on one store, which each reads again every `interval_s`. Raises `FpbusError` when it
    cannot start, or was taken over.
    """
    stop = Stop()
    instance = settings.instance
    presence = ServicePresence(Role.SCHEDULER, instance)
    broker = broker_of(settings)
    store = Store(Database(schedules_url(settings)), instance)
    bus = open_bus(broker, f"fpbus-scheduler-{instance}", root=settings.root, presence=presence)
    service = SchedulerService(
        settings.project_dir, store, bus, presence, stop, instance, activate=activate, look_s=interval_s
    )
    run_service(service, presence, stop, Role.SCHEDULER, instance)

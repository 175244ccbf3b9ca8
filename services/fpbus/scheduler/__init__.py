"""The scheduler: asks for a pipeline's run when its schedule is due."""

from fpbus.bus import open_bus
from fpbus.lifecycle import ServicePresence, Settings, Stop, run_service
from fpbus.schemas import Role

from .service import SchedulerService


def serve(settings: Settings, *, activate: bool = False) -> None:
    """Run a scheduler until it is told to stop; the schedules of the YAML files count only with `activate`.

    Any number may run at once. Raises `FpbusError` when it cannot start, or was taken over.
    """
    stop = Stop()
    instance = settings.instance
    presence = ServicePresence(Role.SCHEDULER, instance)
    url = settings.need("mqtt_url")
    bus = open_bus(url, f"fpbus-scheduler-{instance}", root=settings.root, presence=presence)
    service = SchedulerService(settings.project_dir, bus, presence, stop, instance, activate=activate)
    run_service(service, presence, stop, Role.SCHEDULER, instance)

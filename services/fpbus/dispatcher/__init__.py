"""The dispatcher: validates messages, makes each into one job, says so, and only then acknowledges."""

from secrets import token_hex

from fpbus.lifecycle import ServicePresence, Settings, Stop, redis_of, run_service
from fpbus.schemas import Role

from .catalog import Catalog
from .queue import RunQueue
from .service import DispatcherService


def serve(settings: Settings) -> None:
    """Run a dispatcher until it is told to stop. Raises `FpbusError` when it cannot start, or was taken over."""
    stop = Stop()
    redis = redis_of(settings)
    queue = RunQueue(redis.url, token_hex(16), redis.options, allow_volatile=settings.volatile_allowed)
    presence = ServicePresence(Role.DISPATCHER, settings.instance, active=False, lease=queue.token)
    service = DispatcherService(settings, queue, Catalog(settings.project_dir, settings.root), presence, stop)
    run_service(service, presence, stop, Role.DISPATCHER, settings.instance)

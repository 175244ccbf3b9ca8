"""How a service process lives: settings, logs, presence, start and stop."""

from .access import RedisRefusedError as RedisRefusedError
from .access import broker_of as broker_of
from .access import loose_files as loose_files
from .access import redis_of as redis_of
from .access import redis_refusal as redis_refusal
from .logs import configure as configure_logs
from .presence import ServicePresence as ServicePresence
from .redis_check import check_redis_server as check_redis_server
from .service import GRACE_S as GRACE_S
from .service import Service as Service
from .service import Stop as Stop
from .service import TakenOverError as TakenOverError
from .service import ready_line as ready_line
from .service import run_service as run_service
from .settings import Settings as Settings
from .settings import SettingsError as SettingsError

__all__ = ["configure_logs"]

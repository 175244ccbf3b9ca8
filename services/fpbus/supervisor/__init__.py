"""`fpbus up`: broker, Redis and services on one machine, started together, kept alive, stopped in order."""

from .claim import AlreadyRunningError as AlreadyRunningError
from .claim import Running as Running
from .claim import running as running
from .events import AllReady as AllReady
from .events import Event as Event
from .events import ProcessDied as ProcessDied
from .events import ProcessReady as ProcessReady
from .events import ProcessStarted as ProcessStarted
from .events import ProcessStopped as ProcessStopped
from .events import ServerChosen as ServerChosen
from .events import Stopping as Stopping
from .plan import ProcessSpec as ProcessSpec
from .plan import plan_services as plan_services
from .servers import MissingServerError as MissingServerError
from .servers import Programs as Programs
from .servers import find_programs as find_programs
from .supervisor import StartError as StartError
from .supervisor import Supervisor as Supervisor

"""Everything that a person or a program asks of the bus: start runs, follow them, look back, look around."""

from .control import Control as Control
from .control import new_run_id as new_run_id
from .errors import NotConnectedError as NotConnectedError
from .errors import NotFoundError as NotFoundError
from .errors import RejectedError as RejectedError
from .errors import UnavailableError as UnavailableError
from .errors import WaitTimedOutError as WaitTimedOutError
from .outbox import Outbox as Outbox
from .outbox import OutboxError as OutboxError
from .outbox import Waiting as Waiting
from .outbox import outbox_of as outbox_of
from .replaying import ReplayPage as ReplayPage
from .watching import RunEvent as RunEvent
from .watching import Watch as Watch

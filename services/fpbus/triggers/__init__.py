"""From a device's message to the runs that it starts: topics, formats, conditions, mappings. Decides, and does nothing.

message -> whose topic is it -> decode -> does `when` hold -> inputs, key, run id -> a request
"""

from .cloud_events import unwrap as unwrap
from .codec_process import CodecProcess as CodecProcess
from .codecs import ProjectCodecs as ProjectCodecs
from .message import Message as Message
from .table import MOST_HOPS as MOST_HOPS
from .table import Codec as Codec
from .table import TriggerTable as TriggerTable
from .verdicts import Pass as Pass
from .verdicts import Refusal as Refusal
from .verdicts import RefusedError as RefusedError
from .verdicts import Start as Start
from .verdicts import Verdict as Verdict

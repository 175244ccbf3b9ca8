"""Pipelines as Hamilton DAGs: imported, built once, run, and their outputs encoded. Needs no bus."""

from .cache import UnknownNodeError as UnknownNodeError
from .cache import cache_url as cache_url
from .cache import clear_cache as clear_cache
from .graph import Graph as Graph
from .graph import PipelineFailedError as PipelineFailedError
from .hook_calls import HookFailedError as HookFailedError
from .hook_calls import Hooks as Hooks
from .modules import PipelineNotLoadableError as PipelineNotLoadableError
from .nodes import NodeReport as NodeReport
from .nodes import summarise as summarise
from .outputs import INLINE_BYTES as INLINE_BYTES
from .outputs import NotEncodableError as NotEncodableError
from .outputs import encode_output as encode_output
from .project import Project as Project
from .project import SettingsNotUsableError as SettingsNotUsableError
from .project import override as override
from .retries import RetryRule as RetryRule
from .retries import imported as imported
from .retries import loaded as loaded
from .storage import Storage as Storage
from .storage import StorageError as StorageError
from .storage import default_url as default_url

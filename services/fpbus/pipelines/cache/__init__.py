"""Values of nodes, kept from run to run on the project's storage. What is read back is data, never code."""

from .adapter import CacheAdapter as CacheAdapter
from .making import UnknownNodeError as UnknownNodeError
from .making import cache_url as cache_url
from .making import check_names as check_names
from .making import clear_cache as clear_cache
from .making import make_cache as make_cache

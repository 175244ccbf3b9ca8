"""Where a run's adapters come from: Hamilton's UI, MLflow, OpenTelemetry, a bar, Ray, threads, and the project's own.

Adapters that only listen stand behind a guard: whatever they raise, the run goes on. Those that change how nodes are
computed are a part of the pipeline.
"""

from .errors import AdapterError as AdapterError
from .making import lacking_extra as lacking_extra
from .making import make_adapters as make_adapters

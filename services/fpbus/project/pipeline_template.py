"""What `fpbus pipeline new` writes: a small module that runs at once, and a file with every key there is."""

from pathlib import Path
from typing import Final

from fpbus.schemas import is_pipeline_name

from .errors import ProjectError
from .files import CONFIG, MODULES, PIPELINES
from .template import write_new

_MODULE: Final = '''\
"""The pipeline `{name}`.

Each function is a node. Its arguments name the nodes, inputs and params that it needs; type hints are required.
"""


def scaled(numbers: list[float], factor: float) -> list[float]:
    """The input `numbers`, each multiplied by the param `factor`."""
    return [number * factor for number in numbers]


def total(scaled: list[float]) -> float:
    """The sum of them."""
    return sum(scaled)
'''

_CONFIG: Final = """\
# How the pipeline `{name}` runs when nobody says otherwise. What stands behind a # is the default.
run:
  inputs:
    numbers: [1, 2, 3]
  final_vars:
    - total
  # config: {{}}                 # for Hamilton's @config.when
  # cache: false               # or true, or {{recompute: [scaled]}}
  # with_adapter: {{}}           # such as {{mlflow: true, progressbar: true}}
  # executor: {{type: local}}    # local, threadpool, processpool, ray or dask; with max_workers, num_cpus, address
  # additional_modules: []     # further modules of functions, such as pipelines.shared
  # async_driver: false        # true for `async def` functions
  # log_level: INFO
  # max_retries: 0             # tries after the first
  # retry_delay: 5.0           # seconds
  # jitter_factor: 0.0         # from 0 to 1
  # backoff: 1.0               # by which the delay grows
  # retry_exceptions: []       # all of them; or such as [TimeoutError, requests.exceptions.ConnectionError]
  # timeout_s: 3600.0
  # priority: default          # high, default or low
  # queue: gpu                 # only for workers that serve it; none is for all

# Reach the functions by argument name.
params:
  factor: 2.0

# One of: cron: "0 5 * * *", interval: 1h30m, date: "2030-01-01T10:00:00".
# schedule:
#   interval: 1h
#   timezone: UTC
#   start: null                # and end: nothing is due before or after
#   jitter_s: 0.0
#   misfire: last              # all, last or none of the times that passed while no scheduler ran
#   grace_s: null              # not those that are older
#   catch_up: 100              # and at most so many
#   id: {name}
#   enabled: true              # also priority, key, and all of `run:` for scheduled runs

# Messages of devices that start it.
# triggers: []                 # such as [{{topic: "sensors/{{room}}", inputs: {{celsius: payload.t}}}}]

# How many of its runs may run at a time, and what becomes of one more: queue, cancel-running or skip.
# limits: {{}}                   # such as {{max_running: 2, max_running_per_key: 1, when_full: queue, rate: 100/min}}

# Pipelines that run next.
# on_success: []               # such as [{{pipeline: report, inputs: {{sum: outputs.total}}}}]
# on_failure: []               # such as [alert]

# Over those of conf/project.yml.
# adapter: {{}}                  # hamilton_tracker, mlflow, opentelemetry, ray, custom
# hooks: []                    # such as [{{type: on_failure, function: hooks.{hook}.note}}]

# What a message from the bus may set, besides inputs and final_vars.
# allow_overrides: []          # such as [config, max_retries, log_level]
"""


class IllegalNameError(ProjectError):
    """A name that no pipeline may have."""

    exit_code = 2

    def __init__(self, name: str) -> None:
        hint = "Use up to 64 of a-z, 0-9, '_', '-' and '.', the first a letter, a digit or '_'."
        super().__init__(f"{name[:80]!r} cannot name a pipeline.", hint)


def make_pipeline(folder: Path, name: str, *, overwrite: bool = False) -> list[Path]:
    """Write the module and the configuration of a new pipeline, and return both.

    Raises `IllegalNameError`, and `ProjectError` where one of them exists and may not be overwritten.
    """
    if not is_pipeline_name(name) or name == "__init__":
        raise IllegalNameError(name)
    if not (folder / CONFIG).is_file():
        raise ProjectError(f"There is no fpbus project at {folder}: {CONFIG} is missing.", "Make one: fpbus init")
    hook = name if name.isidentifier() else "own"
    texts = {
        folder / MODULES / f"{name}.py": _MODULE.format(name=name),
        folder / PIPELINES / f"{name}.yml": _CONFIG.format(name=name, hook=hook),
    }
    if not overwrite and (taken := [path for path in texts if path.exists()]):
        raise ProjectError(
            f"There is a pipeline {name!r} already: {taken[0].relative_to(folder)}.",
            "Nothing was changed. To replace it: --overwrite",
        )
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    write_new(folder / MODULES / "__init__.py", "")
    return list(texts)

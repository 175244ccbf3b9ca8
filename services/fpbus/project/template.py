"""What `fpbus init` writes: a project with one small pipeline that runs at once."""

from pathlib import Path
from typing import Final

from fpbus.schemas import is_pipeline_name

from .files import CONFIG, ProjectError

_PROJECT: Final = """\
name: {name}

job_queue:
  type: rq

# Where cron schedules count, and times without a zone.
timezone: UTC
"""

_PIPELINE_YML: Final = """\
# How the pipeline `hello` runs when a message does not say otherwise.
run:
  inputs:
    celsius: 21.5
  final_vars:
    - fahrenheit
    - comfort
  max_retries: 0

# Reach the functions by argument name.
params:
  comfortable_from: 68.0
  comfortable_to: 77.0

# Becomes active with `fpbus up --schedule`.
schedule:
  interval: 1m
"""

_PIPELINE_PY: Final = '''\
"""Each function is a node; its arguments name the nodes, inputs and params that it needs."""


def fahrenheit(celsius: float) -> float:
    """The measured temperature on the other scale."""
    return celsius * 9 / 5 + 32


def comfort(fahrenheit: float, comfortable_from: float, comfortable_to: float) -> str:
    """A word for how it feels."""
    if fahrenheit < comfortable_from:
        return "cold"
    return "warm" if fahrenheit > comfortable_to else "comfortable"
'''

_README: Final = """\
# {name}

Start everything on this machine:

    fpbus up

Then, in another terminal, run the pipeline `hello`:

    fpbus trigger hello --input celsius=25 --wait

or from any MQTT client: publish `{{"inputs": {{"celsius": 25}}}}` to `pipelines/hello/run`
and read `pipelines/hello/runs/+/result`.

- `pipelines/hello.py`: the functions
- `conf/pipelines/hello.yml`: how they run
- `conf/project.yml`: the project
"""


def make_project(folder: Path, name: str) -> list[Path]:
    """Write a new project into `folder` and return the files made. Raises where a project is already."""
    if (folder / CONFIG).exists():
        raise ProjectError(f"There is a project at {folder} already.", "Nothing was changed.")
    if "\n" in name or not name.strip():
        raise ProjectError(f"{name!r} cannot name a project.")
    quoted = name if is_pipeline_name(name) else f'"{name}"'
    files = {
        CONFIG: _PROJECT.format(name=quoted),
        Path("conf/pipelines/hello.yml"): _PIPELINE_YML,
        Path("pipelines/__init__.py"): "",
        Path("pipelines/hello.py"): _PIPELINE_PY,
        Path("hooks/__init__.py"): "",
        Path("README.md"): _README.format(name=name),
        Path(".gitignore"): ".fpbus/\n__pycache__/\n",
    }
    made: list[Path] = []
    for path, text in files.items():
        target = folder / path
        if not target.exists():  # in a folder that holds other things, those stay
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            made.append(target)
    return made

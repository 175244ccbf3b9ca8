"""What `fpbus init` writes: a project with one small pipeline that runs at once."""

import re
from pathlib import Path
from typing import Final

import yaml

from .errors import ProjectError
from .files import CONFIG, PIPELINES

_PROJECT: Final = """\
{name}

job_queue:
  type: rq

# Where cron schedules count, and times without a zone.
timezone: UTC
"""

_PIPELINE_YML: Final = """\
# How the pipeline `hello` runs when nobody says otherwise.
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

Run the pipeline `hello` here and now:

    fpbus pipeline run hello --input celsius=25

Start everything on this machine:

    fpbus up

Then, in another terminal, run it on the bus:

    fpbus trigger hello --input celsius=25 --wait

or from any MQTT client: publish `{{"inputs": {{"celsius": 25}}}}` to `pipelines/hello/run`
and read `pipelines/hello/runs/+/result`.

- `pipelines/hello.py`: the functions
- `conf/pipelines/hello.yml`: how they run
- `conf/project.yml`: the project
"""


_BARE_README: Final = """\
# {name}

Make a pipeline, and run it:

    fpbus pipeline new hello
    fpbus pipeline run hello

- `pipelines/`: a module for each pipeline, its functions
- `conf/pipelines/`: how they run
- `conf/project.yml`: the project
- `hooks/`: functions to call before and after runs
"""


def make_project(folder: Path, name: str, *, bare: bool = False) -> list[Path]:
    """Write a new project into `folder` and return the files made. Raises where a project is already.

    Files that exist are left alone. A `bare` project has no pipeline.
    """
    if (folder / CONFIG).exists():
        raise ProjectError(f"There is a project at {folder} already.", "Nothing was changed.")
    if not name.strip() or not name.isprintable():
        raise ProjectError(f"{name!r} cannot name a project.")
    made = [path for path, text in _files(name, bare=bare).items() if write_new(folder / path, text)]
    (folder / PIPELINES).mkdir(exist_ok=True)
    return [folder / path for path in made]


def write_new(path: Path, text: str) -> bool:
    """Write a file unless there is one, and tell whether it was written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if not path.is_file():  # or what should be its folder is a file
            raise
        return False
    return True


def _files(name: str, *, bare: bool) -> dict[Path, str]:
    line = f"name: {_quoted(name)}"
    files = {
        CONFIG: _PROJECT.format(name=line),
        Path("pipelines/__init__.py"): "",
        Path("hooks/__init__.py"): "",
        Path("README.md"): (_BARE_README if bare else _README).format(name=name),
        Path(".gitignore"): ".fpbus/\n__pycache__/\n",
    }
    hello = {Path("conf/pipelines/hello.yml"): _PIPELINE_YML, Path("pipelines/hello.py"): _PIPELINE_PY}
    return files if bare else {**hello, **files}


def _quoted(name: str) -> str:
    """Write a name so that every reader of YAML takes it for text: they differ over `on`, `1e3` and `012`."""
    dumped: str = yaml.safe_dump({"name": name}, allow_unicode=True, width=1_000_000)
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name) and dumped == f"name: {name}\n"
    return name if plain else yaml.safe_dump(name, default_style='"', allow_unicode=True, width=1_000_000).strip()

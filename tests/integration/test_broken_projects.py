"""Broken projects, each through the real command: one screen that names the thing and what to do, and no traceback."""

import http.client
import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import fsspec
import pytest

from support.commands import Commands, Done
from support.servers import Server, free_port

PROJECT, CONFIG, MODULE = "conf/project.yml", "conf/pipelines/sales.yml", "pipelines/sales.py"
RUN, CHECK = "pipeline run sales", "pipeline check"
FAILED, USAGE, NOT_FOUND, UNREACHABLE, NOT_RIGHT = 1, 2, 4, 5, 8
ONE_SCREEN = 24
SECRET = "s3cr3t-of-mine"

SETTINGS = "run:\n  final_vars: [total]\n  inputs: {amount: 2}\nparams: {rate: 3}\n"
TOTAL = "def total(amount: int, rate: int) -> int:\n    return amount * rate\n"
WHOLE = {
    PROJECT: "name: shop\n",
    CONFIG: SETTINGS,
    MODULE: TOTAL,
    "pipelines/__init__.py": "",
    "hooks/__init__.py": "",
}

LETTERS = "abcdefghi"
EXPLODING = "a: &a [1, 1]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise(LETTERS))
CIRCLE = "def total(b: int) -> int:\n    return b\n\n\ndef b(total: int) -> int:\n    return total\n"
TWICE = "from hamilton.function_modifiers import parameterize, value\n@parameterize(total={'x': value(1)})\n"
#: Python's own way to say that a package is not there.
LACKS = "import sys\nsys.modules['{}'] = None\n" + TOTAL


class Broken(NamedTuple):
    """What is wrong with a project: files that are not as in the whole one, what is typed, and what must be said."""

    name: str
    files: dict[str, str | None]
    said: str
    """Parts of the message, with bars between them."""
    command: str = RUN
    code: int = NOT_RIGHT
    environment: Mapping[str, str] = MappingProxyType({})


FILES = [
    Broken("no project file", {PROJECT: None}, "conf/project.yml | fpbus init"),
    Broken("no module", {MODULE: None}, "'sales' | pipelines/sales.py is missing"),
    Broken("no configuration", {CONFIG: None}, "'sales'", code=NOT_FOUND),
    Broken("a folder for a configuration", {CONFIG: None, f"{CONFIG}/x": ""}, "sales.yml: it is no file"),
    Broken(
        "an overlay of a wrong type", {}, "FPBUS_RUN__MAX_RETRIES | 'a'", environment={"FPBUS_RUN__MAX_RETRIES": "a"}
    ),
    Broken("an overlay that is none", {}, "FPBUS_RUN__CASH | `run.cache`", environment={"FPBUS_RUN__CASH": "true"}),
    Broken("no dot", {}, "`dot` | apt-get install graphviz", "pipeline save-dag sales", environment={"PATH": ""}),
    Broken("no ray", {MODULE: LACKS.format("ray")}, "'ray' | fpbus[ray]", f"{RUN} --executor ray"),
    Broken("no dask", {MODULE: LACKS.format("distributed")}, "'dask' | fpbus[dask]", f"{RUN} --executor dask"),
]

PROJECTS = {
    "an empty file": ("", "project.yml: | `name` is missing | Add it"),
    "no name": ("timezone: UTC\n", "project.yml: | `name` is missing | Add it"),
    "a list": ("- name: shop\n", "project.yml: | it must be a mapping"),
    "an unknown key": ("name: shop\njob_que: {}\n", "project.yml:2: | `job_que` | Did you mean `job_queue`?"),
    "no zone": ("name: shop\ntimezone: Europe/Berln\n", "project.yml:2: | 'Europe/Berln' | Europe/Berlin"),
    "no port": ("name: shop\njob_queue: {redis_port: 70000}\n", "project.yml:2: | `job_queue.redis_port` | 65535"),
    "no job queue": ("name: shop\njob_queue: {type: celery}\n", "project.yml:2: | `job_queue.type` | rq"),
    "no options": ("name: shop\nstorage_options: 3\n", "project.yml:2: | `storage_options` | mapping"),
    "no switch": ("name: shop\ncache: {allow_pickle: sure}\n", "project.yml:2: | `cache.allow_pickle` | true"),
}

CONFIGS = {
    "no text": ("\0\1", "sales.yml: | UTF-8"),
    "no YAML": ("run: [1,\n", "sales.yml:2: | no YAML"),
    "a tab": ("run:\n\tinputs: {}\n", "sales.yml:2: | YAML takes no tabs"),
    "a key twice": ("run: {}\nparams: {}\nrun: {}\n", "sales.yml:3: | 'run' is there twice, also on line 1"),
    "aliases that explode": (EXPLODING, "sales.yml: | aliases"),
    "a tag": ("params: {rate: !!python/object/apply:os.system [ls]}\n", "sales.yml:1: | os.system | !!str"),
    "an unset variable": ("params: {rate: '${NO_SUCH}'}\n", "sales.yml:1: | `params.rate` | NO_SUCH | Set it"),
    "a variable with a message": ("params: {rate: '${NO_SUCH:?ask Bob}'}\n", "sales.yml:1: | NO_SUCH | ask Bob"),
    "an open variable": ("params:\n  rate: ${RATE\n", "sales.yml:2: | `params.rate` | Write ${NAME}"),
    "an unknown section": ("runn: {}\n", "sales.yml:1: | `runn` | Did you mean `run`?"),
    "an unknown key": ("run:\n  final_var: [total]\n", "sales.yml:2: | Did you mean `run.final_vars`?"),
    "a list for inputs": ("run:\n  inputs: [1]\n", "sales.yml:2: | `run.inputs` | mapping"),
    "a name for a list": ("run:\n  final_vars: total\n", "sales.yml:2: | `run.final_vars` | [total]"),
    "a word for a number": ("run:\n  max_retries: often\n", "sales.yml:2: | `run.max_retries` | whole number"),
    "a negative delay": ("run:\n  retry_delay: -1\n", "sales.yml:2: | `run.retry_delay` | from 0"),
    "too much jitter": ("run:\n  jitter_factor: 1.5\n", "sales.yml:2: | `run.jitter_factor` | from 0 to 1"),
    "YAML 1.1": ("run:\n  cache: on\n", "sales.yml:2: | `run.cache` | Write true or false"),
    "no level": ("run:\n  log_level: LOUD\n", "sales.yml:2: | `run.log_level` | DEBUG"),
    "no executor": ("run:\n  executor: {type: treadpool}\n", "sales.yml:2: | Did you mean 'threadpool'?"),
    "no workers": ("run:\n  executor: {type: threadpool, max_workers: 0}\n", "sales.yml:2: | max_workers | at least 1"),
    "no adapter": ("run:\n  with_adapter: {mlfow: true}\n", "sales.yml:2: | 'mlfow' | Did you mean 'mlflow'?"),
    "no class": ("run: {with_adapter: {hooks.none.Mine: true}}\n", "hooks.none.Mine | cannot be imported"),
    "no such module": ("run: {additional_modules: [nothing_there]}\n", "'nothing_there' | cannot be imported"),
    "no hook's module": ("hooks: [{type: before_run, function: hooks.none.note}]\n", "before_run | 'hooks.none'"),
    "no hook's function": ("hooks: [{type: on_failure, function: hooks.note}]\n", "on_failure | hooks/__init__.py"),
    "no moment": ("hooks: [{type: before_all, function: a.b}]\n", "sales.yml:1: | `hooks.0.type` | 'before_run'?"),
}

CHECKS = {
    "no output": ("run:\n  final_vars: [totl]\n", "sales.yml:2 | run.final_vars.0 | Did you mean 'total'?"),
    "no cached node": ("run:\n  cache: {recompute: [tota]}\n", "sales.yml:2 | run.cache.recompute.0 | 'total'?"),
    "no adapter": ("run:\n  with_adapter: {mlfow: true}\n", "sales.yml:2 | run.with_adapter.mlfow | 'mlflow'?"),
    "no hook": ("hooks: [{type: before_run, function: hooks.note}]\n", "sales.yml:1 | hooks/__init__.py"),
    "no schedule's zone": ("schedule: {cron: 0 5 * * *, timezone: Mars/North}\n", "sales.yml:1 | Mars/North"),
    "no schedule's key": ("schedule: {crn: 0 5 * * *}\n", "sales.yml:1 | schedule.crn | `schedule.cron`?"),
}

MODULES = {
    "a missing import": ("x = 1\nimport nothing_there\n", "sales.py | line 2 | No module named 'nothing_there'"),
    "a missing import of ours": ("from pipelines import nothing\n", "sales.py | line 1 | 'nothing'"),
    "an error on import": ("x = 1\nHALF = 1 / 0\n", "sales.py | line 2 | ZeroDivisionError: division by zero"),
    "sys.exit on import": ("import sys\nsys.exit(0)\n", "sales.py | line 2 | SystemExit: 0"),
    "a syntax error": ("def total(a: int -> int:\n    return a\n", "sales.py | SyntaxError | line 1"),
    "an indentation error": ("def total(a: int) -> int:\nreturn a\n", "sales.py | IndentationError | line 2"),
    "no return hint": ("def total(a: int):\n    return a\n", "'sales' | 'total' | Add a return hint"),
    "no argument's hint": ("def total(a) -> int:\n    return a\n", "'sales' | 'a' | 'total' | Add a hint, as `a: int`"),
    "a circle": (CIRCLE, "'sales' | in a circle: b -> total -> b"),
    "types that do not fit": (CIRCLE.replace("total: int) -> int", "x: int) -> str"), "'total' | 'b' | int | str"),
    "a node twice": (f"{TWICE}def a(x: int) -> int:\n    return x\n{TOTAL}", "two nodes 'total'"),
}

RUNS = {
    "sys.exit in a node": ("import sys\ndef total() -> int:\n    sys.exit(0)\n", "'sales' called sys.exit(0)"),
    "an exception": ("def total(rate: int) -> int:\n    return 1 / (rate - 3)\n", "line 2, in total | (node total)"),
    "no functions": ("x = 1\n", "There is no node 'total' | module defines no functions"),
    "a missing input": ("def total(price: int) -> int:\n    return price\n", "'price' | --input price=VALUE"),
    "an input's type": ("def total(amount: str) -> int:\n    return 1\n", "'amount' | of type int; it must be str"),
}

TYPED = [
    ("pipeline run seles", NOT_FOUND, "'seles' | Did you mean 'sales'?"),
    ("pipeline check seles", NOT_FOUND, "'seles' | Did you mean 'sales'?"),
    ("pipeline show-dag seles", NOT_FOUND, "'seles' | Did you mean 'sales'?"),
    ("pipeline delete seles", NOT_FOUND, "'seles' | Did you mean 'sales'?"),
    ("pipeline show-summary --name seles", NOT_FOUND, "'seles' | Did you mean 'sales'?"),
    ("pipeline add-hook seles --type before-run --function note", NOT_FOUND, "'seles' | Did you mean 'sales'?"),
    ("pipeline add-hook sales --type before-all --function note", USAGE, "'before-all' | Did you mean 'before_run'?"),
    ("pipeline import other --from nowhere", NOT_RIGHT, "There is no folder | /nowhere"),
    ("pipeline new 2024-sales!", USAGE, "'2024-sales!' | Use up to 64 of"),
    ("pipeline new sales", NOT_RIGHT, "'sales' | pipelines/sales.py | --overwrite"),
    ("pipeline save-dag sales --format bmp", USAGE, "--format | 'bmp' | 'svg'"),
    ("init --name ../shop", USAGE, "--name | --base-dir"),
    ("ui --no-open", NOT_RIGHT, "Hamilton's UI is not installed | pip install 'fpbus[ui]'"),
    (f"{RUN} --final-vars totl", FAILED, "'totl' | Did you mean 'total'?"),
    (f"{RUN} --inputs amount=two", FAILED, "'amount' | it must be int"),
    (f"{RUN} --inputs {{amount", USAGE, "--inputs | no JSON"),
    (f"{RUN} --inputs @nothing.json", USAGE, "--inputs | nothing.json"),
    (f"{RUN} --executor treadpool", USAGE, "--executor | 'treadpool' | Did you mean 'threadpool'?"),
    (f"{RUN} --with-adapter mlfow=true", NOT_RIGHT, "'mlfow' | Did you mean 'mlflow'?"),
    (f'{RUN} --cache {{"recompute":["tota"]}}', USAGE, "run.cache.recompute | 'tota' | Did you mean 'total'?"),
    (f"{RUN} --max-retries often", USAGE, "--max-retries | a valid integer"),
    (f"{RUN} --retrys 3", USAGE, "--retrys | --max-retries"),
    (f"{RUN} --log-level LOUD", USAGE, "--log-level | LOUD | 'debug'"),
    (f"{RUN} --base-dir nowhere", NOT_RIGHT, "There is no folder | /nowhere"),
    (f"{RUN} --base-dir nosuch://x/shop", NOT_RIGHT, "nosuch://x/shop | Check the URL"),
    (f"{RUN} --base-dir gs://bucket/shop", NOT_RIGHT, "gs://bucket/shop | pip install gcsfs"),
    (f"{RUN} --base-dir memory://nowhere", NOT_FOUND, "memory://nowhere | Check bucket"),
    (f"{RUN} --base-dir zip://::hooks/__init__.py", NOT_RIGHT, "hooks/__init__.py | is no zip file"),
    (f"{RUN} --base-dir memory://x --storage-options [1]", USAGE, "--storage-options | a list"),
]

EVERYTHING = [
    *FILES,
    *(Broken(f"project: {name}", {PROJECT: text}, said) for name, (text, said) in PROJECTS.items()),
    *(Broken(f"config: {name}", {CONFIG: text}, said) for name, (text, said) in CONFIGS.items()),
    *(Broken(f"checked: {name}", {CONFIG: text}, said, CHECK) for name, (text, said) in CHECKS.items()),
    *(Broken(f"module: {name}", {MODULE: text}, said) for name, (text, said) in MODULES.items()),
    *(Broken(f"run: {name}", {MODULE: text}, said, code=FAILED) for name, (text, said) in RUNS.items()),
    *(Broken(f"typed: {command}", {}, said, command, code) for command, code, said in TYPED),
]


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    fpbus = Commands(tmp_path / "shop")
    fpbus.environment |= {"FPBUS_CACHE_DIR": str(tmp_path / "cache"), "AWS_EC2_METADATA_DISABLED": "true"}
    write(fpbus.folder, WHOLE)
    return fpbus


def write(folder: Path, files: Mapping[str, str | None]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            (folder / path).unlink()
        else:
            (folder / path).write_text(text)


def assert_told(done: Done, code: int, said: str, *, checked: bool = False) -> None:
    """Assert that an error is all there is: the findings of a check are data, everything else is talk."""
    told, nothing = (done.out, done.told) if checked else (done.told, done.out)
    assert done.code == code, done
    assert nothing == "", done
    assert [part for part in said.split(" | ") if part not in told] == [], told
    assert len(told.splitlines()) <= ONE_SCREEN
    assert "succeeded" not in told
    assert [frame for frame in re.findall(r'File "(.+?)"', told) if "/shop/" not in frame] == [], (
        "the user's lines only"
    )


def test_the_whole_one_runs(fpbus: Commands) -> None:
    run, check = fpbus(*RUN.split()), fpbus(*CHECK.split())

    assert (run.code, run.out.split()) == (0, ["OUTPUT", "VALUE", "total", "6"])
    assert (check.code, check.told) == (0, "all well: 1 pipeline\n")


@pytest.mark.parametrize("broken", EVERYTHING, ids=lambda broken: broken.name)
def test_what_is_broken_is_told_on_one_screen(fpbus: Commands, broken: Broken) -> None:
    write(fpbus.folder, broken.files)

    done = fpbus(*broken.command.split(), environment=broken.environment)

    assert_told(done, broken.code, broken.said, checked=broken.command == CHECK)


def test_there_are_at_least_forty() -> None:
    assert len({broken.name for broken in EVERYTHING}) == len(EVERYTHING) >= 40


@pytest.mark.parametrize("asked", ["option", "environment"])
@pytest.mark.parametrize(
    ("files", "cause"),
    [
        ({CONFIG: "runn: {}\n"}, "in load_pipeline"),
        ({MODULE: "import nothing_there\n"}, "ModuleNotFoundError: No module named 'nothing_there'"),
    ],
)
def test_the_whole_traceback_is_shown_to_who_asks_for_it(
    fpbus: Commands, asked: str, files: dict[str, str | None], cause: str
) -> None:
    write(fpbus.folder, files)
    option = ["--log-level", "DEBUG"] if asked == "option" else []

    done = fpbus(*RUN.split(), *option, environment={"FPBUS_LOG_LEVEL": "DEBUG"} if asked == "environment" else {})

    assert done.code == NOT_RIGHT
    assert done.told.startswith("Traceback (most recent call last):\n")
    assert cause in done.told
    assert "\nError: " in done.told


# What is far away


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Server(command, port, tmp_path_factory.mktemp("moto"))
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def strict_moto(moto: str) -> Iterator[str]:
    """The server as it is when keys are looked at, with a bucket."""
    bucket = fsspec.filesystem("s3", key="mine", secret=SECRET, endpoint_url=moto, skip_instance_cache=True)
    bucket.mkdir(f"bucket-{uuid.uuid4()}")
    _look_at_keys_after(moto, "0")
    yield moto
    _look_at_keys_after(moto, "inf")


def _look_at_keys_after(moto: str, count: str) -> None:
    connection = http.client.HTTPConnection(moto.removeprefix("http://"))
    connection.request("POST", "/moto-api/reset-auth", count)
    assert connection.getresponse().status == 200
    connection.close()


FAR = ["pipeline run sales", "pipeline check", "pipeline show-dag sales --format svg", "pipeline new other", "init"]


@pytest.mark.parametrize("command", FAR)
def test_a_store_that_does_not_answer_is_told(fpbus: Commands, command: str) -> None:
    done = at_store(fpbus, command, f"http://127.0.0.1:{free_port()}")

    assert_told(done, UNREACHABLE, "s3://bucket/shop | does not answer | endpoint_url")


@pytest.mark.parametrize("command", FAR)
def test_keys_that_are_wrong_are_told_and_not_shown(fpbus: Commands, strict_moto: str, command: str) -> None:
    done = at_store(fpbus, command, strict_moto)

    assert_told(done, UNREACHABLE, "s3://bucket/shop | does not let us in | AWS_ACCESS_KEY_ID")
    assert SECRET not in done.told


def test_a_bucket_that_is_none_is_told(fpbus: Commands, moto: str) -> None:
    assert_told(at_store(fpbus, RUN, moto), NOT_FOUND, "s3://bucket/shop | Check bucket")


def test_a_web_server_that_does_not_answer_is_told_without_the_password(fpbus: Commands) -> None:
    done = fpbus(*RUN.split(), "--base-dir", f"http://me:{SECRET}@127.0.0.1:{free_port()}/shop")

    assert_told(done, UNREACHABLE, "http://***@127.0.0.1 | does not answer")
    assert SECRET not in done.told


def at_store(fpbus: Commands, command: str, endpoint: str) -> Done:
    options = json.dumps({"key": "AKIAMINE", "secret": SECRET, "endpoint_url": endpoint})
    return fpbus(*command.split(), "--base-dir", "s3://bucket/shop", "--storage-options", options)

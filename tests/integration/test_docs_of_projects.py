"""The README, and the pages of examples, hooks, adapters and filesystems: what they show is done and compared."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import fsspec
import pytest
import typer
import yaml

from fpbus.cli.main import app
from fpbus.lifecycle import Settings
from fpbus.pipelines import Project
from fpbus.project import load_pipeline, load_project, make_project
from fpbus.project.pipeline_template import make_pipeline
from support.commands import Commands
from support.pages import ROOT, Block, Reader, blocks_of, commands_of
from support.servers import Server, free_port
from support.waiting import wait_for

DOCS: Final = ROOT / "docs"
#: What needs the network or Docker; the tests of `compose/` are elsewhere.
NOT_TYPED: Final = ("pip install", "cp compose/", "docker ")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.close()


def test_the_readme_is_so(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader.whole = True
    for block in blocks_of(ROOT / "README.md"):
        if block.language != "console":
            reader.do(block)
        for line, expected, code in commands_of(block.text) if block.language == "console" else ():
            for command in line.split(" && "):
                if not command.startswith(NOT_TYPED):
                    reader.type(command, expected, code)

    project = tmp_path / "weather"
    assert {path.name for path in (project / "pipelines").glob("*.py")} == {
        "__init__.py",
        "hello.py",
        "heat.py",
        "orders.py",
    }
    assert (project / "graphs/orders.svg").read_text().startswith("<svg")
    assert Project.load(project).run("heat") == {"fahrenheit": 70.7}
    assert "reading-1" in reader.type("fpbus runs list --state succeeded")

    def is_watched() -> bool:
        reader.type("fpbus trigger hello")
        return "hello" in reader.said["fpbus watch"].read_text()

    wait_for(is_watched, what="a run to be seen by `fpbus watch`")
    (listener,) = (log for command, log in reader.said.items() if command.startswith("mosquitto_sub"))
    wait_for(lambda: "pipelines/hello/latest" in listener.read_text(), what="the retained message")


#: They have tests of their own: services on their own, Hamilton's UI, and the demo.
NOT_ENDING: Final = ("fpbus serve", "fpbus ui", "fpbus demo")


def test_the_page_of_examples_is_so(reader: Reader, tmp_path: Path) -> None:
    for block in blocks_of(DOCS / "examples.md"):
        for command, expected, code in commands_of(block.text):
            if not command.startswith(NOT_ENDING):
                reader.type(command, expected, code)

    assert {path.name for path in (tmp_path / "shop/pipelines").iterdir()} == {"__init__.py", "orders.py"}
    assert {path.name for path in (tmp_path / "weather/pipelines").glob("*.py")} == {"__init__.py", "hello.py"}
    assert {"orders.html", "summary.html"} <= {path.name for path in (tmp_path / "weather").iterdir()}
    runs = yaml.safe_load(reader.type("fpbus runs list --format json"))
    assert [run["state"] for run in runs] == ["cancelled", "failed", "succeeded", "succeeded"]


ON_THE_BUS: Final = ("jobs.md", "schedules.md", "workers.md", "history.md", "listeners.md")


@pytest.mark.parametrize("page", ON_THE_BUS)
def test_the_pages_on_what_is_on_the_bus_are_so(reader: Reader, page: str) -> None:
    make_project(reader.folder, "weather")
    for block in blocks_of(DOCS / page):
        reader.do(block)


def test_every_command_has_an_example() -> None:
    pages = [DOCS / name for name in ("examples.md", "devices.md", "doctor.md", "security.md", *ON_THE_BUS)]
    typed = [f"{line} " for page in pages for block in blocks_of(page) for line, _, _ in commands_of(block.text)]

    missing = [name for name in commands_under(app, "fpbus") if not any(f"{name} " in line for line in typed)]

    assert missing == [], "show them on one of these pages"


def commands_under(group: typer.Typer, before: str) -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{before} {command.name or command.callback.__name__.replace('_', '-')}"
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from commands_under(below.typer_instance, f"{before} {below.name}")


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_every_command_that_a_sentence_names_is_there_with_its_options(page: Path) -> None:
    sentences = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(?:[A-Z_]+=\S+ )*fpbus ([^`]+)`", sentences)

    assert [fault for words in named if (fault := fault_in(words.split()))] == []


def fault_in(words: list[str]) -> str | None:
    command: Any = typer.main.get_command(app)
    options = {"--help"}
    for word in words:
        options |= {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
        if word.startswith("-") and word.partition("=")[0] not in options:
            return f"fpbus {' '.join(words)}: {word}"
        if word[0].islower() and hasattr(command, "commands"):
            command = command.commands.get(word.replace("_", "-"))
            if command is None:
                return f"fpbus {' '.join(words)}: {word}"
    return None


def test_the_readme_names_every_variable_of_the_settings() -> None:
    variables = Settings(**{field.name: "x" for field in dataclasses.fields(Settings)}).environment()

    assert [name for name in variables if f"`{name}`" not in (ROOT / "README.md").read_text()] == []


@pytest.fixture
def fpbus(tmp_path: Path) -> Commands:
    make_project(tmp_path / "weather", "weather")
    return Commands(tmp_path / "weather")


def put(folder: Path, block: Block) -> Path:
    path = folder / (block.file or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    return path


def test_the_hooks_page_is_so(fpbus: Commands) -> None:
    hello = (fpbus.folder / "conf/pipelines/hello.yml").read_text()
    commands = []
    for block in blocks_of(DOCS / "hooks.md"):
        if block.language == "console":
            commands += [command.split()[1:] for command, _, _ in commands_of(block.text)]
        else:
            path = put(fpbus.folder, block)
            if path.suffix == ".yml":  # the page shows a part of it
                path.write_text(hello + block.text)

    done = fpbus("pipeline", "run", "hello", "--input", "celsius=25")
    stopped = fpbus("pipeline", "run", "hello", "--input", "celsius=-300")
    project = Project.load(fpbus.folder)
    inputs, config = project.graph("hello").hooks.message("sensors/kitchen/celsius", b'{"celsius": 25}')

    assert done.code == 0
    assert "fahrenheit = 77.0\n" in done.out
    assert re.search(r"hello: attempt 1 took \d+\.\d{3} s\n", done.out)
    assert stopped.code == 1
    assert "-300 is below absolute zero" in stopped.told
    assert "hello failed at None: -300 is below absolute zero\n" in stopped.out
    assert "of hello is lost\n" in stopped.out
    assert (inputs, config) == ({"device": "kitchen", "celsius": 25}, {"scale": "fahrenheit"})

    assert [fpbus(*command).code for command in commands] == [0, 0]
    assert "def page(" in (fpbus.folder / "hooks/hello/hook.py").read_text()
    assert "def build_config(" in (fpbus.folder / "hooks/messages.py").read_text()
    assert fpbus("pipeline", "run", "hello").code == 0


@pytest.mark.parametrize(
    "block",
    [block for block in blocks_of(DOCS / "adapters.md") if block.language == "yaml"],
    ids=lambda block: f"line {block.line}",
)
def test_the_files_of_the_adapters_page_are_read_as_they_stand(fpbus: Commands, block: Block) -> None:
    path = put(fpbus.folder, block)

    whole = path.name == "project.yml"
    config = load_project(fpbus.folder) if whole else load_pipeline(fpbus.folder, path.stem)

    assert_holds(config, yaml.safe_load(block.text))


def assert_holds(config: Any, said: Mapping[str, Any], key: str = "") -> None:
    """Every key that is said has its value; what stands at an empty variable is empty."""
    for name, value in said.items():
        below = config[name] if isinstance(config, Mapping) else getattr(config, name)
        if isinstance(value, Mapping):
            assert_holds(below, value, f"{key}{name}.")
        elif isinstance(value, str) and value.startswith("${"):
            assert not below, f"{key}{name}"
        else:
            assert below == value, f"{key}{name}"


def test_the_adapter_of_ones_own_hears_of_the_nodes(fpbus: Commands) -> None:
    make_pipeline(fpbus.folder, "sales")
    config = fpbus.folder / "conf/pipelines/sales.yml"
    inputs = config.read_text()
    (module,) = (block for block in blocks_of(DOCS / "adapters.md") if block.language == "python")
    named = [block for block in blocks_of(DOCS / "adapters.md") if "type: hooks.audit.Audit" in block.text]
    put(fpbus.folder, module)
    config.write_text(yaml.safe_dump({**yaml.safe_load(inputs), "adapter": yaml.safe_load(named[0].text)["adapter"]}))

    done = fpbus("pipeline", "run", "sales", "--with-adapter", '{"audit": true}')

    assert done.code == 0, done.told
    assert "sales: total begins\nsales: total is done\n" in done.out


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_the_commands_of_the_adapters_page_leave_a_run_in_mlflow(reader: Reader) -> None:
    from mlflow import MlflowClient

    make_project(reader.folder, "shop")
    for name in ("churn", "sales"):
        make_pipeline(reader.folder, name)
    for block in blocks_of(DOCS / "adapters.md"):
        for line in block.text.splitlines() if block.language == "bash" else ():
            if not line.startswith(NOT_TYPED):
                reader.type(line.partition("  #")[0])

    store = MlflowClient(f"sqlite:///{reader.folder}/mlflow.db")
    experiment = store.get_experiment_by_name("churn")
    assert experiment is not None
    (run,) = store.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"total": 12.0})


# Filesystems.


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    server = Server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, tmp_path)
    server.start()
    url = f"http://127.0.0.1:{port}"
    store: Any = fsspec.filesystem("s3", key="mine", secret="mine", endpoint_url=url, skip_instance_cache=True)
    store.mkdir("my-bucket")
    yield url
    server.stop()


def test_the_commands_of_the_filesystem_page_work_on_s3(tmp_path: Path, reader: Reader, s3: str) -> None:
    """Those for GitHub and GitLab have a stand-in of their own in `test_remote_projects`."""
    login = {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "mine", "AWS_EC2_METADATA_DISABLED": "true"}
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = mine\naws_secret_access_key = mine\n")
    (tmp_path / "s3.json").write_text(f'{{"endpoint_url": "{s3}"}}')
    reader.environment |= {"HOME": str(tmp_path), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    blocks = [block for block in blocks_of(DOCS / "filesystem.md") if block.language in {"bash", "ini"}]
    told: list[str] = []
    for block in blocks:
        text = block.text.replace("http://localhost:9000", s3)
        if block.language == "ini":
            (tmp_path / ".config/fsspec").mkdir(parents=True)
            (tmp_path / ".config/fsspec/s3.ini").write_text(text)
            text = "fpbus pipeline show-pipelines --base-dir s3://my-bucket/shop"
        if "github://" in text:
            continue
        if "AWS_ACCESS_KEY_ID" in text:
            here: dict[str, str] = {}
        else:
            here = login if "FSSPEC" in text or told else {**login, "AWS_ENDPOINT_URL": s3}
        if text.startswith("export FSSPEC"):
            text += "fpbus pipeline show-pipelines --base-dir s3://my-bucket/shop"
        told.append(run_script(text, reader, here))

    assert "s3://my-bucket/shop/pipelines/orders.py" in told[0]
    assert [text.count("total   12.0") for text in told] == [1, 3, 0, 0, 0]
    assert ["pipelines/orders.py" in text for text in told[2:]] == [True, True, True]


def run_script(text: str, reader: Reader, more: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=reader.folder,
        env={**reader.environment, "FPBUS_CACHE_DIR": str(reader.folder / "cache"), **more},
        input="minioadmin\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def test_the_python_of_the_filesystem_page_makes_a_project(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FPBUS_CACHE_DIR", str(tmp_path / "cache"))
    (block,) = (block for block in blocks_of(DOCS / "filesystem.md") if block.language == "python")

    reader.do(block)

    assert load_project(reader.names["folder"]).name == "shop"
    assert Project.load(reader.names["folder"]).run("hello", {"celsius": 25})["fahrenheit"] == 77.0

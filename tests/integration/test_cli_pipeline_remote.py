"""`fpbus pipeline` commands on a project in a real S3 server's bucket."""

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from support.commands import Commands, Done
from support.servers import Server, free_port

SECRET = "secret-of-the-bucket"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Server(command, port, tmp_path_factory.mktemp("moto"))
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


class Bucket:
    """A project's place in a bucket, and the commands that are typed for it."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.options = {"key": "key-of-mine", "secret": SECRET, "endpoint_url": endpoint}
        self.name = f"bucket-{uuid.uuid4()}"
        self.url = f"s3://{self.name}/far"
        self.commands = Commands(folder)
        self.commands.environment |= {"FPBUS_CACHE_DIR": str(folder / "cache"), "AWS_EC2_METADATA_DISABLED": "true"}
        self.files: Any = fsspec.filesystem("s3", **self.options, skip_instance_cache=True)
        self.files.mkdir(self.name)

    def type(self, *arguments: str, url: str | None = None, **changes: str) -> Done:
        options = json.dumps({**self.options, **changes})
        return self.commands(*arguments, "--base-dir", url or self.url, "--storage-options", options)

    def holds(self, path: str) -> bool:
        self.files.invalidate_cache()
        found: bool = self.files.exists(f"{self.name}/far/{path}")
        return found


@pytest.fixture
def bucket(tmp_path: Path, moto: str) -> Bucket:
    bucket = Bucket(tmp_path, moto)
    assert bucket.type("init", "--name", "far", url=f"s3://{bucket.name}").code == 0
    return bucket


def test_a_project_is_made_in_a_bucket_and_runs_from_there(bucket: Bucket) -> None:
    run = bucket.type("pipeline", "run", "hello", "--format", "json")

    assert bucket.holds("conf/project.yml")
    assert (run.code, json.loads(run.out)) == (0, {"fahrenheit": 70.7, "comfort": "comfortable"})


def test_what_is_made_drawn_and_deleted_is_so_in_the_bucket(bucket: Bucket) -> None:
    made = bucket.type("pipeline", "new", "second")
    drawn = bucket.type("pipeline", "save-dag", "second", "--format", "svg")
    listed = bucket.type("pipeline", "show-pipelines", "--format", "json")
    deleted = bucket.type("pipeline", "delete", "hello")

    assert (made.out.splitlines()[0], drawn.out) == (
        f"{bucket.url}/pipelines/second.py",
        f"{bucket.url}/graphs/second.svg\n",
    )
    assert [entry["name"] for entry in json.loads(listed.out)] == ["hello", "second"]
    assert deleted.code == 0
    there = ("pipelines/second.py", "graphs/second.svg", "pipelines/hello.py", "conf/pipelines/hello.yml")
    assert [bucket.holds(path) for path in there] == [True, True, False, False]


def test_pipelines_go_from_here_into_a_bucket_and_back(bucket: Bucket, tmp_path: Path) -> None:
    Commands(tmp_path)("init", "--name", "near", "--bare")
    near = bucket.commands
    near.folder = tmp_path / "near"
    near("pipeline", "new", "mine")
    options = ("--storage-options", json.dumps(bucket.options))

    there = near("pipeline", "export", "mine", "--to", bucket.url, *options)
    back = near("pipeline", "import", "hello", "--from", bucket.url, *options)

    assert (there.code, back.code, bucket.holds("pipelines/mine.py")) == (0, 0, True)
    assert f"{bucket.url}/pipelines/mine.py" in there.out.splitlines()
    assert (near.folder / "pipelines" / "hello.py").is_file()


def test_a_summary_shows_no_credentials(bucket: Bucket) -> None:
    done = bucket.type("pipeline", "show-summary", "--format", "json")

    assert done.code == 0
    assert SECRET not in done.out + done.told


@pytest.mark.parametrize(
    ("where", "code"),
    [("s3://no-such-bucket-anywhere/far", 4), ("nosuchprotocol://x/far", 8), ("s3://{name}/empty", 4)],
)
def test_a_place_that_is_none_is_told(bucket: Bucket, where: str, code: int) -> None:
    done = bucket.type("pipeline", "run", "hello", url=where.format(name=bucket.name))

    assert (done.code, done.out) == (code, "")
    assert "Traceback" not in done.told
    assert SECRET not in done.told
    assert len(done.told.splitlines()) < 10


def test_a_server_that_does_not_answer_is_told(bucket: Bucket) -> None:
    done = bucket.type("pipeline", "run", "hello", endpoint_url=f"http://127.0.0.1:{free_port()}")

    assert done.code == 5
    assert "Traceback" not in done.told

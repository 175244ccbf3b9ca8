"""Projects that are not on this machine: in memory, in a zip file, on a web server, in an S3 store that runs here."""

import http.client
import http.server
import io
import os
import re
import stat
import sys
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest

from fpbus.project.credentials import address
from fpbus.project.remote import checkout, refresh, working_copy
from fpbus.project.remote_errors import RemoteError, RemoteNotFoundError, RemoteUnreachableError
from fpbus.schemas import FpbusError
from support.servers import Server, free_port

SECRET = "s3cr3t-Value/Of+Mine"
FILES = {
    "conf/project.yml": b"name: shop\n",
    "conf/pipelines/sales.yml": b"run:\n  final_vars: [total]\n",
    "pipelines/__init__.py": b"",
    "pipelines/sales.py": b"def total(amount: int) -> int:\n    return amount\n",
    "pipelines/data/rates.csv": b"a,b\n",
    "hooks/__init__.py": b"",
    "README.md": b"# shop\n",
    "shared.py": b"RATE = 1\n",
}
ELSEWHERE = {
    ".env": b"PASSWORD=1\n",
    ".fpbus/storage/run/total.json": b"1",
    ".git/config": b"",
    "pipelines/__pycache__/sales.cpython-311.pyc": b"\0",
    "data/orders.parquet": b"\0",
}


class Remote:
    """A place on some filesystem, written by means of fsspec alone."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self.options = dict(options or {})
        self._files, self._root = fsspec.core.url_to_fs(url, **self.options)

    def put(self, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            self._files.pipe_file(f"{self._root}/{path}", content)

    def remove(self, path: str) -> None:
        self._files.rm_file(f"{self._root}/{path}")

    def content(self) -> dict[str, bytes]:
        self._files.invalidate_cache()
        return {
            name.removeprefix(f"{self._root}/"): self._files.cat_file(name) for name in self._files.find(self._root)
        }

    def checkout(self) -> Path:
        return checkout(self.url, self.options)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FPBUS_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Server(command, port, tmp_path_factory.mktemp("moto"))
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def s3(moto: str) -> Remote:
    options = {"key": "key-of-mine", "secret": SECRET, "endpoint_url": moto}
    bucket = f"bucket-{uuid.uuid4()}"
    fsspec.filesystem("s3", **options).mkdir(bucket)
    return Remote(f"s3://{bucket}/team/shop", options)


@pytest.fixture
def memory() -> Iterator[Remote]:
    name = f"shop-{uuid.uuid4()}"
    yield Remote(f"memory://{name}")
    fsspec.filesystem("memory").rm(name, recursive=True)


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest) -> Remote:
    place: Remote = request.getfixturevalue(request.param)
    place.put({**FILES, **ELSEWHERE})
    return place


def test_a_local_folder_is_used_as_it_is(tmp_path: Path, cache: Path) -> None:
    assert checkout(str(tmp_path)) == checkout(f"file://{tmp_path}") == checkout(f"local://{tmp_path}") == tmp_path
    with working_copy(f"file://{tmp_path}") as folder:
        assert folder == tmp_path
    assert not cache.exists()


def test_code_and_configuration_come_and_nothing_else(remote: Remote) -> None:
    folder = remote.checkout()

    assert files_in(folder) == FILES


def test_only_this_user_can_read_what_came(remote: Remote) -> None:
    folder = remote.checkout()

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, *folder.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_an_unchanged_project_is_the_same_folder_and_a_changed_one_another(remote: Remote) -> None:
    first = remote.checkout()
    again = remote.checkout()
    remote.put({"pipelines/sales.py": b"def total() -> int:\n    return 2\n"})
    changed = remote.checkout()

    assert first == again != changed
    assert files_in(first) == FILES
    assert b"return 2" in (changed / "pipelines/sales.py").read_bytes()


def test_a_checkout_that_somebody_edited_is_made_again_and_keeps_its_state(remote: Remote) -> None:
    folder = remote.checkout()
    (folder / "pipelines/sales.py").write_bytes(b"import evil\n")
    (folder / "extra.py").write_bytes(b"")
    (folder / ".fpbus").mkdir()
    (folder / ".fpbus/kept").write_bytes(b"")

    again = remote.checkout()

    assert files_in(again) == {**FILES, ".fpbus/kept": b""}


def test_refresh_reads_no_file_when_nothing_changed(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = remote.checkout()

    with monkeypatch.context() as patch:
        patch.setattr("fpbus.project.remote_folder.RemoteFolder.read", None)
        same = refresh(remote.url, remote.options, folder)
    remote.put({"conf/pipelines/other.yml": b"{}\n"})
    other = refresh(remote.url, remote.options, same)

    assert same == folder != other
    assert (other / "conf/pipelines/other.yml").is_file()


def test_only_the_last_checkouts_stay_and_those_with_state(memory: Remote) -> None:
    memory.put(FILES)
    first = memory.checkout()
    (first / ".fpbus").mkdir()
    folders: list[Path] = []
    for number in range(8):
        memory.put({"shared.py": b"RATE = %d\n" % (number + 2)})
        folders.append(memory.checkout())
        os.utime(folders[-1], (number, number))

    assert first.is_dir()
    assert [folder.is_dir() for folder in folders] == [False] * 4 + [True] * 4
    assert len(list(first.parent.iterdir())) == 10, "a folder and a file for each"


def test_a_project_on_s3_is_found_by_environment_and_by_flowerpowers_names(s3: Remote, monkeypatch: Any) -> None:
    s3.put(FILES)
    names = {
        "access_key_id": "key-of-mine",
        "secret_access_key": SECRET,
        "region": "eu-central-1",
        "endpoint_url": s3.options["endpoint_url"],
        "allow_http": True,
    }
    by_names = checkout(s3.url, names)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.options["endpoint_url"])

    by_environment = checkout(s3.url)

    assert files_in(by_names) == files_in(by_environment) == FILES


def test_a_profile_of_the_users_own_file_is_used(s3: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.put(FILES)
    file = tmp_path / "credentials"
    file.write_text(f"[team]\naws_access_key_id = key-of-mine\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    folder = checkout(s3.url, {"profile": "team", "endpoint_url": s3.options["endpoint_url"]})

    assert files_in(folder) == FILES


def test_the_markers_that_s3_consoles_make_for_folders_are_no_files(s3: Remote) -> None:
    s3.put({**FILES, "": b"", "conf/": b"", "pipelines/": b"", "pipelines/data/": b""})

    assert files_in(s3.checkout()) == FILES


def test_a_name_that_fsspec_would_read_as_a_pattern_is_a_name(remote: Remote) -> None:
    remote.put({"conf/a[1]*.yml": b"x: 1\n"})

    assert (remote.checkout() / "conf/a[1]*.yml").read_bytes() == b"x: 1\n"


@pytest.mark.parametrize("name", ["../evil.py", "pipelines/../../evil.py", "conf/C:\\evil.py", "pipelines/..\\e.py"])
def test_a_name_that_leads_out_of_the_project_is_refused(s3: Remote, cache: Path, name: str) -> None:
    s3.put({**FILES, name: b"import os\n"})

    with pytest.raises(RemoteError, match="leads out of the project"):
        s3.checkout()

    assert not list(cache.rglob("*.py"))


def test_a_zip_file_with_a_name_that_leads_out_is_refused(tmp_path: Path) -> None:
    archive = zip_of({**FILES, "pipelines/../../evil.py": b""})
    (tmp_path / "shop.zip").write_bytes(archive)

    with pytest.raises(RemoteError, match="leads out of the project"):
        checkout(f"zip://::{tmp_path}/shop.zip")


def test_too_much_is_refused_before_it_is_read(memory: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpbus.project.remote_folder.MOST_BYTES", 1024 * 1024)
    memory.put({**FILES, "pipelines/data/large.csv": b"x" * 1024 * 1024})

    with pytest.raises(RemoteError, match="more than 1 MiB of code and configuration"):
        memory.checkout()


def test_what_a_command_changed_is_carried_back_and_nothing_else(remote: Remote) -> None:
    before = remote.content()
    with working_copy(remote.url, remote.options) as folder:
        assert files_in(folder) == FILES
        (folder / "pipelines/orders.py").write_bytes(b"def orders() -> int:\n    return 1\n")
        (folder / "conf/pipelines/orders.yml").write_bytes(b"{}\n")
        (folder / "README.md").write_bytes(b"# Shop\n")
        (folder / "shared.py").unlink()
        (folder / "graphs").mkdir()
        (folder / "graphs/orders.svg").write_bytes(b"<svg/>")
        (folder / ".fpbus").mkdir()
        (folder / ".fpbus/log").write_bytes(b"")

    del before["shared.py"]
    assert remote.content() == {
        **before,
        "pipelines/orders.py": b"def orders() -> int:\n    return 1\n",
        "conf/pipelines/orders.yml": b"{}\n",
        "README.md": b"# Shop\n",
        "graphs/orders.svg": b"<svg/>",
    }
    assert not folder.exists()


def test_a_picture_may_be_drawn_again(remote: Remote) -> None:
    for content in (b"<svg/>", b"<svg></svg>"):
        with working_copy(remote.url, remote.options) as folder:
            (folder / "graphs").mkdir()
            (folder / "graphs/sales.svg").write_bytes(content)

    assert remote.content()["graphs/sales.svg"] == b"<svg></svg>"


def test_a_project_is_made_where_there_is_none(s3: Remote) -> None:
    with working_copy(s3.url, s3.options) as folder:
        assert files_in(folder) == {}
        (folder / "conf").mkdir()
        (folder / "conf/project.yml").write_bytes(b"name: shop\n")
        (folder / ".gitignore").write_bytes(b".fpbus/\n")

    assert s3.content() == {"conf/project.yml": b"name: shop\n", ".gitignore": b".fpbus/\n"}


def test_nothing_is_carried_back_when_a_command_fails(remote: Remote, cache: Path) -> None:
    before = remote.content()

    with pytest.raises(ZeroDivisionError):
        change_while(remote, lambda: print(1 / 0))

    assert remote.content() == before
    assert not list(cache.glob("projects/.copy-*"))


@pytest.mark.parametrize(
    "theirs", [{"README.md": b"theirs"}, {"pipelines/new.py": b"theirs"}, {"shared.py": b"theirs"}]
)
def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(remote: Remote, theirs: dict[str, bytes]) -> None:
    before = remote.content()

    with pytest.raises(RemoteError, match=rf"changed by somebody else meanwhile: {next(iter(theirs))}\."):
        change_while(remote, lambda: remote.put(theirs))

    assert remote.content() == {**before, **theirs}


def test_a_file_that_somebody_else_deleted_is_not_brought_back(remote: Remote) -> None:
    with pytest.raises(RemoteError, match=r"README\.md"):
        change_while(remote, lambda: remote.remove("README.md"))

    assert "README.md" not in remote.content()


def change_while(remote: Remote, they_do: Callable[[], None]) -> None:
    with working_copy(remote.url, remote.options) as folder:
        (folder / "README.md").write_bytes(b"mine")
        (folder / "pipelines/new.py").write_bytes(b"mine")
        (folder / "shared.py").unlink()
        they_do()


def test_a_folder_of_this_machine_cannot_be_written_by_others(memory: Remote, cache: Path) -> None:
    memory.put(FILES)
    memory.checkout()
    (cache / "projects").chmod(0o770)

    with pytest.raises(FpbusError, match="can be written by others"):
        memory.checkout()


# What goes wrong


def refused(url: str, options: Mapping[str, Any] | None = None) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        checkout(url, options)
    return caught.value


def test_a_folder_without_a_project_is_told(memory: Remote) -> None:
    memory.put({"README.md": b""})

    error = refused(memory.url)

    assert isinstance(error, RemoteNotFoundError)
    assert error.exit_code == 4
    assert str(error) == f"There is no fpbus project at {memory.url}: conf/project.yml is missing."


def test_a_missing_bucket_and_a_missing_folder_are_not_found(s3: Remote) -> None:
    for url in ("s3://no-such-bucket-here/shop", f"{s3.url}/nowhere", "memory://nowhere"):
        error = refused(url, s3.options if url.startswith("s3") else None)

        assert error.exit_code == 4
        assert url in str(error)


def test_a_command_makes_no_bucket(s3: Remote) -> None:
    url = f"s3://bucket-{uuid.uuid4()}/shop"

    with pytest.raises(RemoteNotFoundError, match=url), working_copy(url, s3.options) as folder:
        (folder / "README.md").write_bytes(b"")


@pytest.fixture
def strict_moto(moto: str) -> Iterator[str]:
    """The server as it is when keys are looked at."""

    def count_before_keys_are_looked_at(count: str) -> None:
        connection = http.client.HTTPConnection(moto.removeprefix("http://"))
        connection.request("POST", "/moto-api/reset-auth", count)
        assert connection.getresponse().status == 200
        connection.close()

    count_before_keys_are_looked_at("0")
    yield moto
    count_before_keys_are_looked_at("inf")


def test_wrong_credentials_are_told_without_showing_them(s3: Remote, strict_moto: str) -> None:
    error = refused(s3.url, {"key": "AKIAWRONG", "secret": SECRET, "endpoint_url": strict_moto})

    assert isinstance(error, RemoteUnreachableError)
    assert error.exit_code == 5
    assert "does not let us in" in str(error)
    assert "AWS_ACCESS_KEY_ID" in str(error.hint)
    assert_no_secret(error)


def test_a_url_with_a_password_in_it_is_shown_without_it(site: str) -> None:
    error = refused(f"{site.replace('//', '//user:pass%2Fword@')}/nowhere?sig=abcdef")

    assert error.exit_code == 4
    for secret in ("pass%2Fword", "pass/word", "abcdef"):
        assert secret not in everything_said(error)


def test_no_credentials_at_all_are_told(moto: str) -> None:
    error = refused("s3://bucket/shop", {"endpoint_url": moto})

    assert error.exit_code == 5
    assert "credentials" in str(error)


def test_an_unknown_profile_is_told(moto: str) -> None:
    error = refused("s3://bucket/shop", {"profile": "nobody", "endpoint_url": moto})

    assert error.exit_code == 5
    assert "nobody" in str(error)


def test_a_store_that_does_not_answer_is_told() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"

    error = refused("s3://bucket/shop", {"key": "AKIAMINE", "secret": SECRET, "endpoint_url": endpoint})

    assert error.exit_code == 5
    assert str(error).startswith("s3://bucket/shop does not answer (")
    assert_no_secret(error)


def test_a_web_server_that_does_not_answer_is_told_without_the_password() -> None:
    error = refused(f"http://user:{SECRET.replace('/', '')}@127.0.0.1:{free_port()}/shop?sig=signature")

    assert error.exit_code == 5
    assert "http://***@127.0.0.1" in str(error)
    assert SECRET.replace("/", "") not in everything_said(error)
    assert "signature" not in everything_said(error)


def test_a_zip_file_on_a_server_that_does_not_answer_is_not_called_missing() -> None:
    error = refused(f"zip://::http://127.0.0.1:{free_port()}/shop.zip")

    assert error.exit_code == 5
    assert "does not answer" in str(error)


def test_a_missing_package_is_named_with_its_command() -> None:
    for url, package in {"gs://bucket/shop": "gcsfs", "az://container/shop": "adlfs"}.items():
        if package not in sys.modules:
            error = refused(url)

            assert error.exit_code == 8
            assert error.hint == f"pip install {package}"


def test_an_unknown_protocol_and_an_unknown_option_are_told() -> None:
    assert "Protocol not known: s4" in str(refused("s4://bucket/shop"))
    assert "unexpected keyword argument" in str(refused("s3://bucket/shop", {"speed": 3}))


def test_what_can_be_read_only_is_told_before_the_work_is_done(tmp_path: Path) -> None:
    with (
        pytest.raises(RemoteError, match="can be read only"),
        working_copy(f"zip://::{tmp_path}/shop.zip"),
    ):
        pytest.fail("the work has begun")


def assert_no_secret(error: BaseException) -> None:
    assert SECRET not in everything_said(error)


def everything_said(error: BaseException) -> str:
    """Return what a traceback of the error would print, and what its values print as."""
    import traceback

    hint = getattr(error, "hint", "")
    return "".join(traceback.format_exception(error)) + repr(error) + str(hint)


def test_options_under_flowerpowers_names_become_fsspecs() -> None:
    given = {
        "protocol": "s3",
        "access_key_id": "a",
        "secret_access_key": "b",
        "session_token": "c",
        "region": "eu-central-1",
        "allow_http": True,
        "allow_invalid_certificates": True,
        "profile": None,
    }

    options = address("s3a://bucket", given).options

    assert {name: value for name, value in options.items() if name != "config_kwargs"} == {
        "key": "a",
        "secret": "b",
        "token": "c",
        "client_kwargs": {"region_name": "eu-central-1", "verify": False},
        "use_ssl": False,
    }
    assert address("gs://bucket", {"access_token": "a"}).options["token"] == "a"
    assert address("az://box", {"account_name": "a", "sas_token": "b"}).options["sas_token"] == "b"


def test_what_fsspec_itself_would_call_an_option_wins() -> None:
    sections = {"client_kwargs": {"region_name": "y"}, "config_kwargs": {"read_timeout": 1}}
    given = {"access_key_id": "a", "key": "b", "region": "x", **sections}

    options = address("s3://bucket", given).options

    assert options["key"] == "b"
    assert options["client_kwargs"] == {"region_name": "y"}
    assert options["config_kwargs"]["read_timeout"] == 1
    assert options["config_kwargs"]["connect_timeout"] == 5


def test_each_link_of_a_chain_has_its_own_options() -> None:
    options = address("zip://shop::s3://bucket/shop.zip", {"s3": {"access_key_id": "a"}}).options

    assert options["s3"]["key"] == "a"


def test_an_address_prints_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "from-the-environment")
    place = address(
        "zip://::https://user:pass%2Fword@host/shop.zip?X-Signature=abcdef", {"https": {"headers": {"A": SECRET}}}
    )

    assert f"{place}" == "zip://::https://***@host/shop.zip?***"
    assert repr(place) == "Address('zip://::https://***@host/shop.zip?***')"
    assert place.conceal(f"{SECRET} pass/word pass%2Fword abcdef from-the-environment") == "*** *** *** *** ***"


# Places to read from only


def zip_of(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def test_a_zip_file_is_a_project(tmp_path: Path, s3: Remote) -> None:
    archive = zip_of({f"sites/shop/{path}": content for path, content in {**FILES, **ELSEWHERE}.items()})
    (tmp_path / "shop.zip").write_bytes(archive)
    s3.put({"shop.zip": archive})

    here = checkout(f"zip://sites/shop::file://{tmp_path}/shop.zip")
    there = checkout(f"zip://sites/shop::{s3.url}/shop.zip", {"s3": s3.options})

    assert files_in(here) == files_in(there) == FILES


def test_a_file_that_is_no_zip_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.zip").write_bytes(b"PK")

    assert "is no zip file" in str(refused(f"zip://::{tmp_path}/shop.zip"))


class Site(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with its listings, and archives as GitHub's and GitLab's interfaces do, to who has a token."""

    archives: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        if self.path not in self.archives:
            super().do_GET()
        elif self.headers["Authorization"] != f"Bearer {SECRET}":
            self.send_error(401)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "application/zip")
            self.send_header("Content-Length", str(len(self.archives[self.path])))
            self.end_headers()
            self.wfile.write(self.archives[self.path])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named by the library
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "site"
    for path, content in {**FILES, **ELSEWHERE}.items():
        (folder / "shop" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "shop" / path).write_bytes(content)

    def handler(*arguments: Any) -> Site:
        return Site(*arguments, directory=str(folder))

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_server_with_listings_is_a_project(site: str) -> None:
    assert files_in(checkout(f"{site}/shop")) == files_in(checkout(f"{site}/shop/")) == FILES


def test_a_project_that_a_web_server_does_not_have_is_not_found(site: str) -> None:
    assert refused(f"{site}/nowhere").exit_code == 4


TOP = "acme-shop-0123abc"
ARCHIVE = zip_of({f"{TOP}/sites/shop/{path}": content for path, content in FILES.items()})


@pytest.mark.parametrize(
    ("url", "options", "path"),
    [
        ("github://acme:shop@main/sites/shop", {}, "/repos/acme/shop/zipball/main"),
        ("github://acme:shop@/sites/shop", {"ref": "feature/x"}, "/repos/acme/shop/zipball/feature%2Fx"),
        ("github://sites/shop", {"org": "acme", "repo": "shop"}, "/repos/acme/shop/zipball/HEAD"),
        ("gitlab://acme:shop@main/sites/shop", {}, "/api/v4/projects/acme%2Fshop/repository/archive.zip?sha=main"),
        ("gitlab://sites/shop", {"project_id": 42}, "/api/v4/projects/42/repository/archive.zip"),
        (
            "gitlab://sites/shop",
            {"project_name": "acme/team/shop", "ref": "v1"},
            "/api/v4/projects/acme%2Fteam%2Fshop/repository/archive.zip?sha=v1",
        ),
    ],
)
def test_a_repository_is_a_project(
    site: str, monkeypatch: pytest.MonkeyPatch, url: str, options: dict[str, Any], path: str
) -> None:
    monkeypatch.setattr(Site, "archives", {path: ARCHIVE})
    server = {"api_url" if url.startswith("github") else "base_url": site}

    folder = checkout(url, {**options, **server, "token": SECRET})

    assert files_in(folder) == FILES


@pytest.mark.parametrize("protocol", ["github", "gitlab"])
def test_a_repository_that_wants_another_token_is_told_and_the_environments_is_not_shown_to_a_stranger(
    site: str, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    paths = ("/repos/acme/shop/zipball/main", "/api/v4/projects/acme%2Fshop/repository/archive.zip?sha=main")
    monkeypatch.setattr(Site, "archives", dict.fromkeys(paths, ARCHIVE))
    monkeypatch.setenv(f"{protocol.upper()}_TOKEN", SECRET)
    url = f"{protocol}://acme:shop@main/sites/shop"
    server = {"api_url": site, "base_url": site}

    without = refused(url, server)
    wrong = refused(url, {**server, "token": "glpat-wrong-one"})

    for error in (without, wrong):
        assert error.exit_code == 5
        assert f"{url} does not let us in" in str(error)
        assert f"{protocol.upper()}_TOKEN" in str(error.hint)
        assert "glpat-wrong-one" not in everything_said(error)


def test_a_repository_has_to_be_named() -> None:
    assert re.search(r"github://org:repo@main", str(refused("github://folder").hint))
    assert re.search(r"project_id", str(refused("gitlab://folder").hint))

"""A real PostgreSQL on loopback, in a folder of its own; each test has a database of its own on it."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from support.servers import free_port
from support.waiting import wait_for


@contextmanager
def postgres() -> Generator[str]:
    """Start a server and give the URL of its first database; skip without one, except in CI."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed, and CI has to have it")
        pytest.skip("PostgreSQL is not installed")
    # It refuses to run as root, and so needs a folder that somebody else may enter.
    user = "postgres" if os.getuid() == 0 else None
    folder = tempfile.mkdtemp(prefix="fpbus-pg-")
    if user:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    data, port = f"{folder}/data", free_port()
    initdb = [str(programs[-1] / "initdb"), "-D", data, "-U", "fpbus", "-A", "trust", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)
    serve = [str(programs[-1] / "postgres"), "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
    with Path(folder, "log").open("wb") as log, subprocess.Popen(serve, stderr=log, user=user, cwd=folder) as server:
        url = f"postgresql://fpbus@127.0.0.1:{port}/postgres"
        wait_for(lambda: _answers(url), 30, "PostgreSQL")
        yield url
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for idle clients
    shutil.rmtree(folder)


@contextmanager
def database(server: str) -> Generator[str]:
    """Make an empty database and give its URL; at the end it goes, with whoever still uses it."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield server.removesuffix("postgres") + name
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False

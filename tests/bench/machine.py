"""On what was measured: versions and cores, nothing that names the machine."""

import os
import platform
import subprocess
from importlib.metadata import version

from support.servers import program

PACKAGES = ("fpbus", "rq", "celery", "sf-hamilton", "paho-mqtt", "redis")


def facts() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        "Mosquitto": _first_line(program("mosquitto"), "-h").rpartition(" ")[2],
        "Redis": _first_line(program("redis-server"), "--version").partition("v=")[2].split()[0],
        **{package: version(package) for package in PACKAGES},
    }


def _first_line(*command: str) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()[0]

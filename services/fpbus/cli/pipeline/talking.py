"""Where goes what a project's own code prints."""

import contextlib
import io
import os
import sys
from collections.abc import Generator

from fpbus.cli.options import Format


@contextlib.contextmanager
def talking(style: Format) -> Generator[None]:
    """Keep standard output for the one document of `json` and `yaml`: what is printed meanwhile is talk."""
    if style == "table":
        yield
        return
    with contextlib.redirect_stdout(sys.stderr), _descriptor_to_stderr():
        yield


@contextlib.contextmanager
def _descriptor_to_stderr() -> Generator[None]:
    """Have C code and child processes, which know no `sys.stdout`, print to standard error as well."""
    try:
        real = os.dup(1)
    except (OSError, io.UnsupportedOperation):
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(real, 1)
        os.close(real)

"""The child that reads what pipelines take and give: it imports them, so it is a process of its own."""

import logging
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from fpbus.pipelines import Project
from fpbus.pipelines.contract import pipeline_schema
from fpbus.project import source_digest
from fpbus.schemas import encode

from .lifeline import die_with

log = logging.getLogger(__name__)


def describe(pipe: Connection, parent: Connection, folder: str, names: Sequence[str]) -> None:
    """Send the encoded `PipelineSchema` of each pipeline, in order; nothing for one that cannot be loaded."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what modules print when they are imported is for the log of their runs
    os.dup2(nowhere, 2)
    source = source_digest(Path(folder))
    for name in names:
        pipe.send_bytes(_described(folder, name, source))


def _described(folder: str, name: str, source: str | None) -> bytes:
    try:
        graph = Project.load(Path(folder)).graph(name)
        return encode(pipeline_schema(name, graph.driver(), graph.config, source))
    except BaseException:
        return b""

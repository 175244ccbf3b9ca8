"""What comes with a message or from a pipeline commands no terminal, and forges no line of a log."""

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from fpbus.cli.output import show_data, show_list, tell, text_of
from fpbus.cli.words import lines_of
from fpbus.lifecycle import configure_logs
from fpbus.schemas import LogLine, LogLines
from fpbus.schemas.plain import plain, plain_json

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202etxt.exe\n12:00:00.000 info    dispatcher: forged\r\x9b31m\u2028[red]x[/red]"
OBEYED = ("\x1b", "\x07", "\u202e", "\r", "\x9b", "\u2028")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202egpj\u2066", r"\u202egpj\u2066"),
        ("half \ud800", r"half \ud800"),
        ("größer 温度 👩‍🔬 C:\\x", "größer 温度 👩‍🔬 C:\\x"),
    ],
)
def test_what_a_terminal_obeys_is_written_out_and_the_rest_stays(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain("one\ntwo", lines=True) == "one\ntwo"


def test_json_and_yaml_hold_the_same_values_without_what_a_terminal_obeys() -> None:
    for style, read in (("json", json.loads), ("yaml", yaml.safe_load)):
        text = text_of({"name": HOSTILE, "ö": "ü"}, style)  # type: ignore[arg-type]  # of two literals
        assert read(text) == {"name": HOSTILE, "ö": "ü"}
        assert not any(sign in text for sign in OBEYED)
    assert json.loads(plain_json('{\n  "a": "\u202e"\n}')) == {"a": "\u202e"}


def test_tables_lines_and_talk_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    show_list([HOSTILE], {"TEXT": str}, "table", "")
    tell(HOSTILE)
    show_data({"text": HOSTILE}, "json")
    out, told = capsys.readouterr()

    assert not any(sign in out + told for sign in OBEYED)
    assert len(out.splitlines()) == 3  # title, cell, JSON
    assert "[red]x[/red]" in out


def test_a_line_of_a_pipelines_log_is_one_line() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    said = LogLines(run_id="r", pipeline="p", lines=[LogLine(at=at, level="info", text=HOSTILE)])

    (shown,) = lines_of(said)

    assert not any(sign in shown for sign in ("\n", *OBEYED))


def test_rich_on_a_real_terminal_interprets_neither_markup_nor_escapes(tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(
        "from fpbus.cli.output import show_list, tell\n"
        f"text = {HOSTILE!r}\nshow_list([text], {{'TEXT': str}}, 'table', '')\ntell(text)\n"
    )
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, script], stdin=theirs, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # Linux says so that the other end is closed
        os.close(ours)

    assert done.returncode == 0
    assert b"\\x1b]0;owned" in shown
    assert b"[red]x[/red]" in shown.replace(b"\r\n", b"")
    assert b"\x1b]" not in shown
    assert b"\x1b[2J" not in shown
    assert b"\x07" not in shown
    assert "\u202e".encode() not in shown


@pytest.fixture
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_logs_as_before")
@pytest.mark.parametrize("style", ["console", "json"])
def test_no_text_forges_a_line_of_a_services_log(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO", style)
    log = logging.getLogger("fpbus.dispatcher")
    log.info("rejected %s", HOSTILE, extra={"topic": HOSTILE, "half": "\ud800"})
    log.error("stumbled", exc_info=ValueError(HOSTILE))
    told = capsys.readouterr().err

    assert not any(sign in told for sign in OBEYED)
    assert not any(line.startswith("12:00:00.000 info") for line in told.splitlines())
    assert len([line for line in told.splitlines() if not line.startswith(" ")]) == 2
    if style == "json":
        first, second = map(json.loads, told.splitlines())
        assert first["topic"] == HOSTILE
        assert HOSTILE in second["traceback"]

"""`fpbus ui`: Hamilton's own web page, which shows what its tracker has recorded."""

import importlib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .output import tell

Edition = Literal["mini", "dev", "prod"]


def ui(  # noqa: PLR0917 (Typer makes options of them)
    port: Annotated[int, typer.Option("--port", "-p", min=1, max=65535, help="Where it listens.")] = 8241,
    base_dir: Annotated[
        Path | None, typer.Option("--base-dir", "-d", metavar="DIR", help="Its data.  [default: ~/.hamilton/db]")
    ] = None,
    no_migration: Annotated[bool, typer.Option("--no-migration", help="Leave its database as it is.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    settings: Annotated[
        Edition, typer.Option("--settings", "-s", help="mini keeps its data in SQLite; dev and prod need --config.")
    ] = "mini",
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="An INI file with a section [deploy].")
    ] = None,
) -> None:
    """Start Hamilton's UI, until Ctrl-C.

    Needs fpbus[ui]. It listens on every interface of this machine, and `mini` asks nobody for a password.
    """
    if settings != "mini" and config is None:
        raise typer.BadParameter(f"--settings {settings} needs it.", param_hint="--config")
    if config is not None and not config.is_file():
        raise typer.BadParameter(f"{config} is no file.", param_hint="--config")
    commands = _commands()
    _refuse_taken(port)
    tell(f"Hamilton UI on http://localhost:{port}; Ctrl-C stops it.")
    commands.run(
        port=port,
        base_dir=str((base_dir or Path.home() / ".hamilton" / "db").expanduser().absolute()),
        no_migration=no_migration,
        no_open=no_open,
        settings_file="mini" if settings == "mini" else "deploy",
        config_file=str(config) if config else None,
    )


def _refuse_taken(port: int) -> None:
    import socket

    from fpbus.schemas import FpbusError

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise FpbusError(f"Port {port} cannot be had: {error.strerror}.", "Choose another: --port") from error


def _commands() -> Any:
    from fpbus.schemas import FpbusError

    try:
        return importlib.import_module("hamilton_ui.commands")
    except ModuleNotFoundError as error:
        raise FpbusError(
            f"Hamilton's UI is not installed: there is no module {error.name!r}.", "Install it: pip install 'fpbus[ui]'"
        ) from error

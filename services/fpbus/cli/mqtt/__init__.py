"""`fpbus mqtt`: listeners in the foreground, under FlowerPower's names."""

import typer

from fpbus.cli.group import Commands

from .running import run_pipeline_on_message
from .starting import start_listener

mqtt = typer.Typer(cls=Commands, no_args_is_help=True, help="Listen to a topic in this process.")
for _command in (start_listener, run_pipeline_on_message):
    mqtt.command()(_command)

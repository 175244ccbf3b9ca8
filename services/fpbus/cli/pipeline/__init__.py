"""`fpbus pipeline`: everything around a pipeline that needs no bus."""

import typer

from fpbus.cli.group import Commands

from .check import check
from .drawing import save_dag, show_dag
from .hook import add_hook
from .listing import show_pipelines
from .new import delete, new
from .run import run
from .summary import show_summary
from .transfer import export, import_

pipeline = typer.Typer(cls=Commands, no_args_is_help=True, help="Make, run, look at and check pipelines.")
for _command in (run, new, delete, show_pipelines, show_summary, show_dag, save_dag, add_hook, check):
    pipeline.command()(_command)
pipeline.command("import")(import_)
pipeline.command()(export)

"""`fpbus pipeline`: everything around a pipeline, on this machine and on the bus."""

import typer

from fpbus.cli.group import Commands
from fpbus.cli.trigger import trigger

from .check import check
from .contract import schema
from .drawing import save_dag, show_dag
from .hook import add_hook
from .listing import show_pipelines
from .new import delete, new
from .run import run
from .scheduling import explain_schedule, schedule, schedule_all
from .summary import show_summary
from .switching import pause, resume
from .transfer import export, import_
from .triggering import explain_trigger, show_triggers

pipeline = typer.Typer(cls=Commands, no_args_is_help=True, help="Make, run, look at, check and schedule pipelines.")
for _command in (
    *(run, new, delete, show_pipelines, show_summary, schema, show_dag, save_dag, add_hook, check, export),
    *(schedule, schedule_all, explain_schedule, explain_trigger, show_triggers, pause, resume),
):
    pipeline.command()(_command)
pipeline.command("import")(import_)
for _name in ("add-job", "run-job"):  # as FlowerPower calls it
    pipeline.command(_name)(trigger)

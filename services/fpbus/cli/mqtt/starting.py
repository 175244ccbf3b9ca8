"""`fpbus mqtt start-listener`: a function of the project hears each message on a topic."""

from typing import TYPE_CHECKING, Annotated

import typer

from fpbus.cli.options import FormatOption, LogLevelOption
from fpbus.cli.output import show_event, write
from fpbus.cli.pipeline.options import BaseDirOption, StorageOptionsOption, project_folder
from fpbus.cli.pipeline.talking import talking

from .listening import Place, listening, serve
from .options import (
    CleanOption,
    ClientIdOption,
    CountOption,
    HostOption,
    PasswordOption,
    PortOption,
    QosOption,
    SuffixOption,
    TimeoutOption,
    UserOption,
)

if TYPE_CHECKING:
    from fpbus.bus import Delivery


def start_listener(  # noqa: PLR0917 (Typer makes options of them)
    on_message: Annotated[
        str, typer.Argument(metavar="MODULE[.FUNCTION]", help="What is called; of a module it is `on_message`.")
    ],
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="May have + and #.")],
    folder: Annotated[str | None, typer.Argument(metavar="BASE_DIR", help="The same as --base-dir.")] = None,
    host: HostOption = None,
    port: PortOption = None,
    username: UserOption = None,
    password: PasswordOption = None,
    clean_session: CleanOption = True,
    qos: QosOption = 2,
    client_id: ClientIdOption = None,
    client_id_suffix: SuffixOption = None,
    count: CountOption = None,
    timeout: TimeoutOption = None,
    _level: LogLevelOption = None,
    style: FormatOption = "table",
    base_dir: BaseDirOption = None,
    storage_options: StorageOptionsOption = None,
) -> None:
    """Call a function for each message on a topic, until Ctrl-C.

    It is called as on_message(client, userdata, message): `client` publishes, `userdata` is None, and `message` has
    topic, payload, qos and retain. A message is acknowledged when the function has returned or raised.
    """
    from .functions import function_named

    with talking(style):
        project = project_folder(base_dir or folder, storage_options)
        try:
            function = function_named(f"{on_message}.on_message", project, ("", "hooks"), "MODULE")
        except typer.BadParameter:
            function = function_named(on_message, project, ("", "hooks"), "MODULE")
    place = Place(topic, host, port, username, password, clean_session, qos, client_id, client_id_suffix)
    with listening(place, str(project)) as (bus, inbox):

        def handle(delivery: "Delivery") -> None:
            told = {"topic": delivery.topic, "state": "handled"}
            try:
                with talking(style):
                    function(bus, None, delivery)
            except Exception as error:  # the user's own, which must not end the listener
                told |= {"state": "failed", "error": f"{type(error).__name__}: {error}"}
            if style == "table":
                write("  ".join(told.values()))
            else:
                show_event(told, style)

        serve(bus, inbox, handle, count, timeout)

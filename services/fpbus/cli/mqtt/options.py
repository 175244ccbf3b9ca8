"""Options of listeners: which broker, and how to listen there."""

from typing import Annotated

import typer

HostOption = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST", help="The broker, or its URL (mqtts://...).  [default: that of the bus]"),
]
PortOption = Annotated[int | None, typer.Option("--port", min=1, max=65_535, help="With --host.  [default: 1883]")]
UserOption = Annotated[str | None, typer.Option("--username", help="For the broker.")]
PasswordOption = Annotated[
    str | None, typer.Option("--password", help="For the broker; FPBUS_MQTT_PASSWORD_FILE shows it to nobody.")
]
CleanOption = Annotated[
    bool,
    typer.Option(
        "--clean-session/--no-clean-session", help="Or have what came while away too, which needs --client-id."
    ),
]
QosOption = Annotated[int, typer.Option("--qos", min=0, max=2, help="Of the subscription.")]
ClientIdOption = Annotated[str | None, typer.Option("--client-id", metavar="ID", help="[default: a random one]")]
SuffixOption = Annotated[str | None, typer.Option("--client-id-suffix", metavar="TEXT", help="Put behind the id.")]
CountOption = Annotated[int | None, typer.Option("--count", min=1, help="End after so many messages.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="End after so long without a message.")
]

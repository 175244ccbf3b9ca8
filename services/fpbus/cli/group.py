"""Command names as people type them."""

from typing import Any

from typer.core import TyperGroup


class Commands(TyperGroup):
    """Takes underscores for hyphens, as FlowerPower's users write them; Typer itself says "did you mean"."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name.replace("_", "-"))

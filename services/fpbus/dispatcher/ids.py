"""Ids of runs whose publisher gave none."""

from secrets import token_urlsafe


def mint_run_id() -> str:
    """Make an id of 128 random bits."""
    return token_urlsafe(16)

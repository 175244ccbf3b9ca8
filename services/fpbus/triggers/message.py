"""A message as triggers see it: what a device published, and when it came."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Message:
    """`at` is when it came. `properties` are the user properties of MQTT 5."""

    topic: str
    payload: bytes
    at: datetime
    qos: int = 1
    retain: bool = False
    content_type: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict[str, str])

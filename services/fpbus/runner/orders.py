"""What a worker and its work-horse say to each other over their pipe, as MessagePack."""

from typing import Final

import msgspec

from fpbus.schemas import LogLine, NodeEvent, RunState


class Order(msgspec.Struct, frozen=True, array_like=True):
    """Run this. `data` is the job's call as it lies in Redis."""

    data: bytes
    attempt: int
    lost_before: int
    runner: str


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The horse stands ready."""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """What happened so far, since the last one."""

    nodes: list[NodeEvent]
    lines: list[LogLine]
    dropped: int = 0


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="ended"):
    """How an attempt ended: `result` is the encoded `RunResult`, or with `retry_delay_s` there will be another try.

    `progress` is what had not been told yet.
    """

    state: RunState
    result: bytes
    retry_delay_s: float | None = None
    reason: str | None = None
    progress: Progress | None = None


Report = Ready | Progress | Ended

encode: Final = msgspec.msgpack.Encoder().encode
decode_order: Final = msgspec.msgpack.Decoder(Order).decode
decode_report: Final = msgspec.msgpack.Decoder(Report).decode

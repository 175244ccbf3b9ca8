"""What a worker and its work-horse say to each other over their pipe, as MessagePack."""

from typing import Final

import msgspec

from fpbus.schemas import LogLine, NodeRecord, RunState


class Order(msgspec.Struct, frozen=True, array_like=True):
    """Run this, once its ticket is there. `data` is the job's call as it lies in Redis."""

    number: int
    data: bytes
    attempt: int
    lost_before: int
    runner: str


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The horse stands ready."""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """What happened so far, since the last one."""

    nodes: list[NodeRecord]
    lines: list[LogLine]
    dropped: int = 0


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="ended"):
    """How an attempt ended: `result` is the encoded `RunResult`, or with `retry_delay_s` there will be another try.

    `progress` is what had not been told yet. `account` is an encoded `RunAccount`, or nothing; the worker adds it.
    """

    state: RunState
    result: bytes
    retry_delay_s: float | None = None
    reason: str | None = None
    progress: Progress | None = None
    account: bytes = b""

    @property
    def whole(self) -> bytes:
        """Return the result with the account in it. Both are JSON objects with fields, so nothing is encoded anew."""
        return self.result[:-1] + b"," + self.account[1:] if self.account else self.result


Report = Ready | Progress | Ended

encode: Final = msgspec.msgpack.Encoder().encode
decode_orders: Final = msgspec.msgpack.Decoder(list[Order]).decode
decode_report: Final = msgspec.msgpack.Decoder(Report).decode

"""Slots that were fired and that nobody has accepted yet.

A broker's confirmation can precede a loss, and the dispatcher may be away. So a request goes out again until its run
is heard of; its id makes the repeat harmless.
"""

from dataclasses import dataclass

from .handlers import Slot


@dataclass(slots=True)
class _Waiting:
    slot: Slot
    give_up_s: float
    next_try_s: float


class Pending:
    """Knows what is to be sent again, and when. Times are seconds of a clock that is never set."""

    def __init__(self, resend_s: float) -> None:
        self._resend_s = resend_s
        self._waiting: dict[str, _Waiting] = {}

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._waiting

    def add(self, slot: Slot, now_s: float) -> None:
        """Begin to wait for the slot's run; it has been sent once."""
        self._waiting[slot.run_id] = _Waiting(slot, now_s + slot.patience.total_seconds(), now_s + self._resend_s)

    def settle(self, run_id: str) -> Slot | None:
        """Wait no more: somebody spoke of the run. Return its slot the first time; a run that is not ours has none."""
        waiting = self._waiting.pop(run_id, None)
        return waiting.slot if waiting else None

    def find(self, digest: str) -> str | None:
        """Return the run id of the request that a rejection names."""
        return next((run_id for run_id, waiting in self._waiting.items() if waiting.slot.digest == digest), None)

    def send_again(self, now_s: float) -> list[Slot]:
        """Return the slots whose next try is now; each try is told once."""
        due = [waiting for waiting in self._waiting.values() if waiting.next_try_s <= now_s]
        for waiting in due:
            waiting.next_try_s = now_s + self._resend_s
        return [waiting.slot for waiting in due]

    def give_up(self, now_s: float) -> list[Slot]:
        """Wait no more for slots whose patience is over, and return them."""
        over = [waiting.slot for waiting in self._waiting.values() if waiting.give_up_s <= now_s]
        for slot in over:
            del self._waiting[slot.run_id]
        return over

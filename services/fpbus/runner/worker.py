"""One worker: claims runs, feeds its work-horse one at a time, and does the bookkeeping while the horse works.

    claim up to 16 -> order them -> meanwhile finish the ones that have ended -> publish their results

A run that takes longer than `SLOW_S` is announced with `started`, and what was claimed behind it is handed back.
The worker enforces timeouts and cancels by killing the horse; a horse that dies by itself has its run's lease run
out at once, and the dispatcher counts a lost attempt.
"""

import itertools
import logging
import select
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from multiprocessing import Pipe
from typing import Final

from msgspec.structs import replace
from redis import RedisError

from fpbus.bus import Bus
from fpbus.lifecycle import Stop
from fpbus.schemas import MAX_PAYLOAD, FailureCode, RunError, RunState, WorkerInfo

from .account import Account
from .handlers import Times, ended_with
from .orders import Ended, Order, Progress
from .queue import Claim, WorkQueue
from .stable import HorseDiedError, Stable, TetheredHorse
from .telling import Teller

log = logging.getLogger(__name__)

CLAIM_MOST: Final = 16
SLOW_S: Final = 0.05
FINISH_S: Final = 0.005
IDLE_S: Final = 1.0
RETRY_S: Final = 0.5
#: So much of orders may wait in the pipe to the horse.
AHEAD_BYTES: Final = 32 * 1024


class Current:
    """The run that the horse has now."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.started_at = datetime.now(UTC)
        self.since = time.monotonic()
        self.announced = False
        self.progress: list[Progress] = []
        self.account = Account()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.since

    def hear(self, progress: Progress) -> None:
        self.progress.append(progress)
        self.account.add(progress)

    def with_account(self, ended: Ended) -> Ended:
        """Add what there is to tell of the attempt, unless there will be another one."""
        if ended.retry_delay_s is not None:
            return ended
        return replace(ended, account=self.account.encoded(MAX_PAYLOAD - len(ended.result)))


class Worker:
    """A thread with a work-horse. `stop` and `retire` end it after the run in hand; `drop` hands that back too."""

    def __init__(  # noqa: PLR0917 (its surroundings)
        self, name: str, queue: WorkQueue, stable: Stable, bus: Bus, stop: Stop, runs_per_horse: int
    ) -> None:
        self.name = name
        self._queue = queue
        self._stable = stable
        self._teller = Teller(bus, name)
        self._stop = stop
        self._runs_per_horse = runs_per_horse
        self._horse: TetheredHorse | None = None
        self._hand: deque[Claim] = deque()
        self._ahead = 0  # so many at the front of it the horse knows of
        self._number = 0
        self._current: Current | None = None
        self._endings: list[tuple[Claim, Ended]] = []
        self._cancelled: set[str] = set()
        self._superseded: set[str] = set()
        self._retired = False
        self._dropping = False
        self._stale_horse = False
        self._most = 1
        self._hurries = False
        self._more_wait = False
        self._runs = 0
        self._ear, self._mouth = Pipe(duplex=False)  # wakes the worker while it attends its horse
        self._poll = select.poll()
        self._poll.register(self._ear, select.POLLIN)
        self._horse_fd = -1
        self._ended_at = 0.0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"worker {name}", daemon=True)

    # What other threads ask for.

    def start(self) -> None:
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the first horse stands ready."""
        return self._ready.wait(timeout_s)

    def join(self, timeout_s: float) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def executions(self) -> list[Claim]:
        """Return everything that this worker holds a lease for."""
        current = self._current
        return [claim for claim, _ in list(self._endings)] + list(self._hand) + ([current.claim] if current else [])

    def cancel(self, executions: set[str]) -> None:
        self._cancelled |= executions
        self._wake()

    def supersede(self, executions: set[str]) -> None:
        """Hear that others have these by now: their results would be discarded."""
        self._superseded |= executions
        self._wake()

    def retire(self) -> None:
        """End after the run in hand, while the others go on."""
        self._retired = True

    @property
    def leaving(self) -> bool:
        return self._retired or self._stop.requested

    @property
    def gone(self) -> bool:
        return self._thread.ident is not None and not self._thread.is_alive()

    def drop(self) -> None:
        """Hand back the run in hand, instead of waiting for its end."""
        self._dropping = True
        self._wake()

    def renew_horse(self) -> None:
        """Have the next run done by a new horse, which imports the project afresh."""
        self._stale_horse = True

    def info(self) -> WorkerInfo:
        current, horse = self._current, self._horse
        return WorkerInfo(
            name=self.name,
            state="leaving" if self.leaving else "busy" if current else "idle",
            queues=self._queue.queues,
            pid=horse.pid if horse else 0,
            runs=self._runs,
            run_id=current.claim.run_id if current else None,
            pipeline=current.claim.job.pipeline if current else None,
            since=current.started_at if current else None,
        )

    def _wake(self) -> None:
        self._mouth.send_bytes(b"!")

    # The worker's own thread.

    def _run(self) -> None:
        try:
            self._mount()
            self._ready.set()
            while not self.leaving:
                self._turn()
        except Exception:
            log.exception("a worker stumbled", extra={"worker": self.name})
            self._stop.request(f"the worker {self.name} stumbled; see the log")
        finally:
            self._ready.set()
            if self._horse is not None:
                self._horse.kill()

    def _turn(self) -> None:
        """Claim and work off once. While Redis is away nothing is claimed."""
        try:
            if not self._claim():
                self._most = 1
                self._cancelled.clear()
                self._superseded.clear()
                self._renew_if_stale()
                self._queue.wait(IDLE_S)
                return
        except RedisError as error:
            log.warning("could not claim", extra={"reason": str(error)})
            self._stop.wait(RETRY_S)
            return
        self._hurries = len(self._hand) > 1
        self._work_off()

    def _claim(self) -> int:
        """Take runs in hand, and return how many."""
        claims, refused = self._queue.claim(self.name, self._most)
        for reason in refused:
            log.error("refused a job", extra={"reason": reason})
        self._hand.extend(claims)
        self._more_wait = len(claims) == CLAIM_MOST
        return len(claims)

    def _claim_ahead(self) -> None:
        """Claim while the horse still has short runs to do, so that it does not wait for Redis."""
        if (
            self._more_wait
            and self._ahead
            and self._most > 1
            and len(self._hand) < CLAIM_MOST // 2
            and not self.leaving
        ):
            try:
                self._claim()
            except RedisError:
                self._more_wait = False  # the next turn tells of it

    def _work_off(self) -> None:
        self._begin_next()
        while self._current is not None:
            self._endings_of(self._current)
            self._current = None
            self._begin_next()
            self._finish_if_due()
            self._claim_ahead()
        self._finish()

    def _finish_if_due(self) -> None:
        """End in Redis what has waited long enough: one round trip for several short runs, none for long."""
        if len(self._endings) >= CLAIM_MOST or (self._endings and time.monotonic() - self._ended_at > FINISH_S):
            self._finish()

    def _begin_next(self) -> None:
        """Turn to the next run, of which the horse may know already; end at once what was cancelled while it waited."""
        if self.leaving and self._ahead:
            self._recall()
        while self._hand and self._current is None:
            if self._ahead:
                self._ahead -= 1
                self._current = Current(self._hand.popleft())
                self._runs += 1
                return
            if self.leaving:
                self._hand_back(list(self._hand))
                self._hand.clear()
                return
            claim = self._hand[0]
            if self._is_cancelled(claim):
                self._endings.append((claim, self._cancelled_ending(claim, None)))
            elif str(claim.execution) not in self._superseded:
                self._order(claim)
            self._hand.popleft()

    def _is_cancelled(self, claim: Claim) -> bool:
        return claim.cancelled or str(claim.execution) in self._cancelled

    def _order(self, claim: Claim) -> None:
        """Have the horse do the first run in hand, and the short ones behind it that follow without a break."""
        self._renew_if_stale()
        assert self._horse is not None
        claims = [claim, *self._short_ones_behind(claim)]
        self._current = Current(claim)
        self._runs += 1
        try:
            self._horse.order(self._orders(claims))
        except HorseDiedError:
            # It died between two runs: that is nobody's fault, so another one gets the order.
            self._mount()
            self._horse.order(self._orders(claims))
        self._ahead = len(claims) - 1

    def _short_ones_behind(self, first: Claim) -> Iterator[Claim]:
        """Yield what may be ordered at once; a pipe takes only so much without somebody at its other end."""
        assert self._horse is not None
        room = AHEAD_BYTES - len(first.data)
        most = min(len(self._hand), self._runs_per_horse - self._horse.runs)
        for claim in itertools.islice(self._hand, 1, most):
            room -= len(claim.data)
            if room < 0 or self._is_cancelled(claim) or str(claim.execution) in self._superseded:
                return
            yield claim

    def _orders(self, claims: Sequence[Claim]) -> list[Order]:
        orders = [
            Order(self._number + place, claim.data, claim.execution.attempt, claim.lost_before, self.name)
            for place, claim in enumerate(claims)
        ]
        self._number += len(orders)
        return orders

    def _recall(self) -> int:
        """Take back what the horse has not begun; return how many of its runs it has begun, the current one first.

        With more than one, the current run has ended, and its report is in the pipe.
        """
        assert self._horse is not None
        in_hand = 0 if self._current is None else 1
        taken = self._horse.take_back()
        begun = in_hand + self._ahead - len(taken)
        if in_hand and begun == 0:
            self._horse.allow(taken[:1])
        self._ahead = max(0, begun - in_hand)
        return begun

    def _endings_of(self, current: Current) -> None:
        """Attend the horse until the run has ended one way or another."""
        try:
            ended = self._attend(current)
        except HorseDiedError as died:
            log.warning(
                "a work-horse died", extra={"worker": self.name, "run_id": current.claim.run_id, "how": str(died)}
            )
            self._tell_progress(current)
            if self._recall() == 0:  # it died before it began this one
                self._hand.appendleft(current.claim)
            else:
                self._lapse(current)
            self._mount()
            return
        if ended is not None:
            if not self._endings:
                self._ended_at = time.monotonic()
            self._endings.append((current.claim, current.with_account(ended)))
            self._most = CLAIM_MOST if current.elapsed < SLOW_S else 1
            self._tell_progress(current)

    def _attend(self, current: Current) -> Ended | None:
        horse = self._horse
        assert horse is not None
        timeout_s = current.claim.job.timeout_s
        while True:
            if self._is_over(current) and self._recall() <= 1:
                return self._end_early(current)
            left = max(0.0, timeout_s - current.elapsed)
            if left == 0.0 and self._recall() <= 1:
                return self._kill(current, self._timeout_ending(current.claim, current, timeout_s))
            until_slow = left if current.announced else max(0.0, SLOW_S - current.elapsed)
            patience = min(left, until_slow, FINISH_S if self._endings else left)
            heard = dict(self._poll.poll(patience * 1000))
            if horse.pipe.fileno() in heard:
                report = horse.report()
                if isinstance(report, Ended):
                    if report.progress is not None:
                        current.hear(report.progress)
                    return report
                if isinstance(report, Progress):
                    current.hear(report)
            elif self._ear.fileno() in heard:
                self._ear.recv_bytes()
                self._recall()  # what is meant may be among those ahead
            self._finish_if_due()
            if current.elapsed >= SLOW_S and self._recall() <= 1:
                self._announce(current)

    def _is_over(self, current: Current) -> bool:
        if not (self._dropping or self._cancelled or self._superseded):
            return False
        execution = str(current.claim.execution)
        return self._dropping or execution in self._cancelled or execution in self._superseded

    def _end_early(self, current: Current) -> Ended | None:
        execution = str(current.claim.execution)
        if execution in self._superseded:
            log.warning("stopped a run that another worker has", extra={"run_id": current.claim.run_id})
            return self._kill(current, None)
        if execution in self._cancelled:
            return self._kill(current, self._cancelled_ending(current.claim, current))
        self._kill(current, None)
        self._hand_back([current.claim], started=True)
        return None

    def _kill(self, current: Current, ended: Ended | None) -> Ended | None:
        self._tell_progress(current)
        self._mount()
        return ended

    def _mount(self) -> None:
        """Get a new horse and wait until it stands ready; the old one is put down."""
        if self._horse is not None:
            self._horse.kill()
            self._poll.unregister(self._horse_fd)
        self._horse = self._stable.fetch()
        self._horse_fd = self._horse.pipe.fileno()
        self._poll.register(self._horse_fd, select.POLLIN)
        self._stale_horse = False
        self._ahead = 0
        self._horse.report()

    def _renew_if_stale(self) -> None:
        if self._horse is not None and (self._stale_horse or self._horse.runs >= self._runs_per_horse):
            self._mount()

    # Telling.

    def _announce(self, current: Current) -> None:
        """Say that a run has started, once it is clear that it takes its time, and let others have what waits."""
        if current.announced:
            self._tell_progress(current)
            return
        current.announced = True
        self._teller.started(current.claim, current.started_at)
        self._tell_progress(current)
        self._finish()
        waiting = list(self._hand)
        self._hand.clear()
        self._hand_back(waiting)

    def _tell_progress(self, current: Current) -> None:
        hurries = self._hurries and not current.announced
        self._teller.progress(current.claim, current.progress, with_starts=current.announced, hurries=hurries)
        current.progress.clear()

    # Redis, held until it answers.

    def _finish(self) -> None:
        """End attempts in Redis, then publish their results. What is not ended when we stop will be run again."""
        while self._endings:
            try:
                done = self._queue.finish(self._endings)
            except RedisError as error:
                log.warning("could not finish", extra={"reason": str(error), "runs": len(self._endings)})
                if self._stop.wait(RETRY_S):
                    self._endings.clear()
                continue
            endings, self._endings = self._endings, []
            for claim, _ in endings:
                self._forget(claim)
            self._teller.ended([ending for ending, ours in zip(endings, done, strict=True) if ours])
            for (claim, _), ours in zip(endings, done, strict=True):
                if not ours:
                    log.warning("discarded the result of a superseded attempt", extra={"run_id": claim.run_id})

    def _hand_back(self, claims: list[Claim], *, started: bool = False) -> None:
        try:
            self._queue.release(claims, started=started)
        except RedisError as error:
            log.warning("could not hand back; the leases will run out", extra={"reason": str(error)})

    def _lapse(self, current: Current) -> None:
        try:
            self._queue.lapse([current.claim.execution], current.account.encoded(MAX_PAYLOAD // 2))
        except RedisError as error:
            log.warning("could not give up a lease; it will run out", extra={"reason": str(error)})

    def _forget(self, claim: Claim) -> None:
        self._cancelled.discard(str(claim.execution))
        self._superseded.discard(str(claim.execution))

    def _cancelled_ending(self, claim: Claim, current: Current | None) -> Ended:
        error = RunError(code=FailureCode.CANCELLED, message="Cancelled on request.")
        return self._ending(claim, current, RunState.CANCELLED, error)

    def _timeout_ending(self, claim: Claim, current: Current, timeout_s: float) -> Ended:
        error = RunError(code=FailureCode.TIMEOUT, message=f"It ran longer than {timeout_s:g} s and was stopped.")
        return self._ending(claim, current, RunState.FAILED, error)

    def _ending(self, claim: Claim, current: Current | None, state: RunState, error: RunError) -> Ended:
        order = Order(0, b"", claim.execution.attempt, claim.lost_before, self.name)
        times = Times(current.started_at if current else None, datetime.now(UTC))
        return ended_with(claim.job, order, times, state, error)

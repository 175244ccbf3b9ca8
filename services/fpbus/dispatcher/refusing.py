"""Tell publishers what was wrong with their messages: on the `rejected` topics, and where they want their answers."""

import logging
from datetime import UTC, datetime

from fpbus.bus import Bus, Delivery
from fpbus.schemas import RejectionCode

from .catalog import Catalog
from .handlers import RefusedError, may_answer, rejection_of, rejection_topic

log = logging.getLogger(__name__)


class Refuser:
    """Publishes rejections."""

    def __init__(self, bus: Bus, catalog: Catalog) -> None:
        self._bus = bus
        self._catalog = catalog

    def refuse(
        self,
        delivery: Delivery,
        refused: RefusedError,
        pipeline: str | None = None,
        reply_to: str | None = None,
        hops: int = 0,
    ) -> None:
        """Say why a message, or what `pipeline` was to make of it, does not become a run.

        A loop is not answered: the answer might be what begins the next round.
        """
        rejection = rejection_of(delivery, refused, datetime.now(UTC), pipeline, hops)
        self._bus.publish(rejection_topic(rejection), rejection)
        reply_to = reply_to or refused.request.reply_to or delivery.response_topic
        loops = refused.code == RejectionCode.LOOP
        if reply_to is not None and not loops and may_answer(reply_to, self._catalog.rules):
            self._bus.reply(reply_to, rejection, delivery.correlation)
        log.warning(
            "rejected a message",
            extra={"code": str(rejection.code), "topic": rejection.topic, "digest": rejection.digest},
        )

"""One attempt to have a prepared step committed by Kafka, until it is known whether it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from partition_workers.clock import Clock
from partition_workers.counts import TransactionTimes
from partition_workers.errors import Lost, Retry
from partition_workers.etcd.store import TxnResult
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.steps import Known, Step, Verdict, decide

log = logging.getLogger(__name__)

#: Seconds until etcd is asked again.
AGAIN = 0.1


class Attempt:
    """Driven by `pump`. `ask_etcd`: whether the lock is still ours."""

    def __init__(
        self,
        step: Step,
        exchange: Exchange,
        ask_etcd: Callable[[], Future[TxnResult]],
        clock: Clock,
        times: TransactionTimes,
    ) -> None:
        self.step = step
        self._times = times
        times.begin()
        self.known: Known | None = None
        """K, once the attempt is over."""
        self.failed: SendingFailed | None = None
        self._exchange, self._ask_etcd, self._clock = exchange, ask_etcd, clock
        self._again_at = 0.0
        self._then: Callable[[Future[Any]], Verdict | None] = self._on_committed
        self._awaited: Future[Any] | None = exchange.commit(step)

    def pump(self) -> Verdict | None:
        """None: it is not over. Raises Lost, PartitionRefused, and Retry while etcd does not answer."""
        if self._awaited is None and self._clock() >= self._again_at:
            self._ask_whose_it_is()
        if self._awaited is None or not self._awaited.done():
            return None
        answer, self._awaited = self._awaited, None
        return self._then(answer)

    def wait(self, seconds: float) -> None:
        if self._awaited is not None:
            wait([self._awaited], timeout=seconds)
        else:
            time.sleep(min(seconds, max(0.0, self._again_at - self._clock())))

    def _await(self, answer: Future[Any], then: Callable[[Future[Any]], Verdict | None]) -> None:
        self._awaited, self._then = answer, then

    def _on_committed(self, answer: Future[Known]) -> Verdict | None:
        try:
            self.known = answer.result()
        except SendingFailed as failed:
            log.warning("a transaction with %d outputs was not seen to be committed: %s",
                        self.step.outputs, failed)  # fmt: skip
            self.failed = failed
            self._times.given_up += failed.given_up
            self._ask_whose_it_is()
            return None
        return self._counted(Verdict.DONE)

    def _ask_whose_it_is(self) -> None:
        """A zombie that initialises a producer fences the rightful owner. So first it is asked who that is."""
        self._await(self._ask_etcd(), self._on_asked)

    def _on_asked(self, answer: Future[TxnResult]) -> Verdict | None:
        try:
            result = answer.result()
        except Retry:
            self._again_at = self._clock() + AGAIN
            raise
        if not result.succeeded:
            raise Lost("the partition has another owner by now")
        self._await(self._exchange.open(), self._on_opened)
        return None

    def _on_opened(self, answer: Future[Known | None]) -> Verdict | None:
        self.known = answer.result()
        return self._counted(decide(self.step.number, self.step.before, self.known, is_fenced=True))

    def _counted(self, verdict: Verdict) -> Verdict:
        if verdict is Verdict.DONE:
            self._times.end()
            self._times.outputs += self.step.outputs
        else:
            self._times.aborted += verdict is Verdict.DROPPED
        return verdict

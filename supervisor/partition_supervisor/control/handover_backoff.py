"""Who was given a lock and did not take it is offered nothing for a while: a pure function of that, and of the clock.

A host that etcd barely reaches, or whose supervisor stands still, may look well in etcd for as long as its leases
last, and so would be given a healthy partition again and again. After each failure the pause doubles. It ends early
when the host is in another life; and what is held for as long as a pause lasted counts as its proof that it is well.

There are two kinds of pause. One is the host's: it was given a lock and nothing came of it. The other one belongs to
the host and one partition, which may be the only one that it cannot take; others that it takes do not end that one.
A worker that died while its supervisor looked on says nothing about its host.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from partition_supervisor.control.growing_pause import GrowingPause, pause_after
from partition_workers.model import Partition

#: Seconds of the first pause; and of the first one after a worker that died: another one is about to be ready.
FIRST, FIRST_AFTER_DEATH = 5.0, 1.0


@dataclass(slots=True)
class HandoverBackoff:
    """Times in seconds, of one clock. `life`: something that is different each time a host is started."""

    _pauses: dict[tuple[str, Partition | None], tuple[str, GrowingPause]] = field(default_factory=dict)

    def failed(self, partition: Partition, host: str, life: str, now: float, died: bool = False) -> GrowingPause:
        """It was given the lock and did not take it; `died`: its worker was found dead by its own supervisor. The
        pause of the host for this partition."""
        if not died:
            self._grow((host, None), life, now, FIRST)
        return self._grow((host, partition), life, now, FIRST_AFTER_DEATH if died else FIRST)

    def owned(self, partition: Partition, host: str, since: float, now: float) -> None:
        """It took the lock at `since`, and has it, or had it until now."""
        for key in ((host, None), (host, partition)):
            _, pause = self._pauses.get(key, ("", None))
            if pause is not None and since >= pause.since and now - since >= pause.seconds:
                del self._pauses[key]

    def may_be_offered(self, partition: Partition, host: str, life: str, now: float) -> bool:
        pauses = (self._pause((host, each), life) for each in (None, partition))
        return all(pause is None or pause.is_over(now) for pause in pauses)

    def _pause(self, key: tuple[str, Partition | None], life: str) -> GrowingPause | None:
        of, pause = self._pauses.get(key, (life, None))
        return pause if of == life else None

    def _grow(self, key: tuple[str, Partition | None], life: str, now: float, first: float) -> GrowingPause:
        pause = pause_after(self._pause(key, life), now, first)
        self._pauses[key] = life, pause
        return pause

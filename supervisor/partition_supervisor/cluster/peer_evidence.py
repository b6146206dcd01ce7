"""Whether an owner elsewhere is dead: what two witnesses say of it. Pure, and nothing else decides it.

The first witness is the other host's kernel. An address that answered before and refuses at once says that no process
of that host is left: the listening socket is shared with all its workers. So does an address where nobody answers,
right after a kernel has ended both connections in good order: a container that is killed takes its address along.
Silence says less, and what fails for a reason of our own says nothing.

The second witness is etcd, which knows when a lease was renewed last. It answers in whole seconds: of a lease of 5 s
"4 left" means that it was renewed within the last second, which a dead owner's may have been too. So for the first
second it cannot contradict a refusal, and is not asked; later it can. To know the age more exactly than in seconds,
it is asked often: when "4 left" becomes "3 left", the lease was renewed a second ago.

Whoever suspects most of at least two others suspects himself, and waits until their leases end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from partition_supervisor.cluster.peer_protocol import SILENCE
from partition_supervisor.suspicion import FirstWitness
from partition_workers.etcd.store import LeaseTime

#: So many renewals have to be missed, beside the silence.
LATE = 1.5
#: An answer of etcd that took so many seconds may mean that etcd stood still, and nobody could renew anything.
SLOW_ANSWER = 0.3
#: Seconds for which no answer in whole seconds can contradict a refusal.
RESOLUTION = 1.0


class Verdict(StrEnum):
    LIVES = "lives"
    UNKNOWN = "unknown"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class SecondWitness:
    """How many seconds ago a lease was renewed: at least, and at most."""

    least: float
    most: float


def suspects_itself(others: int, answering: int) -> bool:
    return others >= 2 and 2 * (others - answering) > others


def may_be_contradicted(first: FirstWitness) -> bool:
    """Whether it is worth a question to etcd."""
    return not first.refused or first.seconds > RESOLUTION


def contradicted_by(first: FirstWitness) -> float:
    """A lease that was renewed less than so many seconds ago says that the first witness was wrong. A host that died
    may have renewed it after its last heartbeat, or while that was on its way: this contradicts no silence."""
    return first.seconds if first.refused else first.seconds - SILENCE


def judge(first: FirstWitness, second: SecondWitness | None, renew_every: float, believed: bool = True) -> Verdict:
    """`second`: of the owner's lease, None when nobody asked or etcd did not answer; `renew_every`: seconds between
    two of its renewals. `believed`: False when this host refused before and was alive all the same."""
    if second is not None and second.most < contradicted_by(first):
        return Verdict.LIVES
    if suspects_itself(first.others, first.answering):
        return Verdict.UNKNOWN
    if first.refused and believed:
        return Verdict.UNKNOWN if second is None and may_be_contradicted(first) else Verdict.DEAD
    if first.seconds >= SILENCE and second is not None and second.least > LATE * renew_every:
        return Verdict.DEAD
    return Verdict.UNKNOWN


class LeaseAge:
    """How long ago a lease was renewed, from several answers in whole seconds."""

    def __init__(self) -> None:
        self._least = 0.0
        self._most = math.inf
        self._heard_at: tuple[float, float] | None = None

    def hear(self, asked: float, answered: float, time: LeaseTime) -> SecondWitness | None:
        """Take in an answer that was `asked` for and `answered` at these seconds of one clock. None: this answer
        says nothing, because it took too long."""
        if time.granted <= 0:
            return SecondWitness(math.inf, math.inf)
        if answered - asked > SLOW_ANSWER:
            self._heard_at = None
            return None
        most = float(max(0, time.granted - time.left))
        least = max(0.0, most - 1.0)
        if self._heard_at is not None:
            asked_before, answered_before = self._heard_at
            if most > 1.0 + math.floor(answered - asked_before):  # a renewal in between would have made it younger
                least = max(least, self._least + asked - answered_before)
            most = min(most, self._most + answered - asked_before)
        self._least, self._most, self._heard_at = least, most, (asked, answered)
        return SecondWitness(least, most)

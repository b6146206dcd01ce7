"""Which host should own which partition: a part of the plan, in which hosts and partitions are numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappop, heapreplace

#: Stands for the host of a partition that has none.
NOBODY = -1


def choose_owners(today: Sequence[int], left: list[int], warm: Sequence[int], wanted: Mapping[int, int]) -> list[int]:
    """The host of each partition. `left`: how many each host gets, as many as there are partitions; it is used up.
    `warm`: the sets of hosts where they have standbys; `wanted`: where some of them must go.

    A host keeps what it owns up to its share.
    """
    chosen = [NOBODY] * len(today)
    for partition, target in wanted.items():
        if left[target] > 0:
            chosen[partition] = target
            left[target] -= 1
    staying = [NOBODY if taken != NOBODY else host for host, taken in zip(today, chosen, strict=True)]
    holding = Counter(staying)
    if all(holding[host] <= count for host, count in enumerate(left)):
        chosen = [host if taken == NOBODY else taken for host, taken in zip(today, chosen, strict=True)]
        left[:] = [count - holding[host] for host, count in enumerate(left)]
    else:
        short = sum(1 << host for host, count in enumerate(left) if count > holding[host])
        # Those go who are awaited somewhere: nobody has to be started for them.
        for partition in sorted(range(len(today)), key=lambda partition: warm[partition] & short != 0):
            host = staying[partition]
            if host != NOBODY and left[host] > 0:
                chosen[partition] = host
                left[host] -= 1
    if NOBODY in chosen:
        _give(chosen, left, warm)
    return chosen


def _give(chosen: list[int], left: list[int], warm: Sequence[int]) -> None:
    """To each that has no host yet one where it is warm, otherwise the one with most places left."""
    hosts = len(left)
    open_to = sum(1 << host for host, count in enumerate(left) if count > 0)
    # A heap of numbers in which more places come first, then names. A host may have fewer by now than it says there.
    pool = sorted(host - count * hosts for host, count in enumerate(left) if count > 0)
    for partition, taken in enumerate(chosen):
        if taken != NOBODY:
            continue
        if ready := warm[partition] & open_to:
            taker = ready.bit_length() - 1
            if ready != 1 << taker:
                taker = max((h for h in range(hosts) if ready >> h & 1), key=lambda host: (left[host], -host))
        else:
            while pool[0] != (rank := (taker := pool[0] % hosts) - left[taker] * hosts):
                if left[taker]:
                    heapreplace(pool, rank)
                else:
                    heappop(pool)
        chosen[partition] = taker
        left[taker] -= 1
        if not left[taker]:
            open_to ^= 1 << taker

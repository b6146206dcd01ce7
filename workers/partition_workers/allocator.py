"""Every thread of a worker gets a part of the heap of its own.

glibc gives a thread its own arena, which it locks for each call, only until there are eight for each processor;
whoever comes later shares one. A worker has some twenty threads, most of them of librdkafka and gRPC, which hardly
allocate anything. On two processors the seventeenth is often the one that reads from Kafka, and it is made to share
the arena of the thread that handles records: these two allocate and free for every record, and wait for each other.
Measured on two processors, ten trials in turns, records of 100 bytes one by one: 1.63 million a second with the
limit, 1.99 without, 2.01 for a loop that does nothing else. The memory of a worker is the same: an arena takes what
is put into it.
"""

from __future__ import annotations

import ctypes
import os

#: Of malloc.h: how many arenas there may be.
_M_ARENA_MAX = -8
#: As many threads as a worker and a handler may have that want one.
_ENOUGH = 64
#: What glibc allows by itself.
_EACH_PROCESSOR = 8


def allow_an_arena_for_each_thread() -> None:
    """In this process and all that are forked from it. Call it while there are few threads: the limit is found once.

    Who sets one in the environment has reasons, and keeps it. Another libc than glibc has no arenas.
    """
    if "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, max(_ENOUGH, _EACH_PROCESSOR * (os.cpu_count() or 1)))

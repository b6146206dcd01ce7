"""File descriptors: how many a host with so many workers needs, and how many it may have."""

from __future__ import annotations

import contextlib
import errno
import os
import resource

#: What a supervisor holds for each worker: its pipe, its log, its exit, what its fork server tells, what tells it of
#: our end; and one more while it is made or replaced.
FOR_EACH_WORKER = 6
#: What is left for everything else: connections to etcd, Kafka and other hosts, files, pipes.
RESERVE = 64


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one. The limit that holds from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # a sandbox that does not let us
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def descriptors_for(workers: int) -> int:
    return RESERVE + FOR_EACH_WORKER * workers


def most_workers(limit: int) -> int:
    """At least one: better a worker that may fail than a host without any."""
    return max(1, (limit - RESERVE) // FOR_EACH_WORKER)


def check_descriptors(newest: int) -> None:
    """Raises OSError when so few are left that connections would fail. `newest`: a descriptor that was just made,
    which is the lowest that was free."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if newest >= limit - RESERVE // 2:
        raise OSError(errno.EMFILE, f"{os.strerror(errno.EMFILE)}: {newest} of {limit} are used")

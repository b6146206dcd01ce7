"""Where an owner begins: where its predecessor ended, if that can be true; else where the settings say."""

from __future__ import annotations

import logging
import time

from partition_workers.errors import Lost, PartitionRefused, Retry
from partition_workers.kafka.reader import Reader
from partition_workers.layout.documents import StoredOffset
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.model import Offset, Token
from partition_workers.protocol import WorkerSettings
from partition_workers.supervisor_pipe import SupervisorPipe

log = logging.getLogger(__name__)

#: Seconds between two questions.
AGAIN = 0.5


def refuse_what_is_not_ours(settings: WorkerSettings, token: Token, stored: StoredOffset | None) -> None:
    """Raises PartitionRefused when the stored offset belongs to another life of etcd."""
    partition = settings.partition
    if stored is not None and stored.token >= token:
        raise PartitionRefused(
            f"{partition}: the stored token {stored.token} is not smaller than ours, {token}: etcd"
            " was probably restored from an old copy, and what was committed since is missing from it."
            f" If that is accepted: partition-supervisor resume {partition}"
        )


def first_start_offset(settings: WorkerSettings, reader: Reader, lease: LeaseWatchdog, pipe: SupervisorPipe) -> int:
    """Where a partition begins that was never read. Its first commit pins it.

    Kafka is asked until it answers. Raises Lost when the lease is over, or it is told to leave, before that.
    """
    if settings.start_at is not None:
        return settings.start_at
    lease.start()
    while True:
        try:
            return reader.warm_up(timeout=1.0)[0]
        except Retry as error:
            log.warning("%s", error)
            if lease.is_over() or pipe.told_to_leave:
                raise Lost(f"{settings.partition}: Kafka did not answer") from error
            time.sleep(AGAIN)  # nothing to wait upon but Kafka itself


def checked_position(reader: Reader, position: Offset, offset: Offset) -> Offset:
    """Where the target of a handler stands, which counts more than the stored `offset`.

    Raises PartitionRefused when Kafka does not have the records from there on; Unavailable.
    """
    if position == offset:
        return position
    first, end = reader.warm_up(timeout=5.0)
    if not first <= position <= end:
        raise PartitionRefused(
            f"{reader.partition}: open() says that its target stands at offset {position}, and Kafka has {first} to"
            f" {end}; nothing was skipped. Correct the target's position, or have open() return nothing"
        )
    log.info(
        "%s: from offset %d on, where the handler's target stands; stored is %d", reader.partition, position, offset
    )
    return position

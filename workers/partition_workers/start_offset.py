"""Where an owner begins: where its predecessor ended, if that can be true; else where the settings say."""

from __future__ import annotations

import logging

from partition_workers.errors import Lost, PartitionRefused, Retry
from partition_workers.kafka.reader import Reader
from partition_workers.layout.documents import StoredOffset
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.model import Token
from partition_workers.protocol import WorkerSettings
from partition_workers.supervisor_pipe import SupervisorPipe

log = logging.getLogger(__name__)


def refuse_what_is_not_ours(settings: WorkerSettings, token: Token, stored: StoredOffset | None) -> None:
    """Raises PartitionRefused when the stored offset belongs to another life of etcd, or of the topic."""
    partition = settings.partition
    if stored is None:
        return
    if stored.token >= token:
        raise PartitionRefused(
            f"{partition}: the stored token {stored.token} is not smaller than ours, {token}: etcd"
            " was probably restored from an old copy, and what was committed since is missing from it."
            f" If that is accepted: partition-supervisor resume {partition}"
        )
    if stored.topic_id and settings.topic_id and stored.topic_id != settings.topic_id:
        raise PartitionRefused(
            f"{partition}: the topic was deleted and created anew, so offset {stored.offset} means nothing"
            f" any more. Decide where to go on: partition-supervisor offsets reset {partition}"
            " --to-earliest --execute"
        )


def first_start_offset(settings: WorkerSettings, reader: Reader, lease: LeaseWatchdog, pipe: SupervisorPipe) -> int:
    """Where a partition begins that was never read. Its first commit pins it.

    Kafka is asked until it answers. Raises Lost when the lease is over before that.
    """
    lease.start()
    while True:
        try:
            first, end = reader.warm_up(timeout=5.0)
            return end if settings.start == "latest" else first
        except Retry as error:
            log.warning("%s", error)
            if lease.is_over() or pipe.orphaned:
                raise Lost(f"{settings.partition}: Kafka did not answer") from error

"""Where an owner begins: where its predecessor ended, if that can be true; else where the settings say."""

from __future__ import annotations

from partition_workers.errors import PartitionRefused
from partition_workers.kafka.reader import Reader
from partition_workers.layout.documents import StoredOffset
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.model import Token
from partition_workers.protocol import WorkerSettings
from partition_workers.supervisor_pipe import SupervisorPipe
from partition_workers.target_position import extent


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
    """Where a partition begins that was never read. Its first commit pins it. Raises Lost, as `extent` does."""
    if settings.start_at is not None:
        return settings.start_at
    lease.start()
    return extent(settings, reader, lease, pipe)[0]

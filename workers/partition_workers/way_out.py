"""How what a handler produces gets out, as the settings promise it."""

from __future__ import annotations

from partition_workers.kafka.acknowledged_producer import AcknowledgedProducer
from partition_workers.kafka.transactional_producer import TransactionalProducer
from partition_workers.model import AT_LEAST_ONCE
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.sender import Sender
from partition_workers.protocol import WorkerSettings


def of(settings: WorkerSettings) -> Exchange | Sender | None:
    """None: nothing is produced. Raises Misconfigured."""
    if not settings.outputs:
        return None
    if settings.output_guarantee == AT_LEAST_ONCE:
        return Sender(lambda: AcknowledgedProducer(settings.kafka, settings.outputs))
    return transactions(settings)


def transactions(settings: WorkerSettings) -> Exchange:
    """For outputs exactly once: also of an owner that only ends what another had begun. Raises Misconfigured."""
    keys, partition = settings.keys, settings.partition
    name, group = keys.transactional_id(partition), keys.outputs_group
    return Exchange(lambda: TransactionalProducer(settings.kafka, partition, name, group, settings.outputs))

"""What `offsets reset` and `resume` look at before they act: steps with outputs that were left prepared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from partition_supervisor.commands.order_options import Group
from partition_workers.layout.documents import StoredOffset
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.admin.left_steps import LeftStep

#: Seconds for Kafka to say what it has committed; it may be silent.
KAFKA_PATIENCE = 3.0


def left_by(
    group: Group, offsets: Mapping[Partition, StoredOffset], kafka: Mapping[str, Any]
) -> dict[Partition, LeftStep]:
    """Those of these partitions, with what Kafka says of them. Most often there is none, and Kafka is not asked."""
    from partition_supervisor.admin.left_steps import LeftStep, left_steps
    from partition_supervisor.kafka.committed_steps import committed_steps

    prepared = left_steps(group.etcd, group.keys, offsets)
    if not prepared:
        return {}
    shown = committed_steps(kafka, group.keys.outputs_group, prepared, KAFKA_PATIENCE)
    return {each: LeftStep(each, found, shown.get(each)) for each, found in prepared.items()}

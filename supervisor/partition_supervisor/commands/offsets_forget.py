"""`partition-supervisor offsets forget`: of partitions that Kafka does not have any more, nothing is kept."""

from __future__ import annotations

from typing import Any

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_options, kafka_options
from partition_supervisor.commands.order_options import (
    must_be_known,
    name_foreign,
    opened,
    partitions_argument,
    timeout_option,
)
from partition_supervisor.commands.output import say
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.commands.status import complain
from partition_workers.model import Partition

#: Seconds for Kafka to answer.
PATIENCE = 10.0


@click.command(cls=PlainCommand)
@partitions_argument
@click.option("--execute", is_flag=True, help="Do it. Otherwise it is only shown.")
@kafka_options
@etcd_options
@timeout_option
def forget(
    partitions: tuple[Partition, ...], execute: bool, bootstrap_servers: str, properties: tuple[str, ...],
    **values: Any,
) -> None:  # fmt: skip
    """Delete offset, state and history of partitions that Kafka does not have any more; all of them if none is given.

    Nothing is changed without --execute. A partition that Kafka has, or that has an owner, is refused.

    \b
    Examples:
      $ partition-supervisor offsets forget
      $ partition-supervisor offsets forget 'events[3]' --execute
    \b
    Exit codes: 0 fine, 2 usage, 3 Kafka has it, or it has an owner, 69 etcd or Kafka unreachable,
    78 no such partition.
    """
    from partition_supervisor.admin.forget import forget as forget_all
    from partition_supervisor.admin.forget import refuse_existing
    from partition_supervisor.admin.offsets import Offsets
    from partition_supervisor.kafka.end_offsets import EndOffsets

    kafka = EndOffsets({**properties_from(properties), "bootstrap.servers": bootstrap_servers})
    with opened(values) as group:
        stored = Offsets(group.etcd, group.keys)
        found = stored.look()
        name_foreign(stored.foreign)
        must_be_known(partitions, found)
        ends = kafka.of({each.topic for each in partitions or found}, PATIENCE)
        chosen = sorted(set(partitions)) or [each for each in found if ends.lacks(each)]
        refuse_existing(chosen, ends, bootstrap_servers)
        if execute:
            forget_all(group.etcd, group.keys, [found[each] for each in chosen], ends)
    for each in chosen:
        say(f"{each} {'is forgotten' if execute else 'would be forgotten'}")
    if not chosen:
        complain(f"Kafka at {bootstrap_servers} has every partition of this group: nothing to forget")
    elif not execute:
        complain("nothing was changed; add --execute")

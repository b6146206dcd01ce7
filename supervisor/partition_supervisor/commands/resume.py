"""`partition-supervisor resume`: partitions that were paused, or parked by a worker, are processed again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from partition_supervisor.admin.render import moment
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.left_steps import left_by
from partition_supervisor.commands.options import etcd_options, kafka_options
from partition_supervisor.commands.order_options import (
    must_be_known,
    opened,
    partitions_argument,
    timeout_option,
    wait_option,
    wait_until,
)
from partition_supervisor.commands.output import say
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.commands.status import complain
from partition_workers.errors import ExitCode, Unreachable
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.admin.group_documents import Documents
    from partition_supervisor.kafka.end_offsets import Extents

#: Seconds for Kafka to answer; it may be silent.
KAFKA_PATIENCE = 3.0


@click.command(cls=PlainCommand)
@partitions_argument
@wait_option("Wait until all of them have an owner:")
@kafka_options
@etcd_options
@timeout_option
def resume(
    partitions: tuple[Partition, ...], wait: float | None, bootstrap_servers: str, properties: tuple[str, ...],
    **values: Any,
) -> None:  # fmt: skip
    """Resume partitions, each written as events[3] or events/3; all that are parked if none is given.

    They go on at the next record after the last commit, whether they were paused by a person or parked by a
    worker that could not go on. A record that was found to kill workers gets all its tries again; to pass over
    it instead, set the offset first (offsets reset --shift-by 1). Kafka is asked whether the offset still means
    something: a partition whose topic was made anew, or whose next record is gone, is refused. It is said what will
    become of a step with outputs that was left prepared.

    \b
    Examples:
      $ partition-supervisor resume
      $ partition-supervisor resume 'events[3]' --wait
    \b
    Exit codes: 0 resumed, 2 usage, 3 refused, or --wait was not long enough, 69 etcd unreachable,
    78 no such partition.
    """
    from partition_supervisor.admin.control_keys import Orders
    from partition_supervisor.kafka.end_offsets import Extents

    kafka_client = {**properties_from(properties), "bootstrap.servers": bootstrap_servers}
    kafka = Extents(kafka_client)
    with opened(values) as group:
        orders = Orders(group.etcd, group.keys)
        documents = orders.look()
        must_be_known(partitions, documents.partitions)
        chosen = sorted(set(partitions) or documents.cluster.parked)
        if not chosen:
            complain("no partition is parked: nothing to resume")
        refused = refusals([each for each in chosen if each in documents.cluster.parked], documents, kafka)
        for line in refused.values():
            complain(line)
        chosen = [each for each in chosen if each not in refused]
        stored_offsets = {p: documents.offsets[p] for p in chosen if p in documents.offsets}
        for step in left_by(group, stored_offsets, kafka_client).values():
            complain(step.on_resume())
        for each in orders.resume(chosen):
            if each.parked is None:
                say(f"{each.partition} was not parked")
            else:
                stored = documents.offsets.get(each.partition) or each.parked
                say(
                    f"{each.partition} goes on at offset {stored.offset:,};"
                    f" it was parked since {moment(each.parked.at)}: {each.parked.reason}"
                )

        def ownerless() -> list[str]:
            cluster = orders.look().cluster
            left = [p for p in chosen if p not in cluster.locks or p in cluster.parked]
            return [
                f"{p} was parked again: {cluster.parked[p].reason}" if p in cluster.parked
                else f"{p} has no owner yet" if cluster.hosts else f"{p} has no owner: no supervisor is running"
                for p in left
            ]  # fmt: skip

        if wait is not None:
            wait_until(ownerless, wait)
    if refused:
        sys.exit(int(ExitCode.CONDITION_NOT_MET))


def refusals(chosen: list[Partition], documents: Documents, kafka: Extents) -> dict[Partition, str]:
    """Those that must not go on where they stand, and why. Where Kafka is silent, the owner will see."""
    from partition_supervisor.admin.offsets import Standing, Stored, why_not_to_resume

    topics = {each.topic for each in chosen}
    try:
        ends, extents = kafka.of(topics, KAFKA_PATIENCE), kafka.extents(topics, KAFKA_PATIENCE)
    except Unreachable as error:
        complain(f"{error} Whether the next records still exist is not known.")
        return {}
    refused = {}
    for each in chosen:
        standing = Standing(each, Stored(documents.offsets.get(each)))
        if ends.lacks(each):
            refused[each] = f"{each} is not resumed: Kafka does not have it; see partition-supervisor offsets forget"
        elif why := why_not_to_resume(standing, extents.get(each)):
            refused[each] = f"{each} is not resumed: {why}"
    return refused

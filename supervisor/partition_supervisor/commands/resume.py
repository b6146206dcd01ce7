"""`partition-supervisor resume`: partitions that were paused, or parked by a worker, are processed again."""

from __future__ import annotations

from typing import Any

import click

from partition_supervisor.admin.render import moment
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_options
from partition_supervisor.commands.order_options import (
    must_be_known,
    opened,
    partitions_argument,
    timeout_option,
    wait_option,
    wait_until,
)
from partition_supervisor.commands.status import complain
from partition_workers.model import Partition


@click.command(cls=PlainCommand)
@partitions_argument
@wait_option("Wait until all of them have an owner:")
@etcd_options
@timeout_option
def resume(partitions: tuple[Partition, ...], wait: float | None, **values: Any) -> None:
    """Resume partitions, each written as events[3] or events/3; all that are parked if none is given.

    They go on at the next record after the last commit, whether they were paused by a person or parked by a
    worker that could not go on. A record that was found to kill workers gets all its tries again; to pass over
    it instead, set the offset first (offsets reset --shift-by 1).

    \b
    Examples:
      $ partition-supervisor resume
      $ partition-supervisor resume 'events[3]' --wait
    \b
    Exit codes: 0 resumed, 2 usage, 3 --wait was not long enough, 69 etcd unreachable, 78 no such partition.
    """
    from partition_supervisor.admin.control_keys import Orders

    with opened(values) as group:
        orders = Orders(group.etcd, group.keys)
        documents = orders.look()
        must_be_known(partitions, documents.partitions)
        chosen = sorted(set(partitions) or documents.cluster.parked)
        if not chosen:
            complain("no partition is parked: nothing to resume")
        for each in orders.resume(chosen):
            if each.parked is None:
                click.echo(f"{each.partition} was not parked")
            else:
                stored = documents.offsets.get(each.partition) or each.parked
                click.echo(
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

"""`partition-supervisor move`: a partition goes to a certain host, and stays there."""

from __future__ import annotations

from typing import Any

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_options
from partition_supervisor.commands.order_options import (
    must_be_known,
    opened,
    partition_named,
    timeout_option,
    wait_option,
    wait_until,
)
from partition_supervisor.commands.output import say
from partition_supervisor.commands.status import complain
from partition_workers.model import Partition


@click.command(cls=PlainCommand)
@click.argument("partition", type=partition_named)
@click.option("--to", "host", metavar="HOST", help="Where to.")
@click.option(
    "--anywhere", is_flag=True, help="Take an earlier --to back: its place is decided by the balance again."
)
@wait_option("Wait until that host owns it:")
@etcd_options
@timeout_option
def move(partition: Partition, host: str | None, anywhere: bool, wait: float | None, **values: Any) -> None:
    """Move PARTITION, written as events[3] or events/3, to a host, by hand-over from its owner.

    It stays there as long as that host lives, whatever the balance says; if the host dies, others take over, and
    the partition comes back with it. Only --anywhere ends that.

    \b
    Examples:
      $ partition-supervisor move 'events[3]' --to host-b --wait
      $ partition-supervisor move events/3 --anywhere
    \b
    Exit codes: 0 done, 2 usage, 3 --wait was not long enough, 69 etcd unreachable,
    78 no such partition or host, or the host is being drained.
    """
    from partition_supervisor.admin.control_keys import Orders

    if (host is None) == (not anywhere):
        raise click.UsageError("say where to: either --to HOST or --anywhere")
    if anywhere and wait is not None:
        raise click.UsageError("--anywhere has nothing to wait for")
    with opened(values) as group:
        orders = Orders(group.etcd, group.keys)
        documents = orders.look()
        if host is None:
            was = orders.forget_move(partition)
            if was is None:
                must_be_known([partition], documents.partitions)
            say(f"{partition} may be anywhere; it was {f'bound to {was}' if was else 'not bound to a host'}")
            return
        must_be_known([partition], documents.partitions)
        orders.move(partition, host)
        held = documents.cluster.locks.get(partition)
        now = f"{held.lock.host} owns it now" if held else "nobody owns it now"
        say(f"{partition} is bound to {host}; {now}")
        if parked := documents.cluster.parked.get(partition):
            complain(f"warning: {partition} is parked ({parked.reason}): nobody owns it until it is resumed")

        def elsewhere() -> list[str]:
            cluster = orders.look().cluster
            held = cluster.locks.get(partition)
            if held and held.lock.host == host:
                return []
            ready = any(each.host == host for each in cluster.ready_standbys(partition))
            owner = f"owned by {held.lock.host}" if held else "owned by nobody"
            return [f"{partition} is {owner}; {host} has {'a' if ready else 'no'} ready standby for it"]

        if wait is not None:
            wait_until(elsewhere, wait)

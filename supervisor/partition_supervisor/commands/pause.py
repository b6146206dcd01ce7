"""`partition-supervisor pause`: nobody processes these partitions until `resume`."""

from __future__ import annotations

import socket
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
from partition_supervisor.commands.output import say
from partition_supervisor.commands.status import complain
from partition_workers.model import Partition


@click.command(cls=PlainCommand)
@partitions_argument
@click.option("--reason", metavar="TEXT", help="Why, for whoever finds the partition paused.")
@wait_option("Wait until none of them has an owner any more:")
@etcd_options
@timeout_option
def pause(partitions: tuple[Partition, ...], reason: str | None, wait: float | None, **values: Any) -> None:
    """Pause partitions, each written as events[3] or events/3; all that are known if none is given.

    An owner finishes the record in hand, commits, and lets go; standbys stay warm and wait. Others go on. It
    lasts until `resume`, whatever is restarted meanwhile. What was parked already keeps its reason.

    \b
    Examples:
      $ partition-supervisor pause 'events[3]' --reason "a bad record at 1043" --wait
      $ partition-supervisor pause events/0 events/1
    \b
      All, and be sure that nothing is processed any more:
      $ partition-supervisor pause --wait 60
    \b
    Exit codes: 0 paused, 2 usage, 3 --wait was not long enough, 69 etcd unreachable, 78 no such partition.
    """
    from partition_supervisor.admin.control_keys import Orders

    with opened(values) as group:
        orders = Orders(group.etcd, group.keys)
        known = orders.look().partitions
        must_be_known(partitions, known)
        chosen = sorted(set(partitions) or known)
        if not chosen:
            complain(f"the group {values['group']!r} has no partitions in etcd at {group.where}: nothing to pause")
        for each in orders.pause(chosen, f"paused: {reason}" if reason else "paused", socket.gethostname()):
            if each.before:
                say(f"{each.partition} was parked already, since {moment(each.parked.at)}: {each.parked.reason}")
            else:
                say(f"{each.partition} is paused")

        def owners() -> list[str]:
            locks = orders.look().cluster.locks
            return [f"{p} is still owned by {locks[p].lock.host} (pid {locks[p].lock.pid})"
                    for p in chosen if p in locks]  # fmt: skip

        if wait is not None:
            wait_until(owners, wait)

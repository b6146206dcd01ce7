"""`partition-supervisor drain`: a host gives its partitions to others, without a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_options
from partition_supervisor.commands.order_options import opened, timeout_option, wait_option, wait_until
from partition_supervisor.commands.output import say
from partition_supervisor.commands.status import complain
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.admin.control_keys import Orders
    from partition_supervisor.admin.group_documents import Documents


@click.command(cls=PlainCommand)
@click.argument("host")
@click.option("--undo", is_flag=True, help="Let it take partitions again.")
@wait_option("Wait until it owns nothing:")
@etcd_options
@timeout_option
def drain(host: str, undo: bool, wait: float | None, **values: Any) -> None:
    """Drain HOST: it hands each partition over as soon as a standby on another host is ready, and takes none.

    The supervisor itself goes on running and can be stopped then. The order stays, also when that supervisor is
    restarted, until it is undone. To stop a host for good no drain is needed: TERM makes it hand over, too.

    \b
    Examples:
      $ partition-supervisor drain host-a --wait
      $ partition-supervisor drain host-a --undo
    \b
    Exit codes: 0 done, 2 usage, 3 --wait was not long enough, 69 etcd unreachable, 78 no such host.
    """
    from partition_supervisor.admin.control_keys import Orders

    if undo and wait is not None:
        raise click.UsageError("--undo has nothing to wait for")
    with opened(values) as group:
        orders = Orders(group.etcd, group.keys)
        if undo:
            was = orders.undrain(host)
            say(f"{host} takes partitions again" if was else f"{host} was not drained")
            return
        orders.drain(host)
        documents = orders.look()
        owned = owned_by(documents, host)
        say(f"{host} is being drained: it owns {', '.join(map(str, owned)) or 'nothing'}")
        if warning := lack_of_room(documents, host):
            complain(f"warning: {warning}")
        if wait is not None:
            wait_until(lambda: still_there(orders, host), wait)


def owned_by(documents: Documents, host: str) -> list[Partition]:
    return sorted(p for p, held in documents.cluster.locks.items() if held.lock.host == host)


def still_there(orders: Orders, host: str) -> list[str]:
    documents = orders.look()
    return [
        f"{host} still owns {p}"
        + ("" if documents.cluster.ready_standbys(p) else ", because no other worker for it is ready")
        for p in owned_by(documents, host)
    ]


def lack_of_room(documents: Documents, host: str) -> str:
    """What keeps others from taking everything; empty when nothing does."""
    cluster, partitions = documents.cluster, len(documents.partitions)
    others = {
        name: each.workers or partitions
        for name, each in cluster.hosts.items()
        if name != host and not each.draining and name not in cluster.drained
    }
    if not others:
        return f"no other host is there to take anything: {host} keeps what it owns until one is"
    if (places := sum(others.values())) < partitions:
        return (
            f"the other hosts have {places} places for {partitions} partitions: {partitions - places} of them stay"
            " where they are. Add hosts, or give these more with --workers"
        )
    return ""

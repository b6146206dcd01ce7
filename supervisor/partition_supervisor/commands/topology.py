"""`partition-supervisor topology`: which host has which partitions."""

from __future__ import annotations

from typing import Any

import click

from partition_supervisor.admin.columns import Columns
from partition_supervisor.admin.render import STYLES, table
from partition_supervisor.admin.topology import HostPartitions, Topology, in_short
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_from, etcd_options, kafka_options
from partition_supervisor.commands.order_options import timeout_option
from partition_supervisor.commands.output import DOCUMENTS, output_option, print_document, print_pretty, print_tsv
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.commands.status import complain
from partition_workers.layout.keys import Keys

COLUMNS = ("HOST", "OWNS", "STANDBYS", "PARTITIONS")
TSV = ("host", "role", "topic", "partition")


@click.command(cls=PlainCommand)
@output_option
@kafka_options
@etcd_options
@timeout_option
def topology(
    output: str, bootstrap_servers: str, properties: tuple[str, ...], etcd_prefix: str, group: str, timeout: float,
    **values: Any,
) -> None:  # fmt: skip
    """Show which host owns which partitions; first those that nobody owns. With -o wide, also where standbys are.

    It is read from etcd, at one moment; which partitions there are is asked of Kafka, which may be silent.

    \b
    Examples:
      $ partition-supervisor topology
      $ partition-supervisor topology -o wide
      $ partition-supervisor topology -o tsv | grep -P '^\\t'
    \b
    The JSON: schema_version (1), unowned, parked, and hosts (host, running, draining, owns, stands_by); partitions as
    events[3]. Exit codes: 0 fine, 69 etcd unreachable.
    """
    from partition_supervisor.admin.group_reader import GroupReader
    from partition_supervisor.kafka.end_offsets import EndOffsets
    from partition_workers.etcd.client import Etcd

    etcd = etcd_from(values)
    where = ",".join(etcd.endpoints)
    ends = EndOffsets({**properties_from(properties), "bootstrap.servers": bootstrap_servers})
    store = Etcd(etcd)
    try:
        found = Topology.of(GroupReader(store, where, Keys.of(etcd_prefix, group), ends, complain).read(timeout))
    finally:
        store.close()
    if output in DOCUMENTS:
        print_document(found.as_json(), output)
    elif output == "tsv":
        print_tsv(TSV, ((host, role, *partition) for host, role, partition in found.rows()))
    elif found.is_empty:
        complain(f"nothing of the group {group!r} is in etcd at {where}")
    else:
        print_pretty(lambda width: drawn(found, width, output == "wide"))


def drawn(found: Topology, width: int, wide: bool) -> Columns:
    columns = (*COLUMNS, "STANDBYS OF") if wide else COLUMNS
    made = table(columns, width, right=(), folds=("HOST", *columns[3:]))
    for word, partitions in (("unowned", found.unowned), ("parked", found.parked)):
        if partitions:
            cells = (f"({word})", str(len(partitions)), "-", in_short(partitions), *(["-"] if wide else []))
            made.add_row(*cells, style=STYLES[word])
    for host in found.hosts:
        cells = (str(len(host.owns)), str(len(host.stands_by)), in_short(host.owns) or "-")
        made.add_row(_named(host), *cells, *([in_short(host.stands_by) or "-"] if wide else []),
                     style="" if host.is_running and not host.draining else "yellow")  # fmt: skip
    return made


def _named(host: HostPartitions) -> str:
    return host.host if host.is_running else f"{host.host} (gone)"

"""`partition-supervisor ui`: the page of a group, for browsers."""

from __future__ import annotations

import re
from typing import Any

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_from, etcd_options, kafka_options, option
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.commands.status import complain
from partition_workers.errors import Misconfigured, Retry
from partition_workers.layout.keys import Keys

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@click.command(cls=PlainCommand)
@option("--http", "address", called="ui-http", default="127.0.0.1:8470", show_default=True, metavar="HOST:PORT",
        help="Where browsers connect to; port 0: a free one.")  # fmt: skip
@option("--name", "names", multiple=True, metavar="HOST",
        help="A further name under which browsers call this server. Repeatable.")  # fmt: skip
@option("--other", "others", multiple=True, metavar="URL",
        help="Another server of the same page, as http://host:port: browsers go on there. Repeatable.")  # fmt: skip
@kafka_options
@etcd_options
def ui(
    address: str, names: tuple[str, ...], others: tuple[str, ...], bootstrap_servers: str,
    properties: tuple[str, ...], etcd_prefix: str, group: str, **values: Any,
) -> None:  # fmt: skip
    """Show a group in the browser: who owns which partition, how far it is, and every change as it happens.

    It reads etcd, and asks Kafka where partitions end. It needs no supervisor and survives every host that it shows.
    It changes nothing. Whoever reaches the port sees it: on loopback nobody else does.

    \b
    Examples:
      $ partition-supervisor ui
      $ partition-supervisor ui --http 0.0.0.0:8470 --name monitor.example.org
      Two servers of one page; a browser that loses one goes on at the other:
      $ partition-supervisor ui --http 127.0.0.1:8470 --other http://127.0.0.1:8471
      $ partition-supervisor ui --http 127.0.0.1:8471 --other http://127.0.0.1:8470
    \b
    Exit codes: 0 stopped, 69 etcd unreachable, 78 bad configuration: the port is taken, or the extra is missing.
    """
    try:
        from partition_supervisor.web.app import Settings
        from partition_supervisor.web.listening import listen, url_of
        from partition_supervisor.web.server import serve
    except ImportError as error:
        raise Misconfigured(
            f"the page needs packages that are not installed ({error.name}): pip install 'partition-supervisor[ui]'"
        ) from None
    from partition_supervisor.cluster.retry import etcd_unreachable
    from partition_supervisor.kafka.end_offsets import EndOffsets
    from partition_workers.etcd.client import Etcd

    others = tuple(each.removesuffix("/") for each in others)  # as another server says its own
    for other in others:
        if not re.fullmatch(r"https?://[^/\s]+", other):
            raise Misconfigured(f"--other {other}: write it as http://host:port, without a path")
    listening = listen(address, "--http")
    etcd = etcd_from(values)
    ends = EndOffsets({**properties_from(properties), "bootstrap.servers": bootstrap_servers})
    store = Etcd(etcd)
    settings = Settings(group, (*LOOPBACK, address.rpartition(":")[0], *names), others)
    try:
        serve(settings, listening, store, Keys.of(etcd_prefix, group), ends,
              ready=lambda: complain(f"{url_of(listening)} shows the group {group!r}; Ctrl-C ends it"))  # fmt: skip
    except Retry as error:
        raise etcd_unreachable(",".join(etcd.endpoints), error) from None
    finally:
        store.close()

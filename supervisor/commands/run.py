"""`partition-supervisor run`: the composition root of a supervisor."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

import click
from setproctitle import setproctitle

from supervisor import __version__, logs
from supervisor.children import Children
from supervisor.cluster import Cluster
from supervisor.commands.failing import PlainCommand
from supervisor.commands.options import etcd_from, etcd_options, kafka_options, option, properties_from
from supervisor.config import Config, most_reasonable_workers
from supervisor.errands import Errands
from supervisor.events import (
    ClusterChanged,
    ClusterListed,
    HostDied,
    HostLives,
    Inbox,
    LeaseGone,
    PartitionsChanged,
    SignalArrived,
)
from supervisor.eyes import Eyes
from supervisor.forkserver import FOR_THE_SUPERVISOR, ForkServer
from supervisor.loop import Supervisor
from supervisor.neighbours import Listener, Neighbours, address_towards
from supervisor.presence import Presence
from supervisor.topics import Topics
from workers.documents import Host, now
from workers.errors import ExitCode, Misconfigured
from workers.etcd import Etcd
from workers.etcd_options import address
from workers.etcd_status import version_warning
from workers.kv import ServerStatus

log = logging.getLogger("supervisor")

LEVELS = ["debug", "info", "warning", "error"]


@click.command(cls=PlainCommand)
@click.argument("handler")
@option("-t", "--topic", "topics", multiple=True, required=True, help="A topic to process. Repeatable.")
@kafka_options
@etcd_options
@option(
    "--host-id",
    default=socket.gethostname,
    show_default="the host name",
    help="This supervisor's name; each needs its own.",
)
@option(
    "-n",
    "--workers",
    type=int,
    default=None,
    show_default="one for each partition",
    help="How many worker processes this host runs, owners and standbys together.",
)
@option(
    "--lease-ttl",
    type=int,
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="How long a host that is cut off or without power goes unnoticed; 2 to 60. Dead processes are noticed"
    " at once.",
)
@option(
    "--listen",
    metavar="ADDRESS",
    default="",
    show_default="the one that leads to etcd",
    help="This host's address, where the other supervisors connect to notice at once that it died; none: nowhere.",
)
@option(
    "--commit-interval",
    type=float,
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="The least time between two commits of a partition; 0 commits after every record.",
)
@option(
    "--handler-timeout",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="A handler that is longer at one record, without heartbeat(), is stuck; 0: never.",
)
@option(
    "--max-retries",
    type=int,
    default=3,
    show_default=True,
    help="How often a record is tried again when the handler raises.",
)
@option(
    "--on-error",
    type=click.Choice(["stop", "skip", "dlq"]),
    default="stop",
    show_default=True,
    help="What becomes of a record that cannot be handled: its partition stops there, or it is passed over.",
)
@option("--dlq-topic", metavar="TOPIC", help="Where --on-error dlq sends the records it passes over.")
@option(
    "--max-deaths",
    type=int,
    default=3,
    show_default=True,
    help="A record that ended so many workers, counted from when records are tried one by one, is not tried again.",
)
@option(
    "--max-worker-memory",
    type=int,
    default=0,
    metavar="MB",
    help="Replace a worker that uses more memory of its own than this.",
)
@option("--max-records", type=int, default=0, help="Replace a worker after so many records, give or take a tenth.")
@option(
    "--rebalance-delay",
    type=float,
    default=3.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the membership must be quiet before partitions move. Failover does not wait for it.",
)
@option(
    "--mirror-offsets/--no-mirror-offsets",
    default=True,
    show_default=True,
    help="Copy offsets to the Kafka group of the same name every few seconds, for lag tools; never read back.",
)
@option(
    "--graceful-timeout",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long workers may take to hand over when told to stop.",
)
@option(
    "--start",
    type=click.Choice(["earliest", "latest"]),
    default="earliest",
    show_default=True,
    help="Where a partition begins that has no offset in etcd.",
)
@option(
    "--connect-timeout",
    type=float,
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for Kafka and etcd at the start.",
)
@option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="What to log.")
@option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Text for people, JSON for machines; on standard error.",
)
def run(log_level: str, log_format: str, properties: tuple[str, ...], workers: int | None, **values: Any) -> None:
    """Run one supervisor on this host: a worker process for each partition of the topics.

    HANDLER is the code that gets each record, as package.module:attribute or path/to/file.py:attribute:

    \b
      def handle(record, state):
          state["count"] = state.get("count", 0) + 1

    Run the same command on as many hosts as you like. Each partition has one owner; the other hosts' workers for
    it stand by, warm. Kill what you want.

    \b
    Examples:
      $ partition-supervisor run app.py:handle --topic events
      $ partition-supervisor run workers.samples:count -t events -b kafka:9092 -e etcd-1:2379,etcd-2:2379
      Two supervisors on one machine, to try it:
      $ partition-supervisor run workers.samples:word_count -t events --host-id a
      $ partition-supervisor run workers.samples:word_count -t events --host-id b
    \b
    Signals: TERM, INT: hand over and stop (a second INT: at once). HUP: replace the workers one by one, with
      fresh code. TTIN, TTOU: one worker more or less. USR1: the stacks of all workers.
    Exit codes: 0 stopped, 69 Kafka or etcd unreachable, 78 bad configuration, the handler's import included.
    """
    if workers is not None and workers < 1:
        raise Misconfigured(f"--workers {workers}: must be 1 or more; leave it out for one for each partition")
    config = Config(
        etcd=etcd_from(values), kafka=properties_from(properties), workers=workers or 0,
        log_level=logging.getLevelName(log_level.upper()), **values,
    )  # fmt: skip
    fork_server = ForkServer(config.handler)
    logs.configure(config.log_level, log_format)
    sys.exit(int(supervise(config, fork_server)))


def supervise(config: Config, fork_server: ForkServer) -> ExitCode:
    """Make everything that a supervisor consists of, and run it."""
    setproctitle(f"partition-supervisor: supervisor {config.host_id}")
    inbox = Inbox()
    for number in FOR_THE_SUPERVISOR:
        signal.signal(number, lambda got, _frame: inbox.post(SignalArrived(got)))
    store = Etcd(config.etcd)
    topics = Topics(config.kafka_client(), config.topics)
    presence = Presence(
        store, config.keys, config.host_id, config.lease_ttl, gone=lambda lease: inbox.post(LeaseGone(lease))
    )
    neighbours = Neighbours(
        config.host_id,
        died=lambda host, link: inbox.post(HostDied(host, link)),
        lives=lambda host, link: inbox.post(HostLives(host, link)),
    )
    listener: Listener | None = None
    stopped = threading.Event()
    errands = Errands(inbox)
    eyes = Eyes(
        store,
        config.keys,
        every=max(1.0, config.lease_ttl / 2),
        listed=lambda snapshot: inbox.post(ClusterListed(snapshot)),
        changed=lambda changes: inbox.post(ClusterChanged(changes)),
    )
    try:
        topic_ids = topics.first_look(config.connect_timeout)
        places = config.workers or len(topic_ids)
        if places > most_reasonable_workers():
            log.warning("%d workers on this host: more than 16 for each core; see --workers", places)
        listener = listen(config)
        link = listener.link if listener else ""
        presence.enter(Host(config.workers, __version__, os.getpid(), "", now(), link=link), config.connect_timeout)
        warn_of_old_servers(store)
        cluster = Cluster(config.keys)
        first = eyes.look()
        cluster.list_anew(first)
        eyes.open(first)
        threading.Thread(
            target=topics.watch,
            args=(lambda found: inbox.post(PartitionsChanged(found)), stopped),
            daemon=True,
        ).start()
        log.info("%s: supervisor of %d partitions of %s, with %d places", config.host_id, len(topic_ids),
                 ", ".join(config.topics), places)  # fmt: skip
        children = Children(fork_server.context, inbox, listener.socket if listener else None)
        supervisor = Supervisor(
            config, fork_server, inbox, children, cluster, store, presence, neighbours, errands, topic_ids,
            lambda offsets: topics.mirror(config.group, offsets), time.monotonic,
        )  # fmt: skip
        return supervisor.run()
    finally:
        stopped.set()
        eyes.close()
        presence.leave()
        neighbours.close()
        if listener:
            listener.close()  # after we left, or the others would take us for dead
        errands.close()
        store.close()


def listen(config: Config) -> Listener | None:
    """Where the other supervisors connect to, if anywhere. Raises Misconfigured for an address that is not ours."""
    if config.listen == "none":
        return None
    found = config.listen or address_towards(address(config.etcd.endpoints[0]))
    if found is None:
        log.warning("no way to %s yet: the others will notice this host's death by its lease alone; see --listen",
                    config.etcd.endpoints[0])  # fmt: skip
        return None
    return Listener(found, config.host_id)


def warn_of_old_servers(store: Any) -> None:
    """An etcd that is too old is no reason to refuse, but one to be told."""
    for server in store.status():
        if isinstance(server, ServerStatus) and (warning := version_warning(server.version)):
            log.warning("%s: %s", server.endpoint, warning)

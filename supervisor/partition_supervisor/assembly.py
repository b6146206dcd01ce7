"""The composition root of a supervisor: everything that it consists of is made here, and ended here."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from setproctitle import setproctitle

from partition_supervisor import __version__
from partition_supervisor.addresses import address_towards, is_loopback, is_unspecified, split_address
from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.first_start import start_offsets
from partition_supervisor.cluster.membership import Membership
from partition_supervisor.cluster.peer_listener import PeerListener
from partition_supervisor.cluster.peer_monitor import PeerMonitor
from partition_supervisor.cluster.retry import until_etcd_answers
from partition_supervisor.cluster.watcher import EtcdWatcher
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config, most_reasonable_workers
from partition_supervisor.control.lease_monitor import stands_still_after
from partition_supervisor.control.loop import Supervisor
from partition_supervisor.events import (
    BecameImpossible,
    ClusterChanged,
    ClusterListed,
    HostAnswered,
    HostRefused,
    KafkaAnswers,
    LeaseGone,
    PartitionsChanged,
)
from partition_supervisor.group_settings import count_partitions, settings_of
from partition_supervisor.inbox import Inbox
from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_supervisor.kafka.offset_mirror import OffsetMirror
from partition_supervisor.kafka.topic_discovery import TopicDiscovery
from partition_supervisor.processes.children import Children
from partition_supervisor.processes.descriptors import descriptors_for, most_workers, raise_descriptor_limit
from partition_supervisor.processes.forkserver import ForkServer
from partition_supervisor.service_manager import ServiceManager
from partition_supervisor.termination import Termination
from partition_supervisor.web.host_port import HostPort
from partition_workers.errors import ExitCode, Misconfigured, PartitionSupervisorError, Unreachable
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import address
from partition_workers.etcd.status import version_warning
from partition_workers.etcd.store import ServerStatus
from partition_workers.kafka.destination import check_destinations
from partition_workers.layout.documents import Host, now
from partition_workers.log_events import event

log = logging.getLogger(__name__)


def supervise(
    config: Config, fork_server: ForkServer, termination: Termination, service_manager: ServiceManager
) -> NoReturn:
    """Make everything that a supervisor consists of, and run it. Raises what is wrong with the configuration, or who
    cannot be reached; any other error ends the process at once."""
    try:
        fork_server.start()
        setproctitle(f"partition-supervisor: supervisor {config.host_id}")
        code = _supervise(config, fork_server, termination, service_manager)
    except PartitionSupervisorError as error:
        if not isinstance(error, Misconfigured | Unreachable):
            termination.fail(error)
        termination.stay_if_ending()
        raise
    except Exception as error:
        termination.fail(error)
    termination.end(code)


def _supervise(
    config: Config, fork_server: ForkServer, termination: Termination, service_manager: ServiceManager
) -> ExitCode:
    inbox = Inbox()
    port = HostPort(config, inbox, lambda: way_to_etcd(config))
    store, where = Etcd(config.etcd), ",".join(config.etcd.endpoints)
    topics = TopicDiscovery(config.kafka_client(), config.topics)
    mirror = OffsetMirror(config.kafka_client(), config.group)
    membership = Membership(
        store, config.keys, config.host_id, config.lease_ttl, gone=lambda lease: inbox.post(LeaseGone(lease)),
        alive=lambda: inbox.is_read(stands_still_after(config.lease_ttl)),
        taken=lambda why: inbox.post(BecameImpossible(ExitCode.MISCONFIGURED, why)), patience=config.etcd.timeout,
    )  # fmt: skip
    listener: PeerListener | None = None
    peers: PeerMonitor | None = None
    stopped = threading.Event()
    background = BackgroundCalls(inbox)
    watcher = EtcdWatcher(
        store,
        config.keys,
        every=max(1.0, config.lease_ttl / 2),
        listed=lambda snapshot: inbox.post(ClusterListed(snapshot)),
        changed=lambda changes: inbox.post(ClusterChanged(changes)),
        replaced=lambda why: inbox.post(BecameImpossible(ExitCode.UNREACHABLE, why)),
    )
    try:
        topic_ids = topics.first_look(config.connect_timeout)
        if config.start == "latest":
            ends = EndOffsets(config.kafka_client())
            begin = start_offsets(
                store, config.keys, topic_ids, lambda topic: ends.of([topic], 2.0).offsets, config.connect_timeout
            )
            config = dataclasses.replace(config, start_at=begin)
        look_at_destinations(config)
        config = limit_workers(config, len(topic_ids))
        places = config.workers or len(topic_ids)
        if places > most_reasonable_workers():
            log.warning("%d workers on this host: more than 16 for each core; see --workers", places)
        listener = listen(config, termination.fail)
        peers = PeerMonitor(
            config.host_id, listener,
            refused=lambda suspicion: inbox.post(HostRefused(suspicion)),
            answers=lambda host, link: inbox.post(HostAnswered(host, link)),
            on_failure=termination.fail,
        )  # fmt: skip
        link, secret = (listener.link, listener.secret) if listener else ("", "")
        membership.enter(
            Host(
                config.workers,
                __version__,
                os.getpid(),
                port.address,
                now(),
                link=link,
                secret=secret,
                topics=count_partitions(topic_ids),
                settings=settings_of(config),
            ),
            config.connect_timeout,
            where,
        )
        termination.has_entered(membership.leave)
        warn_of_old_servers(store)
        cluster = ClusterState(config.keys)
        first = until_etcd_answers(watcher.look, config.connect_timeout, where)
        cluster.list_anew(first)
        watcher.open(first)
        membership.open()
        threading.Thread(
            target=topics.watch,
            args=(
                lambda found: inbox.post(PartitionsChanged(found)),
                lambda answers: inbox.post(KafkaAnswers(answers)),
                stopped,
            ),
            daemon=True,
        ).start()
        if listener:
            say_whether_others_reach(listener.link)
        log.info("%s: supervisor of %d partitions of %s, with %d places", config.host_id, len(topic_ids),
                 ", ".join(config.topics), places)  # fmt: skip
        children = Children(fork_server, inbox, listener.socket if listener else None)
        supervisor = Supervisor(
            config, fork_server, inbox, children, cluster, store, membership, peers, background, topic_ids,
            mirror.copy, time.monotonic, service_manager,
        )  # fmt: skip
        port.attach(supervisor.telemetry, store, mirror)
        termination.begin_loop(inbox, children.end_all, config.graceful_timeout)
        try:
            code = supervisor.run()
        except Exception as error:
            termination.fail(error)
        termination.begin_to_end(code)
        return code
    finally:
        stopped.set()
        watcher.close()
        membership.leave()
        if peers:
            peers.close()
        if listener:
            listener.close()  # after we left, or the others would take us for dead
        background.close()
        store.close()


def limit_workers(config: Config, partitions: int) -> Config:
    """As many workers as there are descriptors for; the plan then names what is not covered."""
    places = config.workers or partitions
    limit = raise_descriptor_limit()
    most = most_workers(limit)
    if places <= most:
        return config
    log.error("%d workers need %d descriptors, and the limit is %d: this host runs %d; raise it (ulimit -Hn,"
              " LimitNOFILE=)", places, descriptors_for(places), limit, most,
              extra=event("too-few-descriptors"))  # fmt: skip
    return dataclasses.replace(config, workers=most)


def listen(config: Config, on_failure: Callable[[BaseException], None]) -> PeerListener | None:
    """Where the other supervisors connect to, if anywhere. Raises Misconfigured for an address that is not ours."""
    if config.listen == "none":
        return None
    towards = way_to_etcd(config)
    host, port = split_address(config.listen) if config.listen else (towards, 0)
    if host is None:
        log.warning("no way to %s yet: the others will notice this host's death by its lease alone; see --listen",
                    config.etcd.endpoints[0])  # fmt: skip
        return None
    advertise = config.advertise or (towards or "" if is_unspecified(host) else "")
    return PeerListener(host, port, config.host_id, advertise, on_failure)


def say_whether_others_reach(link: str) -> None:
    """Once everything else works: on one machine it does not matter."""
    host, _ = split_address(link)
    if is_loopback(host) or is_unspecified(host):
        log.info("%s cannot be reached from other machines: supervisors there notice this host's death by its leases"
                 " alone; see --listen and --advertise", link)  # fmt: skip


def way_to_etcd(config: Config) -> str | None:
    """This machine's address on the way to etcd; rather not a loopback address, as of a member on each host."""
    found = [each for endpoint in config.etcd.endpoints if (each := address_towards(address(endpoint))) is not None]
    return min(found, key=is_loopback, default=None)


def look_at_destinations(config: Config) -> None:
    """Dead letters and outputs: now, and not in the night when the first one is to be sent."""
    destinations = dict.fromkeys(config.outputs, "--output")
    if config.dlq_topic is not None:
        destinations[config.dlq_topic] = "--dlq-topic"
    if destinations:
        for warning in check_destinations(config.kafka_client(), destinations, config.connect_timeout):
            log.warning("%s", warning)


def warn_of_old_servers(store: Any) -> None:
    """An etcd that is too old is no reason to refuse, but one to be told."""
    for server in store.status():
        if isinstance(server, ServerStatus) and (warning := version_warning(server.version)):
            log.warning("%s: %s", server.endpoint, warning, extra=event("etcd-old"))

"""What the hosts of a group should have been started with alike, and where they were not.

Each host says in etcd which topics it has, with their partitions, and its settings that concern all hosts. Nothing
depends on the settings being alike, but what a partition does then depends on where it is; and a host cannot be given
partitions of a topic that it was not started with.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from partition_supervisor.config import Config
from partition_workers.handler_import import source_of
from partition_workers.layout.documents import Host
from partition_workers.model import Partition

OUTPUT, NONE = "--output", "none"
#: Letters of a digest that people compare.
SHOWN = 12


def settings_of(config: Config) -> dict[str, str]:
    """By name, as `run` has them; and the handler with a digest of its file."""
    return {
        "handler": _handler(config.handler),
        "--lease-ttl": f"{config.lease_ttl}",
        "--commit-interval": f"{config.commit_interval:g}",
        "--handler-timeout": f"{config.handler_timeout:g}",
        "--read-timeout": f"{config.read_timeout:g}",
        "--max-retries": f"{config.max_retries}",
        "--max-deaths": f"{config.max_deaths}",
        "--on-error": config.on_error,
        "--dlq-topic": config.dlq_topic or NONE,
        "--start": config.start,
        OUTPUT: ", ".join(sorted(config.outputs)) or NONE,
        "--output-guarantee": config.output_guarantee,
    }


def outputs_of(settings: Mapping[str, str]) -> tuple[str, ...]:
    """The topics that a host's handlers may produce to, from its settings."""
    listed = settings.get(OUTPUT, NONE)
    return () if listed == NONE else tuple(listed.split(", "))


def count_partitions(partitions: Iterable[Partition]) -> dict[str, int]:
    """How many each topic has."""
    return dict(sorted(Counter(each.topic for each in partitions).items()))


def differences(hosts: Mapping[str, Host]) -> tuple[str, ...]:
    """In words, one for each setting that is not the same on all of `hosts`. Of hosts that say nothing, as those of
    earlier versions do, nothing is known."""
    named: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, host in sorted(hosts.items()):
        for setting, value in host.settings.items():
            named[setting][value].append(name)
        if host.topics:
            named["--topic"][", ".join(sorted(host.topics))].append(name)
    return tuple(
        f"{setting} is " + ", but ".join(f"{value} on {', '.join(on)}" for value, on in values.items())
        for setting, values in named.items()
        if len(values) > 1
    )


def _handler(name: str) -> str:
    """`app.py:handle` with a digest of that file: the same code may lie in different folders."""
    where, _, attribute = name.rpartition(":")
    found = source_of(where)
    if found is None:
        return name
    try:
        digest = hashlib.sha256(found.read_bytes()).hexdigest()[:SHOWN]
    except OSError:
        return name
    return f"{found.name}:{attribute} ({digest})"

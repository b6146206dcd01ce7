"""`partition-supervisor history`: who owned a partition, when, and why it moved."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from datetime import datetime
from typing import Any

import click

from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_options
from partition_supervisor.commands.order_options import (
    Group,
    opened,
    output_option,
    partitions_argument,
    timeout_option,
)
from partition_supervisor.commands.status import complain
from partition_workers.model import Partition


@click.command(cls=PlainCommand)
@partitions_argument
@click.option("-n", "--last", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@output_option
@etcd_options
@timeout_option
def history(partitions: tuple[Partition, ...], last: int | None, output: str, **values: Any) -> None:
    """Tell who owned these partitions (events[3] or events/3; all if none is given), and why they moved.

    One entry for each ownership, newest last; the newest 100 of each partition are kept. The gap is how long no
    record was processed, by phases: the lock had the new owner, its state was there, the first record was handled.

    \b
    Examples:
      $ partition-supervisor history --last 5
      $ partition-supervisor history 'events[3]'
    \b
      The longest gap that a death ever caused:
      $ partition-supervisor history -o json
          | jq '[.history[] | select(.cause == "taken-over") | .gap.first_record] | max'
    \b
    The JSON: schema_version (1) and history (topic, partition, token, worker, host, pid, cause, since, from_offset,
    last_commit, gap, until, to_offset, ending, reason). What is not known is null.
    gap: milliseconds from last_commit, the last one before this ownership, to each phase.
    cause: acquired, handed-over, taken-over. ending: stopped, handed-over, parked, died.
    Exit codes: 0 fine, 2 usage, 69 etcd unreachable.
    """
    from partition_supervisor.admin.history_text import as_json, in_words

    with opened(values) as group:
        told = read(group, partitions)[-(last or 0) :]
    if output == "json":
        click.echo(json.dumps(as_json(told), indent=2, ensure_ascii=False))
        return
    for line in in_words(told, datetime.now().astimezone().date()):
        click.echo(line)
    if not told:
        which = ", ".join(map(str, partitions)) or f"the group {values['group']!r}"
        complain(f"etcd at {group.where} has no history of {which}")


def read(group: Group, partitions: tuple[Partition, ...]) -> list[Any]:
    """The episodes of these partitions; of all if there are none."""
    from partition_supervisor.admin.history_text import episodes
    from partition_workers.layout.documents import History
    from partition_workers.layout.foreign import ForeignKey

    keys = group.keys
    prefixes = [keys.histories(each) for each in sorted(set(partitions))] or [keys.every_history]
    found: dict[Partition, list[History]] = defaultdict(list)
    for prefix in prefixes:
        for item in group.etcd.list(prefix).items:
            try:
                found[keys.partition_of(item.key)].append(History.decode(item.value))
            except ValueError as error:
                complain(f"in etcd: {ForeignKey(item.key, f'is none of ours: {error}')}")
    tokens: dict[Partition, int] = {}
    for item in group.etcd.list(keys.locks).items:
        with suppress(ValueError):  # `status` names it
            tokens[keys.partition_of(item.key)] = item.mod_revision
    return episodes(found, tokens)

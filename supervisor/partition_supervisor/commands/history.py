"""`partition-supervisor history`: who owned a partition, when, and why it moved."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from partition_supervisor.bounds import MOST_RECORDS
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import etcd_options
from partition_supervisor.commands.order_options import (
    Group,
    name_foreign,
    opened,
    partitions_argument,
    timeout_option,
)
from partition_supervisor.commands.output import (
    DOCUMENTS,
    output_option,
    print_document,
    print_pretty,
    print_tsv,
    say,
    tsv_line,
)
from partition_supervisor.commands.status import complain
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.admin.history_follow import News


@click.command(cls=PlainCommand)
@partitions_argument
@click.option("-n", "--last", type=click.IntRange(1, MOST_RECORDS), metavar="N", help="Only the newest N.")
@click.option("-f", "--follow", is_flag=True, help="Go on, with a line for each event as it happens; Ctrl-C ends it.")
@output_option
@etcd_options
@timeout_option
def history(partitions: tuple[Partition, ...], last: int | None, follow: bool, output: str, **values: Any) -> None:
    """Tell who owned these partitions (events[3] or events/3; all if none is given), and why they moved.

    One entry for each ownership, newest last; the newest 100 of each partition are kept. The gap is how long no
    record was processed, by phases: the lock had the new owner, its state was there, the first record was handled.

    \b
    Examples:
      $ partition-supervisor history --last 5
      $ partition-supervisor history 'events[3]'
    \b
      Live, while somebody kills things; the newest five first:
      $ partition-supervisor history --follow --last 5
    \b
      The longest gap that a death ever caused:
      $ partition-supervisor history -o json
          | jq '[.history[] | select(.cause == "taken-over") | .gap.first_record] | max'
    \b
    The JSON: schema_version (1) and history (topic, partition, token, worker, host, pid, cause, since, from_offset,
    last_commit, gap, until, to_offset, ending, reason, step). What is not known is null.
    step: what became of the step with outputs that the predecessor had prepared: applied or dropped, and its number.
    gap: milliseconds from last_commit, the last one before this ownership, to each phase.
    With --follow there is one line for each event: began, first-record, ended; in JSON one object, with `event`.
    cause: acquired, handed-over, taken-over. ending: stopped, handed-over, parked, died.
    Exit codes: 0 fine, 2 usage, 69 etcd unreachable.
    """
    from partition_supervisor.admin.history_text import TSV, as_json, cells, in_words
    from partition_supervisor.admin.last_moves import drawn_history as drawn

    with opened(values) as group:
        if follow:
            tell_news(group, partitions, last or 0, output)
            return
        told = read(group, partitions)[-(last or 0) :]
    if output in DOCUMENTS:
        print_document(as_json(told), output)
    elif output == "tsv":
        print_tsv(TSV, map(cells, told))
    elif output == "wide" and told:
        print_pretty(lambda width: drawn(told, width), wide=True)
    else:
        for line in in_words(told, datetime.now().astimezone().date()):
            say(line)
    if not told and output not in DOCUMENTS:
        which = ", ".join(map(str, partitions)) or f"the group {values['group']!r}"
        complain(f"etcd at {group.where} has no history of {which}")


def read(group: Group, partitions: tuple[Partition, ...]) -> list[Any]:
    """The episodes of these partitions; of all if there are none."""
    from partition_supervisor.admin.group_documents import read_each
    from partition_supervisor.admin.history_text import episodes
    from partition_workers.layout.documents import History
    from partition_workers.layout.foreign import ForeignKey

    keys = group.keys
    prefixes = [keys.histories(each) for each in sorted(set(partitions))] or [keys.every_history]
    found: dict[Partition, list[History]] = defaultdict(list)
    foreign: list[ForeignKey] = []
    for prefix in prefixes:
        for partition, record in read_each(keys, group.etcd.list(prefix).items, History, foreign):
            found[partition].append(record)
    name_foreign(foreign)
    tokens: dict[Partition, int] = {}
    for item in group.etcd.list(keys.locks).items:
        with suppress(ValueError):  # `status` names it
            tokens[keys.partition_of(item.key)] = item.mod_revision
    return episodes(found, tokens)


def tell_news(group: Group, partitions: tuple[Partition, ...], last: int, output: str) -> None:
    """Until Ctrl-C. First the newest `last` events that are known."""
    from partition_supervisor.admin.history_follow import follow

    def tell(news: News) -> None:
        if output in DOCUMENTS:
            print_document(news.as_json(), output, indent=None)
        elif output == "tsv":
            say(tsv_line(news.cells()))
        else:
            say(news.in_words(datetime.now().astimezone().date()))

    with suppress(KeyboardInterrupt):
        follow(group.etcd, group.keys, partitions, last, tell, complain)

"""`partition-supervisor status`: who owns which partition, how far it is, and who stands by."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from rich.live import Live

from partition_supervisor.admin.render import TSV, complaints, pretty, tsv_rows
from partition_supervisor.bounds import DAY, WAITED, Bounds
from partition_supervisor.commands.errors import PlainCommand
from partition_supervisor.commands.options import Within, etcd_from, etcd_options, kafka_options, option
from partition_supervisor.commands.output import (
    DOCUMENTS,
    output_option,
    print_document,
    print_pretty,
    print_tsv,
    to_stdout,
)
from partition_supervisor.commands.settings import properties_from
from partition_supervisor.printable import printable
from partition_workers.errors import ExitCode, Unreachable
from partition_workers.layout.keys import Keys

if TYPE_CHECKING:
    from partition_supervisor.admin.group_view import GroupView

#: Seconds until --check looks again at a partition that seems not to advance: clocks of two hosts may differ.
CONFIRM_AFTER = 1.0


@click.command(cls=PlainCommand)
@output_option
@click.option("-w", "--watch", type=Within(Bounds(0.1, DAY)), is_flag=False, flag_value=1.0, default=None,
        metavar="[SECONDS]", help="Show it again and again, each second if nothing else is said; Ctrl-C ends it.",
        )  # fmt: skip
@click.option("--check", is_flag=True,
        help="Exit with 3 if a partition has no owner, is parked or does not advance, if keys of ours hold what is"
        " none of ours, if etcd raised an alarm, or if nothing is there.")  # fmt: skip
@option("--stalled-after", type=Within(WAITED), default=120.0, show_default=True,
        metavar="SECONDS", help="A partition does not advance if it has committed nothing for so long, and its next"
        " record has waited for so long.")  # fmt: skip
@kafka_options
@etcd_options
@option("--timeout", type=Within(WAITED), default=5.0, show_default=True,
        metavar="SECONDS", help="How long to wait for etcd. Kafka gets 3 seconds, and may be silent.")  # fmt: skip
def status(
    output: str, watch: float | None, check: bool, stalled_after: float, timeout: float, bootstrap_servers: str,
    properties: tuple[str, ...], etcd_prefix: str, group: str, **values: Any,
) -> None:  # fmt: skip
    """Show who owns which partition, how far it is, and who stands by.

    It is read from etcd, at one moment for all partitions, and does not depend on any supervisor; the ends of
    the partitions are asked of Kafka. PID is the worker process: kill it, and watch a standby go on.

    \b
    Examples:
      $ partition-supervisor status
      $ partition-supervisor status --watch 0.5
      $ partition-supervisor status -o wide        # and how each partition came to its owner: the gap by phases
      $ partition-supervisor status -o tsv | column -t -s $'\\t'
    \b
      The pid of the worker that owns events[0]:
      $ partition-supervisor status -o json | jq '.partitions[]
          | select(.topic == "events" and .partition == 0) | .owner.pid'
    \b
      In a script or a probe; what is wrong is said on standard error:
      $ partition-supervisor status --check >/dev/null || page-somebody
    \b
    The JSON: schema_version (1), partitions (topic, partition, owner, token, offset, end_offset, lag,
    standbys, state, reason, since), hosts, foreign_keys (key, why, command), and alarms of etcd. What is not
    known is null; with --watch, each line is one reading.
    Exit codes: 0 fine, 3 --check found something, 69 etcd unreachable, 78 bad configuration.
    """
    from partition_supervisor.admin.group_reader import GroupReader
    from partition_supervisor.admin.last_moves import drawn as drawn_moves
    from partition_supervisor.admin.last_moves import last_moves
    from partition_supervisor.cluster.retry import RetryingStore
    from partition_supervisor.kafka.end_offsets import EndOffsets
    from partition_workers.etcd.client import Etcd

    if check and watch is not None:
        raise click.UsageError("--check looks once: it cannot be combined with --watch")
    etcd = etcd_from(values)
    where = ",".join(etcd.endpoints)
    ends = EndOffsets({**properties_from(properties), "bootstrap.servers": bootstrap_servers})
    store, keys = Etcd(etcd), Keys.of(etcd_prefix, group)
    reader = GroupReader(store, where, keys, ends, complain, stalled_after)
    try:
        if watch is not None:
            show_again_and_again(lambda: reader.read(timeout), output, watch)
            return
        picture = reader.read(timeout)
        if check and any(each.state == "owned" for each in picture.complaints):
            time.sleep(CONFIRM_AFTER)
            picture = picture.confirmed_by(reader.read(timeout))
        moves = last_moves(RetryingStore(store, timeout, where), keys, picture) if output == "wide" else {}
    finally:
        store.close()
    show(picture, output)
    if moves:
        click.echo()
        print_pretty(lambda width: drawn_moves(moves, width), wide=True)
    if picture.empty:
        complain(f"nothing of the group {group!r} is in etcd at {where}: no supervisor of it has run there yet")
    if check:
        sys.exit(int(verdict(picture)))


def verdict(picture: GroupView) -> ExitCode:
    """The answer of --check, with what is wrong on standard error."""
    if picture.hosts and not picture.partitions:
        complain("no partition has a worker yet")
    for line, _ in complaints(picture):
        complain(line)
    fine = picture.partitions and not (picture.complaints or picture.foreign or picture.alarms)
    return ExitCode.OK if fine else ExitCode.CONDITION_NOT_MET


def complain(line: str) -> None:
    click.echo(printable(line), err=True)


def show(picture: GroupView, output: str, indent: int | None = 2) -> None:
    if output in DOCUMENTS:
        print_document(picture.as_json(), output, indent)
    elif output == "tsv":
        print_tsv(TSV, tsv_rows(picture.partitions))
    elif not picture.empty:
        print_pretty(lambda width: pretty(picture, width))


def show_again_and_again(read: Callable[[], GroupView], output: str, every: float) -> None:
    """Until Ctrl-C or TERM. Only the first reading must succeed."""
    ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ended.set()  # the exception may be raised in a finalizer or in a callback of a library, and be lost there
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    console = to_stdout()
    with suppress(KeyboardInterrupt):
        if output not in ("pretty", "wide") or not console.is_terminal:
            for picture in readings(read, every, ended):
                show(picture, output, indent=None)
            return
        with Live(console=console, auto_refresh=False) as live:
            for picture in readings(read, every, ended):
                live.update(pretty(picture, console.width), refresh=True)


def readings(read: Callable[[], GroupView], every: float, ended: threading.Event) -> Iterator[GroupView]:
    picture = read()
    while not ended.is_set():
        yield picture
        ended.wait(every)
        try:
            picture = read()
        except Unreachable as error:
            complain(f"{error} Shown is what was there before.")

"""How a picture of a group looks: a table for people, lines with tabs for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from partition_supervisor.admin.columns import Column, Columns
from partition_supervisor.printable import printable

if TYPE_CHECKING:
    from partition_supervisor.admin.group_view import GroupView, HostView, PartitionView, Worker

#: From this width on, headings stand in one line, with more space between.
WIDE = 100
STYLES = {"owned": "", "unowned": "red", "parked": "yellow"}
REMARK = "yellow"
#: Seconds after which a step with outputs is told of: it takes some ten milliseconds, and is applied with the next.
OPEN_LONG = 5.0
#: Topics that are named in a line.
SHOWN_TOPICS = 10
ALARMS = {
    "NOSPACE": "nothing can be committed, locks are kept. Compact and defrag, or raise --quota-backend-bytes; then"
    " `etcdctl alarm disarm`",
    "CORRUPT": "its members do not hold the same. Replace the corrupt one",
}
COLUMNS = ("PARTITION", "OWNER", "PID", "TOKEN", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "SINCE", "STANDBYS")
HOST_COLUMNS = ("HOST", "PID", "WORKERS", "VERSION", "STARTED", "DRAINING", "HTTP")
NAMES = ("PARTITION", "OWNER", "HOST")
NUMBERS = ("PID", "TOKEN", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "WORKERS")
TSV = ("topic", "partition", "state", "host", "pid", "worker", "token", "offset", "end_offset", "lag", "since",
       "standbys", "reason")  # fmt: skip


def tsv_rows(partitions: Iterable[PartitionView]) -> Iterator[tuple[object, ...]]:
    """The cells of each partition, as TSV names them."""
    for each in partitions:
        owner = each.owner
        yield (
            *each.partition, each.state.value,
            *((owner.host, owner.pid, owner.worker) if owner else (None, None, None)),
            each.token, each.offset, each.end_offset, each.lag, each.since,
            ",".join(f"{standby.host}:{standby.pid}" for standby in each.standbys), each.reason,
        )  # fmt: skip


def complaints(picture: GroupView) -> Iterator[tuple[str, str]]:
    """What is wrong, in a line for each thing, with its style."""
    parked = [each for each in picture.complaints if each.state == "parked"]
    for each in parked:
        yield f"{each.partition} is parked at offset {dash(each.offset)}: {each.reason}", STYLES["parked"]
    for each in picture.complaints:
        if each.state == "owned":
            yield f"{each.partition} is at offset {dash(each.offset)}: {each.reason}", STYLES["unowned"]
    unowned = [each for each in picture.complaints if each.state == "unowned"]
    for reason, group in groupby(sorted(unowned, key=why), key=why):
        names = [str(each.partition) for each in group]
        says = f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no owner"
        yield f"{says}: {reason}" if reason else says, STYLES["unowned"]
    for alarm in picture.alarms:
        yield f"etcd has raised the alarm {alarm}: {ALARMS.get(alarm, 'see its documents')}", STYLES["unowned"]
    for foreign in picture.foreign:
        yield f"in etcd: {foreign}", STYLES["unowned"]


def remarks(picture: GroupView) -> Iterator[str]:
    """What people should know of the hosts, and --check does not complain about."""
    for host in picture.hosts:
        if not host.able:
            yield f"{host.host} is given no partitions: {host.unable_because}"
        for other, words in sorted(host.passed_over.items()):
            yield f"{other} is offered nothing by {host.host} for a while: {words}"
    for each in picture.differences:
        yield f"hosts differ: {each}"
    for partition in picture.partitions:
        if partition.step and (age := _age(partition.step[1])) > OPEN_LONG:
            step = f"step {partition.step[0]} with outputs"
            yield f"{partition.partition}: {step} was prepared {age:,.0f} s ago, and is not applied yet"


def _listed(topics: list[str]) -> str:
    more = f", and {len(topics) - SHOWN_TOPICS} more" if len(topics) > SHOWN_TOPICS else ""
    return ", ".join(topics[:SHOWN_TOPICS]) + more


def _age(written: str) -> float:
    """Seconds since then, by the clocks of two hosts; 0 for what is no time."""
    from partition_workers.layout.documents import milliseconds, now

    try:
        return milliseconds(written, now()) / 1000
    except ValueError:
        return 0.0


def why(each: PartitionView) -> str:
    return each.reason or ""


def pretty(picture: GroupView, width: int) -> RenderableType:
    """The partitions, what is wrong with them, and the hosts."""
    partitions = table(COLUMNS, width)
    for each in picture.partitions:
        partitions.add_row(*row(each, width), style=STYLES[each.state])
    hosts = table(HOST_COLUMNS, width)
    for host in picture.hosts:
        hosts.add_row(*host_row(host), style="yellow" if host.draining else "")
    outputs = sorted({topic for host in picture.hosts for topic in host.outputs})
    notes = [Text(printable(line), style=style) for line, style in complaints(picture)]
    notes += [Text(printable(line), style=REMARK) for line in remarks(picture)]
    return Group(
        partitions if picture.partitions else Text("no partitions yet"),
        *([Text(""), *notes] if notes else []),
        Text(""),
        hosts if picture.hosts else Text("no supervisor is running"),
        *([Text(printable(f"\noutputs: {_listed(outputs)}"))] if outputs else []),
    )


def table(
    names: Iterable[str], width: int, right: Collection[str] = NUMBERS, folds: Collection[str] = NAMES
) -> Columns:
    """Columns without lines. `right`: those of numbers. `folds`: those that fold when room is short."""
    columns = [
        Column(name if width >= WIDE else "-\n".join(name.rsplit("-", 1)), name in right, name in folds)
        for name in names
    ]
    return Columns(columns, gap=2 if width >= WIDE else 1)


def row(each: PartitionView, width: int) -> tuple[str, ...]:
    owner = each.owner
    return (
        str(each.partition),
        owner.host if owner else "(parked)" if each.state == "parked" else "(none)",
        dash(owner.pid if owner else None),
        dash(each.token),
        dash(each.offset),
        dash(each.end_offset),
        dash(each.lag),
        moment(each.since),
        standbys(each.standbys, width),
    )


def host_row(host: HostView) -> tuple[str, ...]:
    workers = str(host.workers) if host.workers else "all"
    return (
        host.host,
        str(host.pid),
        workers,
        host.version,
        moment(host.started),
        "yes" if host.draining else "no",
        host.address or "-",
    )


def standbys(workers: Iterable[Worker], width: int) -> str:
    """`host:pid, ...` in short lines, broken between them only: a pid is never cut in two."""
    line, name = (40, 24) if width >= WIDE else (20, 12)
    listed = ", ".join(address(worker, name) for worker in workers)
    return "\n".join(textwrap.wrap(listed, line, break_long_words=False, break_on_hyphens=False)) or "-"


def address(worker: Worker, longest: int) -> str:
    """`host:pid`. A long host name loses its middle: names often differ at one end, and the hosts' table has all."""
    host = worker.host
    if len(host) > longest:
        host = f"{host[: longest // 2]}~{host[-(longest - longest // 2 - 1) :]}"
    return f"{host}:{worker.pid}"


def dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def moment(written: str | None) -> str:
    """A time of a document in the reader's time zone: the time of today, the day of others."""
    try:
        local = datetime.fromisoformat(written or "").astimezone()
    except (ValueError, OverflowError):
        return written or "-"
    return f"{local:%H:%M:%S}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d}"

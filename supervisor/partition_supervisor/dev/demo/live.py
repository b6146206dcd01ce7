"""The demo in a terminal: a live table, and the line to paste."""

from __future__ import annotations

import contextlib
import signal
import threading

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from partition_supervisor.admin.group_reader import GroupReader
from partition_supervisor.admin.group_view import GroupView
from partition_supervisor.admin.render import pretty
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.script import report
from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_workers.errors import Unreachable
from partition_workers.layout.documents import History

#: Seconds between two looks.
EVERY = 0.25
#: How many takeovers are listed.
SHOWN = 8


def show(cluster: DemoCluster, bootstrap_servers: str) -> bool:
    """Until Ctrl-C; then judge. True when nothing was lost, doubled or out of order."""
    console = Console()
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    ends = EndOffsets({"bootstrap.servers": bootstrap_servers})
    reader = GroupReader(cluster.store, "the demo", cluster.keys, ends, lambda _warning: None)
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while not interrupted.wait(EVERY):
            with contextlib.suppress(Unreachable):
                live.update(_screen(cluster, reader.read(timeout=2.0), console.width), refresh=True)
            _bring_back(cluster)
    console.print("\nThe producer stops, the rest is processed, and states are compared with what was produced.")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cluster.wait_until_complete()
    verdicts = cluster.finish()
    report(verdicts, lambda line: console.print(line, highlight=False))
    return all(each.is_good for each in verdicts)


def _bring_back(cluster: DemoCluster) -> None:
    """A host that was killed comes back, as soon as nothing of it is left."""
    for host in cluster.hosts.values():
        if not host.is_running and not host.processes():
            host.start()


def _screen(cluster: DemoCluster, picture: GroupView, width: int) -> RenderableType:
    lines = [Text()]
    owner = next((each.owner for each in picture.partitions if each.owner), None)
    if owner is not None:
        lines.append(Text(f"Now kill an owner, in another terminal:   kill -9 {owner.pid}", style="bold green"))
    for name, host in cluster.hosts.items():
        if host.is_running:
            lines.append(Text(f"or all of {name} at once:              kill -9 -{host.pid}", style="dim"))
    lines.append(Text("Ctrl-C: the end, and the count of what was lost.", style="dim"))
    lines.append(Text())
    lines += [Text(line) for line in _takeovers(cluster)]
    return Group(pretty(picture, width), *lines)


def _takeovers(cluster: DemoCluster) -> list[str]:
    """The newest, each with its gap: from the predecessor's last commit to the first record."""
    newest = sorted(
        (record.token, partition, record)
        for partition in cluster.judge.partitions
        for record in cluster.judge.history(partition)[-SHOWN:]
        if "first_record" in record.gap
    )[-SHOWN:]
    return [f"{_clock(record)}  {p} -> {record.host}  {record.cause}, {_gap(record)}" for _, p, record in newest]


def _clock(record: History) -> str:
    return record.since[11:23]


def _gap(record: History) -> str:
    seen = record.gap.get("exit_seen")
    whole = record.gap["first_record"]
    if seen is None:
        return f"{whole:.0f} ms from the last commit to the next record"
    return f"{whole - seen:.0f} ms from the exit to the next record"

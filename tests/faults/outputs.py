"""Faults of a group that produces, on real processes, each made at the step where it hurts, and judged by one oracle.

    python -m tests.faults.outputs              all of them, in about ten minutes
    python -m tests.faults.outputs zombies      some, by what their names begin with

The oracle is what a read_committed reader sees: nothing lost, nothing doubled, in the order of each input partition;
and the last output of each key is what the state has for it. Ends with 1 when one of them is not so.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from partition_supervisor.dev import services
from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import Verdict
from partition_supervisor.dev.demo.load import create_topic
from partition_supervisor.dev.services import Services
from tests.committed import Seen, committed_values, seen
from tests.faults.brokers import Brokers
from tests.faults.output_scenes import FAULTS, Fault, Scene
from tests.handlers.producing import KEYS

#: Seconds until all that was produced must have been handled, and until the reader must have seen it.
PATIENCE = 120.0


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Faults of a group that produces."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP is, under nohup
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    chosen = [each for each in FAULTS if not names or each.name.startswith(names)]
    if not chosen:
        raise click.UsageError(f"no such fault; there are: {', '.join(each.name for each in FAULTS)}")
    rows, is_good = [], True
    for brokers in (1, 3):
        here = [each for each in chosen if each.brokers == brokers]
        if here:
            with _services(brokers) as (running, three):
                for fault in here:
                    row, good = _try(fault, running, three)
                    rows.append(row)
                    is_good = is_good and good
    click.echo("| fault | what was done | outputs seen | lost | doubled | out of order | keys as in the state |"
               " longest gap, ms |\n|---|---|---:|---:|---:|---:|---|---:|")  # fmt: skip
    click.echo("\n".join(rows))
    sys.exit(0 if is_good else 1)


@contextlib.contextmanager
def _services(brokers: int) -> Iterator[tuple[Services, Brokers | None]]:
    with contextlib.ExitStack() as stack:
        three = stack.enter_context(Brokers()) if brokers > 1 else None
        running = services.start(bootstrap_servers=three.bootstrap_servers) if three else services.start()
        stack.enter_context(running)
        yield running, three


def _try(fault: Fault, running: Services, three: Brokers | None) -> tuple[str, bool]:
    """One row of the table, and whether all was well."""
    click.echo(f"--- {fault.name}", err=True)
    topic, out = (f"fault-{secrets.token_hex(3)}{end}" for end in ("", "-out"))
    with tempfile.TemporaryDirectory() as folder:
        for name in (topic, out):
            create_topic(running.bootstrap_servers, name, fault.partitions)
        cluster = DemoCluster(
            running.bootstrap_servers, running.etcd_endpoints, topic, fault.partitions, fault.hosts,
            fault.rate * fault.partitions, ("--output", out, *fault.options),
            f"tests/handlers/producing.py:{fault.handler}",
            {"PRODUCE_TO": out, "PLACES": folder, **({"PRODUCE_AHEAD": "1"} if fault.ahead else {})},
        )  # fmt: skip
        with cluster:
            try:
                cluster.start(60.0)
                cluster.load.start()
                time.sleep(3.0)  # a broker that has just started compiles
                scene = Scene(cluster, running, three, Path(folder))
                did = fault.do(scene)
                verdicts = cluster.finish(PATIENCE)
                values = committed_values(running.bootstrap_servers, out, fault.partitions, PATIENCE)
            except (OSError, RuntimeError) as error:
                click.echo(f"{cluster.logs()[-20_000:]}\n{fault.name}: {error}", err=True)
                return f"| {fault.name} | **{error}** | | | | | | |", False
            return _row(fault, did, scene, verdicts, values)


def _row(
    fault: Fault, did: str, scene: Scene, verdicts: list[Verdict], values: list[list[bytes]]
) -> tuple[str, bool]:
    numbers = [[int(each.split(b" ")[0]) for each in of_one] for of_one in values]
    found = [
        seen(scene.without_what_was_reset(number, of_one), verdict.produced)
        for number, (of_one, verdict) in enumerate(zip(numbers, verdicts, strict=True))
    ]
    agree = [_last(of_one) == scene.kept(number) for number, of_one in enumerate(values)]
    gaps = [
        each.gap["first_record"]
        for partition in scene.cluster.judge.partitions
        for each in scene.cluster.judge.history(partition)
        if each.since > scene.begun and "first_record" in each.gap
    ]
    is_good = all(agree) and all(each.is_good for each in found) and all(each.is_good for each in verdicts)
    for each in verdicts:
        if not each.is_good:
            click.echo(f"the state is wrong: {each}", err=True)
    cells = [
        fault.name, did, f"{sum(each.count for each in found):,}", *_sums(found), "yes" if all(agree) else "**no**",
        f"{max(gaps):,.0f}" if gaps else "-",
    ]  # fmt: skip
    click.echo(f"    {'; '.join(cells[1:])}", err=True)
    return f"| {' | '.join(cells)} |", is_good


def _sums(found: list[Seen]) -> list[str]:
    sums = (sum(getattr(each, name) for each in found) for name in ("lost", "doubled", "out_of_order"))
    return [f"**{each}**" if each else "0" for each in sums]


def _last(values: list[bytes]) -> dict[str, int]:
    """What was sent last of each key."""
    found = {}
    for each in values:
        number, _, sent = each.partition(b" ")
        found[f"key-{int(number) % KEYS}"] = int(sent)
    return found


if __name__ == "__main__":
    main()

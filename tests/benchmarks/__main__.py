"""The command behind `make bench`: measure, keep every trial, and show it beside the rivals and the budgets."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from partition_supervisor.commands.errors import PlainGroup
from partition_supervisor.dev import services
from partition_workers.errors import Misconfigured
from tests.benchmarks import commands as answering
from tests.benchmarks import compare as comparing
from tests.benchmarks import page as painting
from tests.benchmarks import pictures, recorded, report
from tests.benchmarks import scraping as scraped
from tests.benchmarks.budgets import judge
from tests.benchmarks.results import Results, all_trials, load, save
from tests.benchmarks.running import ABOUT, SECONDS, TOTAL, prepare, run
from tests.benchmarks.surroundings import ROOT, Surroundings, look_around
from tests.benchmarks.timeline import draw
from tests.benchmarks.trials import Bench, Trial

#: In the current folder, and in the project.
RESULTS, TABLES = Path("bench.json"), Path("bench.md")
README, PICTURE = ROOT / "README.md", ROOT / "docs" / "benchmark-gap.png"

KIND = click.option(
    "--kind",
    type=click.Choice(["auto", "local", "docker", "embedded"]),
    default="auto",
    show_default=True,
    help="Where Kafka and etcd come from; see `partition-supervisor services --help`.",
)
QUICK = click.option("--quick", is_flag=True, help="Fewer and shorter trials: all of it in eleven minutes.")
README_TOO = click.option(
    "--readme/--no-readme",
    default=None,
    help="Write the budgets into the README and draw the pictures in docs/. A full run of all in which nothing failed"
    " does so unasked, a quick one does not.",
)


@dataclass(frozen=True, slots=True)
class Running:
    """Kafka, an etcd of three members and one of one member, that answer."""

    bench: Bench
    """With their addresses; the rest is for the benchmarks to be set."""
    description: str


def say(line: str) -> None:
    click.echo(line, err=True)


@contextlib.contextmanager
def serve(kind: str) -> Iterator[Running]:
    load = os.getloadavg()[0]
    if load > 0.5 * (os.cpu_count() or 1):
        say(f"warning: this machine is busy (load {load:.1f}); what is measured now is worse than it could be")
    with services.start(kind, announce=say) as three:
        if three.kind == "given":
            both = "an etcd of three members and one of one member"
            raise Misconfigured(f"{both} are needed and are started here: unset {services.ETCD_ENDPOINTS}")
        kafka = three.bootstrap_servers
        with services.start(three.kind, bootstrap_servers=kafka, etcd_members=1, announce=say) as one:
            addresses = kafka, three.etcd_endpoints, one.etcd_endpoints
            yield Running(Bench(*addresses, quick=False, seconds=0.0, only_ours=False, say=say), three.description)


def look(running: Running) -> Surroundings:
    found = look_around(running.description, running.bench.etcd_endpoints, running.bench.single_etcd_endpoint)
    say("calibration: " + "; ".join(f"{name}: {value:g}" for name, value in found.calibration.items()))
    return found


class Session:
    """Benchmarks over the same services; the results are saved after each."""

    def __init__(self, running: Running, quick: bool, results: Results, path: Path) -> None:
        self._surroundings = look(running)
        self._results, self._path = results, path
        self._bench = replace(running.bench, quick=quick)

    def measure(self, name: str, seconds: float) -> bool:
        """Whether nobody pressed Ctrl-C meanwhile."""
        tell = _clocked(name)

        def show(trial: Trial) -> None:
            tell(f"{trial.system}: {trial.metric} {report.number(trial.value)} {trial.unit}")

        bench = replace(self._bench, seconds=seconds, say=tell)
        part, interrupted = run(name, bench, self._surroundings, on_trial=show)
        self._results[name] = part
        save({each: self._results[each] for each in SECONDS if each in self._results}, self._path)
        say(
            f"{name}: {len(part.trials)} trials in {part.took:.0f} s{f'; FAILED: {part.error}' if part.error else ''}"
        )
        return not interrupted


def _clocked(name: str) -> Callable[[str], None]:
    """Progress with the time since the benchmark began."""
    begun = time.monotonic()

    def tell(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - begun), 60)
        say(f"{name} {minutes}:{seconds:02d}  {line.removeprefix(f'{name}: ')}")

    return tell


def conclude(results: Results, readme: bool) -> None:
    """Tables, and if asked for the README and its pictures; then the end, with 1 when a benchmark failed."""
    TABLES.write_text(report.whole(results), encoding="utf-8")
    if readme:
        pictures.draw(results, PICTURE.parent)
        picture = PICTURE.relative_to(ROOT).as_posix() if PICTURE.exists() else None
        text = report.into_readme(README.read_text(encoding="utf-8"), results, picture)
        README.write_text(text, encoding="utf-8")
    outcomes = judge(all_trials(results))
    click.echo(f"{report.headline(outcomes)}\n\n{report.budgets_table(outcomes)}\n")
    for name, part in results.items():
        click.echo(f"{name}: {part.took:.0f} s{f', FAILED: {part.error}' if part.error else ''}")
    click.echo(f"Written: {TABLES} (every table and trial){', README.md and docs/benchmark-*.png' * readme}")
    sys.exit(1 if any(part.error for part in results.values()) else 0)


@click.group(cls=PlainGroup)
def bench() -> None:
    """Measure the partition supervisor beside what people would use instead.

    Starts Kafka, an etcd of three members and one of one member. Every trial goes into bench.json in the current
    folder, the tables into bench.md. Exit code 1: a benchmark failed; which and why is in the tables too.
    """
    # So that it cleans up, as after Ctrl-C. What it started ends with it however it ends.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP is, under nohup
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))


@bench.command(name="all")
@QUICK
@README_TOO
@KIND
def everything(quick: bool, readme: bool | None, kind: str) -> None:
    """Every benchmark: fifty-five minutes, or eleven with --quick.

    A benchmark that fails does not end the others. Ctrl-C ends all, and keeps what was measured.
    """
    results: Results = {}
    prepare(say)
    until = time.monotonic() + TOTAL[quick]
    with serve(kind) as running:
        session = Session(running, quick, results, RESULTS)
        names = list(SECONDS)
        for index, name in enumerate(names):
            left = sum(SECONDS[each][quick] for each in names[index:])
            pace = min(1.0, (until - time.monotonic()) / left)
            if not session.measure(name, SECONDS[name][quick] * pace):
                break
    whole = not quick and len(results) == len(SECONDS) and not any(part.error for part in results.values())
    conclude(results, whole if readme is None else readme)


def _single(name: str) -> click.Command:
    @bench.command(
        name=name, help=f"{ABOUT[name]}\n\nThe results of other benchmarks in bench.json stay as they are."
    )
    @QUICK
    @README_TOO
    @KIND
    @click.option("--seconds", type=click.FloatRange(1), help=f"How long about: {SECONDS[name][0]:g}, or quick less.")
    def command(quick: bool, readme: bool | None, kind: str, seconds: float | None) -> None:
        results = load(RESULTS) if RESULTS.exists() else {}
        with serve(kind) as running:
            Session(running, quick, results, RESULTS).measure(name, seconds or SECONDS[name][quick])
        conclude(results, bool(readme))

    return command


for each in SECONDS:
    _single(each)


@bench.command(name="report")
@README_TOO
def rewrite(readme: bool | None) -> None:
    """Write bench.md again from bench.json, and if asked for the README and the pictures."""
    if not RESULTS.exists():
        raise Misconfigured(f"there is no {RESULTS} in this folder: run a benchmark first")
    conclude(load(RESULTS), bool(readme))


@bench.command()
@click.argument("fault", type=click.Choice(["kill", "move"]))
@click.option("--count", type=click.IntRange(1), default=30, show_default=True)
@KIND
def timeline(fault: str, count: int, kind: str) -> None:
    """Where the time of a takeover goes: the steps of all processes on one axis."""
    with serve(kind) as running:
        click.echo(draw(running.bench, fault, count))


@bench.command()
@click.argument("base", metavar="COMMIT")
@click.option("--rounds", type=click.IntRange(2), default=3, show_default=True, help="Of each side, taking turns.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(comparing.SECONDS)),
    help="Repeatable; all but the last unless given.",
)
@KIND
def compare(base: str, rounds: int, only: tuple[str, ...], kind: str) -> None:
    """Measure what is here beside another COMMIT, taking turns, with the benchmarks of here.

    Failover, throughput and commits, ours alone: about seven minutes. A difference counts as clear when the medians
    of the rounds of one side are all above those of the other.
    """
    with serve(kind) as running:
        click.echo(comparing.compare(base, rounds, running.bench, only or comparing.USUAL))


@contextlib.contextmanager
def serve_recorded(kind: str, partitions: int, hosts: int) -> Iterator[tuple[recorded.Recorded, dict[str, str]]]:
    """A group that was made up, and the variables that lead to it."""
    with services.start(kind, announce=say) as running:
        addresses = running.bootstrap_servers, running.etcd_endpoints
        with recorded.recorded(*addresses, partitions, hosts) as group:
            click.echo(f"{partitions:,} partitions on {hosts} hosts; {running.description}")
            yield group, dict(zip((services.BOOTSTRAP_SERVERS, services.ETCD_ENDPOINTS), addresses, strict=True))


PARTITIONS = click.option("--partitions", type=click.IntRange(30), default=recorded.PARTITIONS, show_default=True)
HOSTS = click.option("--hosts", type=click.IntRange(3), default=recorded.HOSTS, show_default=True)


@bench.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Calls of each command.")
@PARTITIONS
@HOSTS
@KIND
def commands(rounds: int, partitions: int, hosts: int, kind: str) -> None:
    """How long the commands that read take to answer, on a group that was made up."""
    with serve_recorded(kind, partitions, hosts) as (group, addresses):
        answering.table(list(answering.measured(group, addresses, rounds)), click.echo)


@bench.command()
@PARTITIONS
@HOSTS
@KIND
def page(partitions: int, hosts: int, kind: str) -> None:
    """How long the page takes in a browser until the group is painted, and until a change is."""
    with serve_recorded(kind, partitions, hosts) as (group, addresses):
        painting.table(list(painting.measured(group, addresses, say)), click.echo)


@bench.command()
@click.option("--partitions", type=click.IntRange(1), default=32, show_default=True)
@KIND
def scraping(partitions: int, kind: str) -> None:
    """What the metrics cost idle hosts: beside the same without, not scraped and scraped."""
    with services.start(kind, announce=say) as running:
        found = scraped.measured(running.bootstrap_servers, running.etcd_endpoints, partitions, say)
        scraped.table(list(found), partitions, click.echo)


if __name__ == "__main__":
    bench()

"""Two commits measured in turns: the product of each, by the benchmarks of here.

The other commit is checked out into a temporary folder, where the benchmarks of here replace its own. Each
measurement is a process in the folder of its side, so that it imports that side's packages; Kafka and etcd are the
same for both. The sides take turns and swap who begins, so that a slow minute falls on both. The folder goes when
this process does, however it ends, and so does the process that measures.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from partition_supervisor.dev.services.processes import Processes
from partition_workers.errors import Misconfigured
from tests.benchmarks.report import by_metric, by_system, number, ratio, spread, table, with_its_unit
from tests.benchmarks.running import SILENCE, leaving_nothing, limited, measuring
from tests.benchmarks.surroundings import ROOT
from tests.benchmarks.trials import Bench, Trial, median

#: Seconds for each benchmark, side and round.
SECONDS = {"failover": 30.0, "throughput": 25.0, "commits": 15.0, "losses": 45.0}
#: Those that are measured unless others are named.
USUAL = ("failover", "throughput", "commits")

Rounds = list[list[Trial]]
"""Of one side."""


def compare(base: str, rounds: int, bench: Bench, names: Sequence[str] = USUAL) -> str:
    """The tables. Raises Misconfigured when there is no such commit."""
    found: dict[str, Rounds] = {"base": [], "here": []}
    with _checked_out(base) as folder:
        folders = {"base": folder, "here": ROOT}
        for turn in range(rounds):
            for side in found:
                found[side].append([])
            for name in names:
                for side in ("base", "here") if turn % 2 == 0 else ("here", "base"):
                    bench.say(f"round {turn + 1} of {rounds}: {name}, {base if side == 'base' else 'here'}")
                    found[side][turn] += _measured(name, bench, SECONDS[name], folders[side])
    return differences(base, found["base"], found["here"])


def differences(base: str, before: Rounds, after: Rounds) -> str:
    """A table for each metric: both medians over all rounds, their ratio, and whether the difference is clear."""
    header = [base, "spread", "here", "spread", "here / base", "clear"]
    metrics = by_metric(trial for turn in [*before, *after] for trial in turn)
    tables = []
    for metric, trials in metrics.items():
        rows = [[system, *_row(metric, system, before, after)] for system in by_system(trials)]
        tables.append(table([f"{trials[0].benchmark}: {with_its_unit(metric, trials)}", *header], rows))
    return "\n\n".join(tables) or "Nothing was measured."


def _row(metric: str, system: str, before: Rounds, after: Rounds) -> list[str]:
    cells, middles = [], []
    for side in (before, after):
        values = [t.value for turn in side for t in turn if (t.metric, t.system) == (metric, system)]
        wide = spread(values)
        middles.append(median(values))
        cells += [number(middles[-1]), "-" if math.isnan(wide) else f"{wide:.0f} %"]
    change = middles[1] / middles[0] if middles[0] else math.nan
    apart = are_apart(_medians(metric, system, before), _medians(metric, system, after))
    return [*cells, ratio(change), "yes" if apart else "no"]


def _medians(metric: str, system: str, side: Rounds) -> list[float]:
    found = ([t.value for t in turn if (t.metric, t.system) == (metric, system)] for turn in side)
    return [median(values) for values in found if values]


def are_apart(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether all of one side are above all of the other; of three and three by chance one time in ten."""
    if min(len(some), len(others)) < 2:
        return False
    return max(some) < min(others) or max(others) < min(some)


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    with Processes() as processes:
        folder = processes.folder / "base"
        _git("worktree", "prune")  # what an earlier run could not remove
        _git("worktree", "add", "--detach", str(folder), commit)
        try:
            shutil.rmtree(folder / "tests", ignore_errors=True)
            shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
            yield folder
        finally:
            _git("worktree", "remove", "--force", str(folder))


def _git(*arguments: str) -> None:
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Misconfigured(f"git {' '.join(arguments)}: {done.stderr.strip()}")


def _measured(name: str, bench: Bench, seconds: float, folder: Path) -> list[Trial]:
    """In a process of its own, which ends what it started."""
    settings = {field: value for field, value in asdict(bench).items() if field != "say"}
    packages = os.pathsep.join(str(folder / each) for each in ("supervisor", "workers"))
    order = json.dumps(settings | {"seconds": seconds, "quick": True, "only_ours": True})
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.compare", name, order],
        cwd=folder, env=os.environ | {"PYTHONPATH": packages}, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            told, _ = process.communicate()
        except KeyboardInterrupt:
            process.wait(30.0)  # it was pressed for both, and the child has to clean up
            raise
    if process.returncode:
        bench.say(f"{name} FAILED there, see above; what it had measured counts")
    trials = [Trial(**json.loads(line)) for line in told.splitlines()]
    return [trial for trial in trials if trial.system.startswith("ours")]


def main(name: str, order: str) -> None:
    """One measurement of one side: a trial a line on standard output."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    bench = Bench(**json.loads(order), say=lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    with leaving_nothing(bench.say), limited(SILENCE) as goes_on, closing(measuring(name, bench)) as trials:
        for trial in trials:
            print(json.dumps(asdict(trial)), flush=True)
            goes_on()


def _end_with(parent: int) -> None:
    """What was started meanwhile ends with this process."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:3])

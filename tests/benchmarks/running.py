"""How one benchmark is run: timed, bounded, and what it left behind is ended.

A benchmark is asked to take about so many seconds, and starts no further round when they are over; what its first
round has in it is measured however slow the machine is. It is ended wherever it is when no trial has come for a long
while: one that hangs must not cost the others their time.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib import import_module

import psutil

from partition_workers.errors import PartitionSupervisorError
from tests.benchmarks import frameworks
from tests.benchmarks.results import Part
from tests.benchmarks.surroundings import Surroundings
from tests.benchmarks.trials import Bench, Trial

#: Seconds for each benchmark: in `make bench`, and in `make bench QUICK=1`. With the services' start and the report,
#: 55 and 11 minutes, on a machine that is no slower than that of the project's figures.
SECONDS = {
    "failover": (640.0, 65.0),
    "losses": (300.0, 45.0),
    "moves": (290.0, 50.0),
    "throughput": (550.0, 110.0),
    "commits": (115.0, 20.0),
    "keyed": (540.0, 150.0),
    "processes": (210.0, 45.0),
    "growth": (230.0, 32.0),
    "loop": (30.0, 6.0),
    "outputs": (330.0, 110.0),
}

#: Seconds for all of them, in full and quick; the start of the services and the report come on top.
TOTAL = (3240.0, 646.0)

#: Seconds without a trial after which a benchmark hangs. Whoever waits inside of one waits for two minutes at most.
SILENCE = 300.0

#: What each is about, for the help and the report.
ABOUT = {
    "failover": "A worker is killed with SIGKILL: how long its partition stands still.",
    "losses": "A host or a supervisor is lost, an owner or a host is paused.",
    "moves": "Partitions are moved on purpose, and everything is restarted, one after the other.",
    "throughput": "Records a second and the processor time of each, beside how many a kill replays.",
    "keyed": "Counting by key, with 10, 1,000 and 100,000 keys, beside frameworks that keep such a state.",
    "commits": "What fenced commits cost, by how often there is one and how much it writes.",
    "processes": "Starting, restarting, memory and idle cost of workers.",
    "growth": "What grows with the number of partitions and of hosts.",
    "loop": "A round of the supervisor's loop with 1,000 partitions and 10 hosts, on fakes, and what waits for it.",
    "outputs": "From a topic to a topic, exactly once: records a second, and the gap after kill -9.",
}

Measuring = Generator[Trial, None, None]


class Hung(BaseException):
    """It did not end. Not an Exception, because a benchmark may expect exceptions of what it measures."""


def measuring(name: str, bench: Bench) -> Measuring:
    """The trials of the module of that name, which is imported only now: it may need what others do not."""
    yield from import_module(f"tests.benchmarks.{name}").measure(bench)


def prepare(say: Callable[[str], None]) -> None:
    """Have the rivals installed before the time of the first benchmark begins; once for each user."""
    for name in frameworks.PACKAGES:
        try:
            frameworks.python_of(name, say)
        except PartitionSupervisorError as error:
            say(f"{name} does not install and will not be measured: {error}")


def run(
    name: str,
    bench: Bench,
    surroundings: Surroundings,
    on_trial: Callable[[Trial], None],
    measuring: Callable[[str, Bench], Measuring] = measuring,
) -> tuple[Part, bool]:
    """Measure to the end, the error, or the limit; and whether somebody pressed Ctrl-C meanwhile."""
    trials: list[Trial] = []
    error, interrupted = "", False
    load_before, stolen_before = os.getloadavg()[0], _stolen()
    begun = time.monotonic()
    try:
        with (
            leaving_nothing(bench.say),
            limited(SILENCE) as goes_on,
            contextlib.closing(measuring(name, bench)) as found,
        ):
            for trial in found:
                if not math.isfinite(trial.value):
                    raise ValueError(f"no number: {trial}")
                trials.append(trial)
                on_trial(trial)
                goes_on()
    except Hung:
        error = f"hung: nothing was measured for {SILENCE:.0f} s"
    except KeyboardInterrupt:
        error, interrupted = "interrupted", True
    except Exception as failure:
        bench.say(traceback.format_exc().rstrip())
        error = f"{type(failure).__name__}: {failure}"
    took = round(time.monotonic() - begun, 1)
    part = Part(
        name,
        bench.quick,
        took,
        error if trials or error else "measured nothing",
        round(load_before, 2),
        round((_stolen() - stolen_before) / max(took, 0.1) / (os.cpu_count() or 1) * 100, 1),
        surroundings,
        tuple(trials),
    )
    return part, interrupted


def _stolen() -> float:
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


@contextmanager
def limited(seconds: float) -> Iterator[Callable[[], None]]:
    """Raise Hung after that time without a call of what is given; and every ten seconds while somebody expects it."""

    def hung(_number: int, _frame: object) -> None:
        raise Hung

    def goes_on() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds, 10.0)

    before = signal.signal(signal.SIGALRM, hung)
    goes_on()
    try:
        yield goes_on
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def leaving_nothing(say: Callable[[str], None]) -> Iterator[None]:
    """What was started meanwhile and is still there is ended: it would disturb the next benchmark."""
    before = set(psutil.Process().children(recursive=True))
    try:
        yield
    finally:
        left = [each for each in psutil.Process().children(recursive=True) if each not in before]
        for each in left:
            with contextlib.suppress(psutil.Error):
                say(f"left behind, and ended now: {each.pid} {' '.join(each.cmdline())[:100]}")
                each.kill()
        psutil.wait_procs(left, timeout=10.0)

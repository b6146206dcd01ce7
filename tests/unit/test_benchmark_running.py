"""How a benchmark is run: what it yields is kept, whatever becomes of it, and nothing of it stays behind."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator

import psutil
import pytest

from tests.benchmarks import running
from tests.benchmarks.compare import are_apart, differences
from tests.benchmarks.results import Part
from tests.benchmarks.surroundings import Surroundings
from tests.benchmarks.trials import Bench, Trial

NOWHERE = Surroundings("", "", "", {}, {}, {})


def trial(value: float, system: str = "ours") -> Trial:
    return Trial("failover", system, "gap", value, "ms")


def run(body: Callable[[], Generator[Trial, None, None]], seconds: float = 60.0) -> tuple[Part, bool, list[str]]:
    said: list[str] = []
    bench = Bench("", "", "", quick=True, seconds=seconds, only_ours=False, say=said.append)
    part, interrupted = running.run("failover", bench, NOWHERE, lambda _: None, lambda _name, _bench: body())
    return part, interrupted, said


def test_all_trials_are_kept_in_their_order() -> None:
    """A benchmark that comes to its end has no error."""

    def body() -> Generator[Trial, None, None]:
        yield trial(1.0)
        yield trial(2.0)

    part, interrupted, _ = run(body)
    assert [each.value for each in part.trials] == [1.0, 2.0]
    assert part.error == ""
    assert not interrupted


def test_a_failure_keeps_what_was_measured_and_says_why() -> None:
    """The error is in the part, its traceback was said."""

    def body() -> Generator[Trial, None, None]:
        yield trial(1.0)
        raise LookupError("no broker")

    part, interrupted, said = run(body)
    assert [each.value for each in part.trials] == [1.0]
    assert part.error == "LookupError: no broker"
    assert "LookupError" in said[-1]
    assert not interrupted


def test_measuring_nothing_is_a_failure() -> None:
    """An empty table would look like a success."""

    def body() -> Generator[Trial, None, None]:
        yield from ()

    assert run(body)[0].error == "measured nothing"


def test_a_value_that_is_no_number_is_a_failure() -> None:
    """It could not be compared with anything."""

    def body() -> Generator[Trial, None, None]:
        yield trial(math.nan)

    part, _, _ = run(body)
    assert part.trials == ()
    assert part.error.startswith("ValueError: no number")


def test_an_interrupted_benchmark_keeps_what_it_had_and_ends_the_run() -> None:
    """Ctrl-C is told apart from a failure."""

    def body() -> Generator[Trial, None, None]:
        yield trial(1.0)
        raise KeyboardInterrupt

    part, interrupted, _ = run(body)
    assert interrupted
    assert len(part.trials) == 1
    assert part.error == "interrupted"


def test_on_a_slow_machine_nothing_is_left_out() -> None:
    """A benchmark takes longer than it was asked to: each of its trials still counts."""

    def body() -> Generator[Trial, None, None]:
        begun = time.monotonic()
        yield trial(1.0)
        while time.monotonic() - begun < 0.1:  # it is told to take a hundredth of that
            pass
        yield trial(2.0)

    part, _, _ = run(body, seconds=0.001)
    assert part.error == ""
    assert [each.value for each in part.trials] == [1.0, 2.0]


def test_a_benchmark_goes_on_for_as_long_as_trials_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each of them the time begins anew after which it is thought to hang."""
    limits: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds, _again=0.0: limits.append(seconds))

    def body() -> Generator[Trial, None, None]:
        yield trial(1.0)
        yield trial(2.0)

    run(body)
    assert limits == [running.SILENCE] * 3 + [0]


def test_a_benchmark_that_hangs_is_ended_wherever_it_is_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that expects all exceptions."""
    cleaned = []
    limited = running.limited
    monkeypatch.setattr(running, "limited", lambda _seconds: limited(60.0))

    def body() -> Generator[Trial, None, None]:
        yield trial(1.0)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 10.0)  # its time is over, now that it hangs
        try:
            while True:
                try:
                    time.sleep(60.0)
                except Exception as error:
                    print(error)
        finally:
            cleaned.append(True)

    part, _, _ = run(body)
    assert part.error.startswith("hung: nothing was measured for")
    assert len(part.trials) == 1
    assert cleaned == [True]


def test_what_a_benchmark_left_running_is_ended_and_said() -> None:
    """The next benchmark has the machine for itself."""
    started: list[int] = []

    def body() -> Generator[Trial, None, None]:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        started.append(process.pid)
        yield trial(1.0)

    _, _, said = run(body)
    assert not psutil.pid_exists(started[0])
    assert any(f"left behind, and ended now: {started[0]}" in line for line in said)


def test_every_benchmark_of_the_run_has_its_time_and_together_they_fit() -> None:
    """Fifty-five minutes in full, eleven when quick."""
    for mode, minutes in enumerate((55, 11)):
        assert sum(each[mode] for each in running.SECONDS.values()) <= running.TOTAL[mode] < minutes * 60


def test_commits_are_apart_only_when_no_round_speaks_against_it() -> None:
    """One round of one side among those of the other is enough doubt."""
    assert are_apart([1, 2, 3], [4, 5, 6])
    assert are_apart([4, 5], [1, 2])
    assert not are_apart([1, 2, 5], [4, 6, 7])
    assert not are_apart([1.0], [2.0])


def test_the_table_of_two_commits_has_ratio_and_verdict() -> None:
    """Medians over all rounds, compared."""
    before = [[trial(10), trial(12)], [trial(11), trial(11)]]
    after = [[trial(20), trial(22)], [trial(21), trial(23)]]
    table = differences("abc123", before, after)
    assert "| abc123 | spread | here | spread | here / base | clear |" in table
    assert "| ours | 11.0 | 9 % | 21.5 | 9 % | 1.95 | yes |" in table


def test_what_only_one_commit_measures_is_shown_without_a_ratio() -> None:
    """A system that is new has nothing to be compared with."""
    table = differences("abc123", [[]], [[trial(1, "ours, new")]])
    assert "| ours, new | - | - | 1.00 | - | - | no |" in table

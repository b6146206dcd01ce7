"""The budgets of the benchmarks: computed from trials, met or missed, and never left out."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest

from tests.benchmarks.budgets import BUDGETS, FEWEST, Budget, Outcome, Series, Verdict, judge
from tests.benchmarks.trials import Trial, median, quantile


def trials(series: Series, values: Iterable[float]) -> list[Trial]:
    return [Trial(series.benchmark, series.system, series.metric, value, "") for value in values]


def budget(words: str) -> Budget:
    (found,) = (each for each in BUDGETS if words in each.what)
    return found


def outcome(words: str, given: list[Trial]) -> Outcome:
    (found,) = (each for each in judge(given) if words in each.budget.what)
    return found


def enough(wanted: Budget, value: float) -> list[Trial]:
    """Trials that give the budget exactly this figure: the rival, if there is one, is at 1."""
    made = trials(wanted.ours, [value] * FEWEST)
    return made if wanted.rival is None else made + trials(wanted.rival, [1.0] * FEWEST)


def test_without_trials_every_budget_is_shown_as_not_measured() -> None:
    """Nothing is left out for having no figure."""
    found = judge([])
    assert [each.budget for each in found] == list(BUDGETS)
    assert {each.verdict for each in found} == {Verdict.NOT_MEASURED}


@pytest.mark.parametrize("wanted", BUDGETS, ids=lambda each: each.what)
def test_each_budget_is_met_at_its_limit_and_missed_beyond(wanted: Budget) -> None:
    """The limit belongs to what is allowed, on the right side of it."""
    beyond = wanted.limit * (0.99 if wanted.at_least else 1.01)
    assert outcome(wanted.what, enough(wanted, wanted.limit)).verdict is Verdict.MET
    assert outcome(wanted.what, enough(wanted, beyond)).verdict is Verdict.MISSED


@pytest.mark.parametrize("wanted", [each for each in BUDGETS if each.rival], ids=lambda each: each.what)
def test_a_comparison_without_the_rival_is_not_measured(wanted: Budget) -> None:
    """Ours alone says nothing about a ratio, however good it is."""
    assert outcome(wanted.what, trials(wanted.ours, [1.0])).verdict is Verdict.NOT_MEASURED
    assert wanted.rival is not None
    assert outcome(wanted.what, trials(wanted.rival, [1.0])).verdict is Verdict.NOT_MEASURED


@pytest.mark.parametrize("wanted", [each for each in BUDGETS if each.rival], ids=lambda each: each.what)
def test_a_ratio_of_few_trials_is_not_believed(wanted: Budget) -> None:
    """Whichever side has too few."""
    assert wanted.rival is not None
    for ours, theirs in ((FEWEST - 1, FEWEST), (FEWEST, FEWEST - 1)):
        given = trials(wanted.ours, [wanted.limit] * ours) + trials(wanted.rival, [1.0] * theirs)
        assert outcome(wanted.what, given).verdict is Verdict.TOO_FEW


def test_a_ratio_is_that_of_the_medians() -> None:
    """One slow trial of either side does not decide."""
    wanted = budget("6 s")
    assert wanted.rival is not None
    given = trials(wanted.ours, [10, 12, 900, 11, 13]) + trials(wanted.rival, [6000, 1, 7000, 2, 6100])
    found = outcome("6 s", given)
    assert found.value == pytest.approx(12 / 6000)
    assert found.count == 5


@pytest.mark.parametrize("slowness", [1.0, 2.6])
def test_what_goes_through_etcd_is_judged_by_its_writes_however_slow_the_machine_is(slowness: float) -> None:
    """Milliseconds are told beside it."""
    wanted = budget("its replacement is a ready standby")
    assert wanted.rival is not None
    given = trials(wanted.ours, [30 * slowness] * 5) + trials(wanted.rival, [2 * slowness] * 5)
    found = outcome(wanted.what, given)
    assert (found.value, found.own, found.verdict) == (15, 30 * slowness, Verdict.MET)


def test_a_tail_is_judged_by_the_tail() -> None:
    """Of a hundred good gaps and two bad ones p50 is met and p99 is missed."""
    wanted = budget("a worker is killed: gap, p99")
    assert wanted.rival is not None
    given = trials(wanted.ours, [10.0] * 98 + [500.0] * 2) + trials(wanted.rival, [1.5] * 5)
    assert outcome("worker is killed: gap, p50", given).verdict is Verdict.MET
    assert outcome("worker is killed: gap, p99", given).verdict is Verdict.MISSED


def test_trials_of_other_systems_and_metrics_do_not_count() -> None:
    """Only the series that is named counts."""
    ours = budget("64 idle standbys").ours
    others = [
        Trial(ours.benchmark, "another", ours.metric, 1.0, "%"),
        Trial(ours.benchmark, ours.system, "another", 1.0, "%"),
        Trial("another", ours.system, ours.metric, 1.0, "%"),
    ]
    assert outcome("64 idle standbys", others).verdict is Verdict.NOT_MEASURED


def test_quantiles_of_few_values() -> None:
    """A quantile is one of the values, the largest at most; of nothing there is none."""
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([3, 1, 2], 0.99) == 3
    assert quantile([7], 0.0) == 7
    assert math.isnan(quantile([], 0.5))
    assert math.isnan(median([]))

"""The results as Markdown: a headline, the budgets, a table for each metric, and every trial."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

from tests.benchmarks.budgets import Outcome, Verdict, judge
from tests.benchmarks.etcd_load import WRITE, WRITES
from tests.benchmarks.results import Part, Results, all_trials
from tests.benchmarks.running import ABOUT
from tests.benchmarks.surroundings import WRITE_MS
from tests.benchmarks.trials import Trial, median, quantile

BEGIN, END = "<!-- benchmark -->", "<!-- /benchmark -->"

#: How many trials a quantile needs to be more than a name for the maximum.
ENOUGH = {0.9: 5, 0.99: 20}

#: Facts of which the median would hide the one time that it happened; and those that say nothing in a table.
_WORST, _HIDDEN = ("lost", "doubled"), ("round",)

#: Metrics that are told in writes as well: how long somebody waits for what goes through etcd.
_LATENCIES = ("gap", "ready", "rolling restart", "commit latency")

Groups = dict[str, list[Trial]]
"""Trials by system, in the order in which the systems were first measured."""


def number(value: float) -> str:
    """Three digits that count; nobody can repeat more."""
    if math.isnan(value):
        return "-"
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{min(8, max(0, digits))}f}"


def ratio(value: float) -> str:
    """As people say it: a small part of one is 1/n."""
    if math.isnan(value) or value <= 0:
        return "-"
    return f"1/{1 / value:,.0f}" if value < 0.05 else number(value)


def with_unit(value: float, unit: str) -> str:
    """A ratio has no unit."""
    return f"{number(value)} {unit}" if unit and not math.isnan(value) else ratio(value)


def spread(values: Iterable[float]) -> float:
    """How far apart the middle half of the values lies, in percent of the median; nan with fewer than four."""
    ordered = sorted(values)
    if len(ordered) < 4 or not median(ordered):
        return math.nan
    return (quantile(ordered, 0.75) - quantile(ordered, 0.25)) / median(ordered) * 100


def by_system(trials: Iterable[Trial]) -> Groups:
    found: Groups = {}
    for trial in trials:
        found.setdefault(trial.system, []).append(trial)
    return found


def by_metric(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.metric, []).append(trial)
    return found


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table; the first columns are words, the others figures."""
    rule = ["---" if column < words else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def with_its_unit(metric: str, trials: Sequence[Trial]) -> str:
    return ", ".join(filter(None, [metric, trials[0].unit]))


def summary_of(system: str, trials: Sequence[Trial], ours: float) -> list[str]:
    """One row: how many trials, their quantiles, their spread, and the median beside ours."""
    ordered, write = sorted(trial.value for trial in trials), number if trials[0].unit else ratio
    tails = [write(quantile(ordered, s)) if len(ordered) >= least else "-" for s, least in ENOUGH.items()]
    middle, wide = median(ordered), spread(ordered)
    return [
        system, str(len(ordered)), write(middle), *tails, write(ordered[-1]),
        "-" if math.isnan(wide) else f"{wide:.0f} %", ratio(middle / ours if ours else math.nan),
    ]  # fmt: skip


def of_ours(groups: Groups, system: str) -> float:
    """What a system is compared with: the median of the first that is ours, nan without one.

    A rival whose name ends as one of ours does, as in "bare loop, by batch" and "ours, by batch", is compared with
    that one.
    """
    ours = [name for name in groups if name.startswith("ours")]
    alike = [name for name in ours if name != "ours" and system.endswith(name.removeprefix("ours"))]
    chosen = ours[:1] if system in ours else [*alike, *ours][:1]
    return median(trial.value for name in chosen for trial in groups[name])


def tables_of(part: Part) -> Iterator[str]:
    write = _write_ms(part)
    for metric, trials in by_metric(part.trials).items():
        groups = by_system(trials)
        header = [with_its_unit(metric, trials), "trials", "p50", "p90", "p99", "max", "spread", "beside ours"]
        rows = [summary_of(name, each, of_ours(groups, name)) for name, each in groups.items()]
        if trials[0].unit == "ms" and metric.startswith(_LATENCIES) and write:
            header.append("p50 in writes")
            rows = [[*row, number(median(t.value for t in groups[row[0]]) / write)] for row in rows]
        yield table(header, rows)
        yield from _facts(groups)


def _write_ms(part: Part) -> float:
    """Of a write to the three members of etcd: measured beside these trials, or else before them."""
    beside = [trial.value for trial in part.trials if (trial.system, trial.metric) == (WRITES, WRITE)]
    return median(beside) if beside else part.surroundings.calibration.get(WRITE_MS, 0.0)


def _facts(groups: Groups) -> Iterator[str]:
    """What was noted beside each trial: the medians, but of what must never happen the worst."""
    names = dict.fromkeys(
        name
        for trials in groups.values()
        for trial in trials
        for name, fact in trial.facts.items()
        if not isinstance(fact, str) and name not in _HIDDEN
    )
    if names:
        header = ["beside it", *(f"{name}, {'most' if name.startswith(_WORST) else 'median'}" for name in names)]
        rows = ([system, *(_fact(trials, name) for name in names)] for system, trials in groups.items())
        yield table(header, rows)


def _fact(trials: Sequence[Trial], name: str) -> str:
    values = list(_numbers(trials, name))
    if not values:
        return next((str(trial.facts[name]) for trial in trials if name in trial.facts), "-")
    value = max(values) if name.startswith(_WORST) else median(values)
    return f"{value:,.0f}" if float(value).is_integer() else number(value)


def _numbers(trials: Iterable[Trial], name: str) -> Iterator[float]:
    for trial in trials:
        fact = trial.facts.get(name)
        if fact is not None and not isinstance(fact, str):
            yield fact


def budgets_table(outcomes: Iterable[Outcome]) -> str:
    def row(outcome: Outcome) -> list[str]:
        budget = outcome.budget
        verdict = outcome.verdict.value
        shown = verdict if outcome.verdict is Verdict.MET else f"**{verdict}**"
        measured = with_unit(outcome.value, budget.unit) + _beside(outcome)
        return [budget.what, budget.goal, measured, str(outcome.count or "-"), shown]

    return table(["budget", "goal", "measured", "trials", ""], map(row, outcomes), words=2)


def _beside(outcome: Outcome) -> str:
    """A latency in milliseconds and in writes, whichever it is judged by."""
    if math.isnan(outcome.writes) or math.isnan(outcome.value):
        return ""
    said = {"writes": with_unit(outcome.own, "ms"), "ms": with_unit(outcome.writes, "writes")}
    return f" ({said[outcome.budget.unit]})" if outcome.budget.unit in said else ""


def headline(outcomes: Iterable[Outcome]) -> str:
    """The figures that decide whether this is worth having, in one line each."""
    return "\n".join(
        f"- {each.budget.headline}: {with_unit(each.value, each.budget.unit)}"
        f" (goal {each.budget.goal}): {each.verdict.value}"
        for each in outcomes
        if each.budget.headline
    )


def surroundings_of(results: Results) -> str:
    """Machine, versions and date in a sentence; parts that were measured elsewhere or otherwise are named."""
    parts = list(results.values())
    last = max(parts, key=lambda part: part.surroundings.date)
    s = last.surroundings
    versions = ", ".join(f"{name} {version}" for name, version in s.versions.items())
    said = (
        f"{s.date[:10]}, commit {s.commit}{', quick run' * last.quick}; {s.machine['cores']} cores"
        f" ({s.machine['model']}), {s.machine['memory GiB']} GiB, Linux {s.machine['kernel']}; {s.services};"
        f" {versions}."
    )
    others = [
        f"{p.benchmark} is of {p.surroundings.date[:16]}, commit {p.surroundings.commit}{', quick' * p.quick}"
        for p in parts
        if (p.surroundings.commit, p.quick) != (s.commit, last.quick)
    ]
    return " ".join([said, *(f"{each}." for each in others)])


def whole(results: Results) -> str:
    """All of bench.md."""
    outcomes = judge(all_trials(results))
    sections = ["# Measured beside its rivals", surroundings_of(results), headline(outcomes)]
    sections += ["## Budgets", budgets_table(outcomes), _how(outcomes)]
    for part in results.values():
        about = ABOUT.get(part.benchmark, "")
        sections += [f"## {part.benchmark.capitalize()}", about, _circumstances(part), *tables_of(part)]
    sections += ["## Every trial", *(_every_trial(part) for part in results.values())]
    return "\n\n".join(filter(None, sections)) + "\n"


def _how(outcomes: Iterable[Outcome]) -> str:
    return "How each is computed:\n\n" + "\n".join(f"- {each.budget.what}: {each.budget.how}." for each in outcomes)


def _circumstances(part: Part) -> str:
    calibration = ", ".join(f"{name}: {number(value)}" for name, value in part.surroundings.calibration.items())
    said = (
        f"Took {part.took:.0f} s; load before: {part.load_before:g}; processor time that the hypervisor gave away:"
        f" {part.stolen:g} %. Before: {calibration}."
    )
    return f"**Failed: {part.error}.** {said}" if part.error else said


def _every_trial(part: Part) -> str:
    lines = [
        f"{with_its_unit(metric, trials)}, {system}: {' '.join(number(each.value) for each in trials)}"
        for metric, of_metric in by_metric(part.trials).items()
        for system, trials in by_system(of_metric).items()
    ]
    return "\n".join(["```", *lines, "```"]) if lines else ""


def into_readme(readme: str, results: Results, picture: str | None) -> str:
    """The README's text with the picture, the budgets and the machine between its two marks."""
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"the README has no place for the benchmark: {BEGIN} and {END}")
    parts = [
        f"![The gap after kill -9 of a worker, every trial: ours beside consumer groups]({picture})"
        if picture
        else "",
        budgets_table(judge(all_trials(results))),
        f"Written by `make bench`. {surroundings_of(results)} All on one machine; ours and the rivals in turns.",
    ]
    section = "\n\n".join(filter(None, parts))
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{section}\n{END}", readme, count=1, flags=re.DOTALL)

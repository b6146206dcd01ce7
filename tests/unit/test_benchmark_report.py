"""What the benchmarks write, from invented trials: tables, ratios, the README's part, the file with every trial."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.budgets import BUDGETS
from tests.benchmarks.etcd_load import WRITE, WRITES
from tests.benchmarks.pictures import _growing, draw
from tests.benchmarks.results import Part, Results, all_trials, load, save
from tests.benchmarks.surroundings import WRITE_MS, Surroundings
from tests.benchmarks.trials import Trial

SURROUNDINGS = Surroundings(
    date="2031-05-01T10:00:00+00:00",
    commit="abc1234567",
    services="local processes: Kafka 9.9, etcd 8.8 x 3",
    versions={"python": "3.99.0"},
    machine={"cores": 2, "model": "Some Processor", "memory GiB": 24.0, "kernel": "7.7"},
    calibration={"a million additions, ms": 30.0},
)


def gaps(system: str, *values: float, **facts: float) -> list[Trial]:
    return [Trial("failover", system, "gap", value, "ms", dict(facts)) for value in values]


def part(*trials: Trial, benchmark: str = "failover", error: str = "") -> Part:
    return Part(benchmark, False, 12.3, error, 0.5, 0.0, SURROUNDINGS, trials)


def failover(error: str = "") -> Results:
    ours = gaps("ours, 3 etcd members, standby on another host", 10, 12, 14, 11, 13, replayed=40, lost=0)
    ours[3].facts.update(lost=1, replayed=4000)
    rivals = gaps("group, classic range, 6 s", 6100, 6500, 6000)
    rivals[0].facts["replayed"] = "all"
    writes = [Trial("failover", WRITES, WRITE, value, "ms") for value in (1.5, 1.4, 1.6, 9.9, 1.5)]
    return {"failover": part(*ours, *rivals, *writes, error=error)}


def row(text: str, begin: str) -> list[str]:
    """The cells of the only row of a table that begins so."""
    (found,) = (line for line in text.splitlines() if line.startswith(f"| {begin}"))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_row_tells_quantiles_spread_and_the_ratio_to_ours() -> None:
    """The rival's median is divided by ours; of what was noted beside it, one loss in five trials is not hidden."""
    (table, facts, _writes) = report.tables_of(failover()["failover"])
    assert row(table, "ours")[1:] == ["5", "12.0", "14.0", "-", "14.0", "17 %", "1.00", "8.00"]
    assert row(table, "group")[1:] == ["3", "6,100", "-", "-", "6,500", "-", "508", "4,070"]
    assert row(facts, "beside it") == ["beside it", "replayed, median", "lost, most"]
    assert row(facts, "ours")[1:] == ["40", "1"]
    assert row(facts, "group")[1:] == ["all", "-"]


def test_a_rival_is_compared_with_the_one_of_ours_that_does_the_same() -> None:
    """By the end of its name; others, and ours among themselves, with the first of ours."""
    several = [*gaps("ours, per record", 10.0), *gaps("ours, by batch", 20.0)]
    (table,) = report.tables_of(part(*several, *gaps("bare loop, by batch", 40.0), *gaps("default poll()", 5.0)))
    assert [row(table, name)[-1] for name in ("ours, by", "bare loop", "default")] == ["2.00", "2.00", "0.500"]


@pytest.mark.parametrize(
    ("metric", "unit", "shown"), [("gap", "ms", True), ("uss", "MiB", False), ("plan()", "ms", False)]
)
def test_latencies_are_told_in_writes_of_the_calibration_when_none_were_measured_beside_them(
    metric: str, unit: str, shown: bool
) -> None:
    """Nothing else is."""
    calibrated = replace(SURROUNDINGS, calibration={WRITE_MS: 2.0})
    of_ours = replace(part(Trial("failover", "ours", metric, 12.0, unit)), surroundings=calibrated)
    (table,) = report.tables_of(of_ours)
    assert row(table, "ours")[-1] == ("6.00" if shown else "1.00")


def test_without_ours_there_is_no_ratio() -> None:
    """A table of rivals alone compares with nobody."""
    (table,) = report.tables_of(part(*gaps("group, classic range, 6 s", 6000.0)))
    assert row(table, "group")[-1] == "-"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1234567, "1,230,000")],
)
def test_numbers_have_three_digits_that_count(value: float, shown: str) -> None:
    """Neither noise after the comma nor rounding away of what is small."""
    assert report.number(value) == shown


def test_small_ratios_are_parts_of_one() -> None:
    """One four-hundredth is easier to read than 0.0025."""
    assert report.ratio(0.0025) == "1/400"
    assert report.ratio(0.93) == "0.930"
    assert report.ratio(math.nan) == "-"


def test_the_whole_report_has_every_budget_every_trial_and_what_failed() -> None:
    """A reader finds what was not measured, what failed and why, and each single value."""
    text = report.whole(failover(error="TimeoutError: nobody came"))
    for budget in BUDGETS:
        assert row(text, f"{budget.what} |")
    assert row(text, "a worker is killed: gap, p50 |")[1:] == ["<= 10 writes", "8.00 writes (12.0 ms)", "5", "met"]
    assert row(text, "a worker is killed: gap beside")[2:] == ["1/508", "5", "**too few trials**"]
    assert row(text, "64 idle standbys |")[2:] == ["-", "-", "**not measured**"]
    assert "**Failed: TimeoutError: nobody came.**" in text
    assert "10.0 12.0 14.0 11.0 13.0" in text
    assert "3.99.0" in text


def test_a_part_of_another_commit_is_named() -> None:
    """Figures that do not belong to the same run are not passed off as one."""
    earlier = replace(SURROUNDINGS, commit="fff0000000", date="2031-04-01T10:00:00+00:00")
    results = failover() | {"moves": replace(part(benchmark="moves"), surroundings=earlier)}
    said = report.surroundings_of(results)
    assert "moves is of 2031-04-01T10:00, commit fff0000000" in said
    assert "failover is of" not in said


def test_the_readme_gets_the_budgets_between_its_marks_and_nothing_else_changes() -> None:
    """Writing twice is the same as writing once."""
    readme = f"# Title\n{report.BEGIN}\nold\n{report.END}\nrest \\1\n"
    once = report.into_readme(readme, failover(), "docs/picture.png")
    assert once.startswith(f"# Title\n{report.BEGIN}\n")
    assert once.endswith(f"{report.END}\nrest \\1\n")
    assert "old" not in once
    assert "1/508" in row(once, "a worker is killed: gap beside")[2]
    assert "](docs/picture.png)" in once
    assert report.into_readme(once, failover(), "docs/picture.png") == once
    assert "![" not in report.into_readme(once, failover(), None)


def test_a_readme_without_marks_is_refused() -> None:
    """Nothing is written to a place that nobody chose."""
    with pytest.raises(ValueError, match="no place"):
        report.into_readme("# Title", failover(), None)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Every trial with its facts, and what surrounded it."""
    results = failover(error="half")
    save(results, tmp_path / "bench.json")
    assert load(tmp_path / "bench.json") == results
    assert len(all_trials(results)) == 13


@pytest.mark.parametrize("content", ["[]", '{"v": 0}', "{"])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    """Another format is an error, not an empty result."""
    (tmp_path / "bench.json").write_text(content)
    with pytest.raises(ValueError):  # noqa: PT011  # of json's own kind for the last
        load(tmp_path / "bench.json")


def test_a_picture_is_drawn_for_what_was_measured_and_for_nothing_else(tmp_path: Path) -> None:
    """The gap's picture is a PNG; without trials of moves there is none of moves."""
    (drawn,) = draw(failover(), tmp_path)
    assert drawn == tmp_path / "benchmark-gap.png"
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_growth_is_drawn_over_what_grows(tmp_path: Path) -> None:
    """Sizes are facts; a single size is no growth."""

    def grown(partitions: int, hosts: int) -> Trial:
        return Trial("growth", "ours", "gap", partitions / 10, "ms", {"partitions": partitions, "hosts": hosts})

    assert draw({"growth": part(grown(4, 2), grown(4, 2), benchmark="growth")}, tmp_path) == []
    both = part(grown(4, 2), grown(64, 2), grown(64, 1), grown(64, 8), benchmark="growth")
    assert draw({"growth": both}, tmp_path) == [tmp_path / "benchmark-growth.png"]


def test_of_two_rows_with_as_many_sizes_the_one_with_more_trials_is_drawn() -> None:
    """Some costs are measured alone, on one host, in sizes of their own: they do not say what a cluster costs."""
    alone = [Trial("growth", "", "reading", 1.0, "ms", {"partitions": n, "hosts": 1}) for n in (100, 1000)]
    whole = [Trial("growth", "", "gap", 1.0, "ms", {"partitions": n, "hosts": 2}) for n in (4, 4, 64)]
    for trials in (alone + whole, whole + alone):
        assert _growing(trials, "partitions", "hosts") == ("partitions", "2 hosts", whole)

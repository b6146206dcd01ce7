"""The results as pictures for the README and the documents: every trial a dot, ours in colour, the rivals in grey."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.benchmarks.report import Groups, by_system, with_its_unit
from tests.benchmarks.results import Results, all_trials
from tests.benchmarks.trials import Trial, median

OURS, RIVAL, INK, FAINT = "#1b6ca8", "#767c82", "#24292f", "#d8dee4"

mpl.use("Agg")
mpl.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9.0,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


Write = Callable[[float], str]
"""A value with its unit."""


def in_time(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.2g} ms"


def as_rate(value: float) -> str:
    return f"{value / 1e6:.3g} M/s" if value >= 1e6 else f"{value / 1e3:.3g} k/s"


@dataclass(frozen=True, slots=True)
class Strips:
    """A picture with a row for each system."""

    name: str
    benchmark: str
    metric: str
    title: str
    write: Write = in_time
    logarithmic: bool = True


STRIPS = (
    Strips("gap", "failover", "gap", "A worker is killed with kill -9: how long its partition stands still"),
    Strips("losses", "losses", "gap", "Something else is lost or paused: how long a partition stands still"),
    Strips("moves", "moves", "gap, moved", "A partition is moved on purpose: how long it stands still"),
    Strips("throughput", "throughput", "records/s", "Records a second, of all processes together", as_rate, False),
)


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what the results have trials for; the files."""
    trials = all_trials(results)
    drawn = []
    for each in STRIPS:
        groups = by_system(t for t in trials if (t.benchmark, t.metric) == (each.benchmark, each.metric))
        if groups:
            drawn.append(_save(strips(each, groups), folder / f"benchmark-{each.name}.png"))
    if grown := growth([t for t in trials if t.benchmark == "growth"]):
        drawn.append(_save(grown, folder / "benchmark-growth.png"))
    return drawn


def strips(picture: Strips, groups: Groups) -> Figure:
    """Each trial a dot, and the median with its figure; from the least to the most."""
    rows = sorted(groups.items(), key=lambda row: median(t.value for t in row[1]))
    figure = Figure(figsize=(8.2, 0.95 + 0.34 * len(rows)), dpi=150, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    scatter = Random(7)  # dots of one row are moved apart a little, the same way each time
    for height, (system, trials) in enumerate(rows):
        values = [t.value for t in trials]
        colour = OURS if system.startswith("ours") else RIVAL
        heights = [height + scatter.uniform(-0.2, 0.2) for _ in values]
        axes.scatter(values, heights, s=9, color=colour, alpha=0.55, linewidths=0)
        middle = median(values)
        axes.plot([middle, middle], [height - 0.32, height + 0.32], color=colour, linewidth=2.2)
        axes.annotate(
            picture.write(middle), (max(values), height), xytext=(7, 0), textcoords="offset points", va="center",
            color=colour, fontweight="bold", fontsize=8.5,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [system for system, _ in rows])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    _scale(axes, picture, [t.value for _, trials in rows for t in trials])
    _restrain(axes, "x")
    figure.suptitle(picture.title, x=0.008, ha="left", fontsize=10.5, fontweight="bold")
    _note(axes, "each dot a trial, bar and figure the median" + "; logarithmic" * picture.logarithmic)
    return figure


def growth(trials: Sequence[Trial]) -> Figure | None:
    """A row of panels over partitions and one over hosts, a panel for each metric; None when nothing grows.

    The sizes are facts of the trials. While one of them grows, the other is what it was most often.
    """
    rows = [grown for size, other in (("partitions", "hosts"), ("hosts", "partitions"))
            if (grown := _growing(trials, size, other))]  # fmt: skip
    metrics = list(dict.fromkeys(t.metric for _, _, found in rows for t in found))
    if not metrics:
        return None
    figure = Figure(figsize=(2.35 * len(metrics) + 0.3, 2.2 * len(rows) + 0.5), dpi=150, facecolor="white",
                    layout="constrained")  # fmt: skip
    panels = figure.subplots(len(rows), len(metrics), squeeze=False)
    for line, (size, beside, found) in enumerate(rows):
        for column, metric in enumerate(metrics):
            _panel(panels[line][column], [t for t in found if t.metric == metric], size, beside)
    figure.suptitle("What grows with partitions and hosts", x=0.008, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def _growing(trials: Sequence[Trial], size: str, other: str) -> tuple[str, str, list[Trial]] | None:
    """The size that grows, the other in words, and the trials of it."""
    sized = [t for t in trials if size in t.facts and other in t.facts]
    if not sized:
        return None
    steps = {
        each: len({t.facts[size] for t in sized if t.facts[other] == each})
        for each in {t.facts[other] for t in sized}
    }
    often = Counter(t.facts[other] for t in sized)
    usual = max(steps, key=lambda each: (steps[each], often[each]))
    found = [t for t in sized if t.facts[other] == usual]
    return (size, f"{usual} {other}", found) if steps[usual] > 1 else None


def _panel(axes: Axes, trials: Sequence[Trial], size: str, beside: str) -> None:
    """Each trial a dot, a line through the medians; from zero, so that a slope is seen as what it is."""
    at: dict[float, list[float]] = {}
    for trial in trials:
        at.setdefault(float(trial.facts[size]), []).append(trial.value)
    places = sorted(at)
    for place in places:
        axes.scatter([place] * len(at[place]), at[place], s=8, color=OURS, alpha=0.45, linewidths=0)
    axes.plot(places, [median(at[place]) for place in places], color=OURS, linewidth=1.5)
    axes.set_ylim(0, 1.1 * max((t.value for t in trials), default=1.0) or 1.0)
    axes.set_xlim(0, 1.06 * max(places, default=1.0))
    readable = _apart(places)
    axes.set_xticks(readable, [f"{place:g}" for place in readable])
    if trials:
        axes.set_title(with_its_unit(trials[0].metric, trials), fontsize=8.5, loc="left")
    _note(axes, f"{size}, {beside}")
    _restrain(axes, "y")


def _apart(places: Sequence[float]) -> list[float]:
    """Those of the places whose figures do not touch, the largest first."""
    kept: list[float] = []
    for place in sorted(places, reverse=True):
        if not kept or kept[-1] - place > 0.08 * kept[0]:
            kept.append(place)
    return kept


def _scale(axes: Axes, picture: Strips, values: list[float]) -> None:
    """From a whole power of ten, or from zero; with room at the right for the last figure."""
    if picture.logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(10.0 ** math.floor(math.log10(max(min(values), 0.1) / 1.1)), max(values) * 3.4)
    else:
        axes.set_xlim(0, max(values) * 1.15)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: picture.write(value) if value else "0"))


def _note(axes: Axes, words: str) -> None:
    axes.set_xlabel(words, loc="right", color=RIVAL, fontsize=8)


def _restrain(axes: Axes, lines: Literal["x", "y", "both"]) -> None:
    """No frame, no ticks, faint lines behind the data."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, which="both")
    axes.grid(visible=True, axis=lines, color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Software": ""})
    return path

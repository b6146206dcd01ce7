"""How long each command that reads takes to answer, as a person waits for it, on a recorded group.

`python -m tests.benchmarks commands`. Each call is a process of its own, imports included.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from partition_supervisor.commands.output import OUTPUTS
from tests.benchmarks.recorded import Recorded
from tests.commands import environment

#: Seconds that a person waits gladly.
GOAL = 1.0

#: Without a group.
ALONE = (
    ("--help",),
    ("--version",),
    ("status", "--help"),
    ("run", "--help"),
    ("config", "show"),
    ("completion", "bash"),
)
#: Those that have every form.
FORMS = (("status",), ("topology",), ("history",), ("offsets", "show"), ("check",))
#: Others that read the group.
OTHERS = (
    ("list",),
    ("status", "--check"),
    ("history", "--last", "20"),
    ("history", "{topic}[7]"),
    ("offsets", "reset", "--topic", "{topic}", "--to-latest"),
    ("offsets", "forget"),
    ("resume", "{topic}[7]"),
)


@dataclass(frozen=True, slots=True)
class Answered:
    """Seconds of each call, of the processor too, and how many bytes it printed."""

    call: tuple[str, ...]
    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    printed: int
    code: int


def measured(group: Recorded, addresses: dict[str, str], rounds: int) -> Iterator[Answered]:
    """Each call so many times, in turns with the others. Raises RuntimeError for one that fails."""
    env = environment({**addresses, "PARTITION_SUPERVISOR_GROUP": group.group})
    calls = [*ALONE, *((*each, "-o", form) for each in FORMS for form in OUTPUTS), *OTHERS]
    times: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for call in calls:
            words = [each.format(topic=group.topic) for each in call]
            begun, used = time.perf_counter(), _processor()
            done = subprocess.run(
                [sys.executable, "-m", "partition_supervisor", *words], capture_output=True, env=env, check=False
            )
            times.setdefault(call, []).append((time.perf_counter() - begun, _processor() - used))
            if done.returncode not in (0, 3):
                raise RuntimeError(f"{' '.join(words)}: {done.returncode}: {done.stderr.decode()}")
            if len(times[call]) == rounds:
                seconds, processor = zip(*times[call], strict=True)
                yield Answered(call, seconds, processor, len(done.stdout), done.returncode)


def _processor() -> float:
    """Seconds that processes have used which were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(found: list[Answered], say: Callable[[str], None]) -> None:
    say("| command | median | longest | processor | printed |  |")
    say("| --- | ---: | ---: | ---: | ---: | --- |")
    for each in found:
        middle, longest = statistics.median(each.seconds), max(each.seconds)
        verdict = "" if middle <= GOAL else f"**more than {GOAL:g} s**"
        call = " ".join(each.call).format(topic="events")
        times = f"{middle:.2f} s | {longest:.2f} s | {statistics.median(each.processor):.2f} s"
        say(f"| `{call}` | {times} | {each.printed:,} B | {verdict} |")

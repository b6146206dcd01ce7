"""Where the time of a takeover goes: the steps of all processes on one axis.

Each trial is a fault or a move, seen through the marks of `marking.py`; the table has the median moment of each step
over all trials, counted from the kill, or from the last record that the old owner handled. Only the first time that a
process takes a step counts. Marks cost some microseconds each; the gap stands in the last line.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from contextlib import ExitStack

from partition_supervisor.admin.control_keys import Orders
from partition_supervisor.cluster.retry import RetryingStore
from tests.benchmarks import marking
from tests.benchmarks.feeding import Feeding
from tests.benchmarks.ours import Ours, fresh_topic
from tests.benchmarks.probe import Takeover, handover
from tests.benchmarks.trials import Bench, median, quantile

#: Records a second in each partition.
RATE = 500.0
#: Milliseconds around the zero that are of interest.
BEFORE, AFTER = 20.0, 150.0

#: By who does it and what it is: when, in each trial (milliseconds from the zero).
Steps = dict[tuple[str, str], list[float]]


class Timeline:
    def __init__(self, stack: ExitStack, bench: Bench) -> None:
        feeding = stack.enter_context(Feeding(bench.bootstrap_servers))
        self._ours = stack.enter_context(
            Ours(
                "timeline", bench.bootstrap_servers, bench.etcd_endpoints, feeding,
                fresh_topic(bench.bootstrap_servers), options=("--rebalance-delay", "0.2"),
                handler=f"{marking.__name__}:handle", module=marking.__name__,
            )
        )  # fmt: skip
        self._orders = Orders(RetryingStore(self._ours.cluster.store, 10.0, "etcd"), self._ours.cluster.keys)
        self._steps: Steps = defaultdict(list)
        self._gaps: list[float] = []
        self._ours.wait_until_complete()
        self._ours.feed(RATE)
        self._ours.wait_until_read()

    def move(self) -> None:
        lock, _ = self._ours.owners()[0]
        to = "b" if lock.host == "a" else "a"
        self._ours.probe.forget()
        start = time.monotonic_ns()
        self._orders.move(self._ours.partition(0), to)
        time.sleep(0.6)  # whoever looks now takes the processor from those who are measured
        self._ours.probe.await_takeover("timeline", 0, start, lock.pid, 20.0)
        found = handover(self._ours.probe.look(), 0, lock.pid)
        assert found is not None
        self._note(found, lock.pid)

    def kill(self) -> None:
        lock, _ = self._ours.owners()[0]
        self._ours.probe.forget()
        at = time.monotonic_ns()
        os.kill(lock.pid, signal.SIGKILL)
        time.sleep(0.4)  # as above
        self._note(self._ours.probe.await_takeover("timeline", 0, at, lock.pid, 20.0), lock.pid)

    def rest(self) -> None:
        self._ours.wait_until_complete()
        time.sleep(random.uniform(0.3, 0.8))  # the random moment

    def _note(self, found: Takeover, before: int) -> None:
        zero = found.first_at - int(found.gap * 1e6)
        self._gaps.append(found.gap)
        who = {before: "old owner", found.to: "new owner"}
        who |= {host.pid: f"supervisor {name}" for name, host in self._ours.cluster.hosts.items()}
        for path in self._ours.probe.folder.glob("*.marks"):
            if name := who.get(int(path.stem)):
                taken: set[str] = set()
                for line in path.read_text().splitlines():
                    at, _, step = line.partition(" ")
                    since = (int(at) - zero) / 1e6
                    if -BEFORE < since < AFTER and step not in taken:
                        taken.add(step)
                        self._steps[name, step].append(since)

    def table(self) -> str:
        rows = sorted((median(moments), len(moments), *step) for step, moments in self._steps.items())
        lines = [f"{at:8.1f}  {count:4d}  {who:14s} {step}" for at, count, who, step in rows]
        p50, p90 = median(self._gaps), quantile(self._gaps, 0.9)
        return "\n".join(
            ["  median  seen  who            does what", *lines,
             f"gap of {len(self._gaps)} trials: p50 {p50:.1f}, p90 {p90:.1f}, longest {max(self._gaps):.1f} ms"]
        )  # fmt: skip


def draw(bench: Bench, fault: str, count: int) -> str:
    with ExitStack() as stack:
        timeline = Timeline(stack, bench)
        for _ in range(count):
            timeline.rest()
            timeline.kill() if fault == "kill" else timeline.move()
        return timeline.table()

"""One fault of an owner, its host or its supervisor, at a random moment, and the gaps that follow."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial

import click

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.demo.judge import Gap, wait_for
from partition_workers.layout.documents import Lock
from partition_workers.model import Partition

#: Of ten faults: an owner killed; an owner stopped, for longer than its lease; a host; a supervisor.
FAULTS = ["owner"] * 7 + ["pause", "host", "supervisor"]
#: Seconds for which an owner is stopped.
PAUSE = 12.0


@dataclass(frozen=True, slots=True)
class Struck:
    """What followed a fault."""

    fault: str
    at: float
    """time.time()"""
    gaps: list[Gap]
    owners: dict[Partition, Lock]
    """Before it."""


def strike(cluster: DemoCluster, fault: str) -> Struck:
    """Do it, and wait until everything goes on."""
    owners, tokens = cluster.judge.owners_and_tokens()
    partition, owner = random.choice(sorted(owners.items()))
    host = cluster.hosts[owner.host]
    concerned = [partition] if fault in ("owner", "pause") else [p for p, o in owners.items() if o.host == owner.host]
    at = time.time()
    if fault == "owner":
        os.kill(owner.pid, signal.SIGKILL)
    elif fault == "pause":
        os.kill(owner.pid, signal.SIGSTOP)
        threading.Timer(PAUSE, partial(_continue, owner.pid)).start()
    elif fault == "host":
        host.kill()
    else:
        host.kill_supervisor()
    time.sleep(0.5)  # whoever asks etcd now delays those who have to
    gaps = [await_gap(cluster, each, tokens[each], at) for each in concerned]
    if fault in ("host", "supervisor"):
        wait_for("nothing is left of the host", lambda: not host.processes(), 15.0)
        host.start()
    return Struck(fault, at, gaps, owners)


def await_gap(cluster: DemoCluster, partition: Partition, token: int, at: float) -> Gap:
    """Of the next ownership after `token` that has handled a record. Raises TimeoutError."""
    found: list[Gap | None] = []

    def goes_on() -> bool:
        found.append(cluster.judge.gap(partition, token, at))
        return found[-1] is not None

    wait_for(f"{partition} goes on", goes_on, 60.0)
    gap = found[-1]
    assert gap is not None
    return gap


def show(name: str, values: list[float]) -> None:
    """In a line."""
    ordered = sorted(values)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
    click.echo(f"{name}: {len(ordered)} trials, p50 {p50:.1f}  p99 {p99:.1f}  max {ordered[-1]:.1f} ms")


def show_gaps(struck: list[Struck]) -> None:
    """By fault and phase."""
    for fault in dict.fromkeys(each.fault for each in struck):
        gaps = [gap.phases for each in struck if each.fault == fault for gap in each.gaps]
        for phase in dict.fromkeys(name for phases in gaps for name in phases):
            show(f"{fault} -> {phase}", [phases[phase] for phases in gaps if phase in phases])


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # its supervisor has ended it
        os.kill(pid, signal.SIGCONT)

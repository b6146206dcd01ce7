"""Is this host fit for it: descriptors, processes, and a handler that can be imported."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from partition_supervisor.admin.check.findings import Finding, not_ok, ok, warning

#: A supervisor needs so many descriptors for each worker, and so many besides.
DESCRIPTORS_EACH, DESCRIPTORS_BESIDES = 6, 100
#: A worker has so many threads: its own, librdkafka's, gRPC's.
THREADS_EACH = 24
#: Seconds for the import of a handler. Large libraries take some.
IMPORT_PATIENCE = 120.0


def settings(refused: str) -> Finding:
    """`refused`: why `run` would not start with them; empty: it would."""
    if refused:
        fix = "`run` ends with 78 on it; partition-supervisor config show says where each setting comes from"
        return not_ok("settings", refused, fix)
    return ok("settings", "`run` takes them as they are")


def limits(workers: int, descriptors: int, processes: int | None, cores: int) -> Iterator[Finding]:
    """`descriptors`: the hard limit; `processes`: threads included, None: no limit is known."""
    needed = workers * DESCRIPTORS_EACH + DESCRIPTORS_BESIDES
    words = f"{workers} workers need {needed:,} descriptors, the limit is {descriptors:,}"
    if descriptors < needed:
        yield not_ok("host.descriptors", words, "raise it: LimitNOFILE of the unit, `ulimit -Hn`, or the container's")
    else:
        yield ok("host.descriptors", words)
    if processes is not None:
        needed = workers * THREADS_EACH
        words = f"{workers} workers have some {needed:,} threads, the limit is {processes:,}"
        if processes < needed:
            yield not_ok(
                "host.processes", words, "raise it: TasksMax of the unit, `ulimit -u`, or pids of the container"
            )
        else:
            yield ok("host.processes", words)
    if workers > 16 * cores:
        yield warning(
            "host.workers", f"{workers} workers on {cores} cores", "see --workers: more than 16 for each core"
        )


def descriptors() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def processes() -> int | None:
    """The smaller of the user's limit and the control group's; root has no limit of its own."""
    found = []
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if hard != resource.RLIM_INFINITY and os.geteuid() != 0:
        found.append(hard)
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        groups = ""
    for path in places_of_limits(groups):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return min(found, default=None)


def places_of_limits(groups: str) -> list[Path]:
    """Where the limits of our control group and of those above it stand. `groups`: /proc/self/cgroup, whose lines are
    NUMBER:CONTROLLERS:PATH; of the second version there is one, without controllers."""
    places = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        root = {"": Path("/sys/fs/cgroup"), "pids": Path("/sys/fs/cgroup/pids")}.get(controllers)
        if root is not None:
            group = root / path.lstrip("/")
            places += [each / "pids.max" for each in (group, *group.parents) if each.is_relative_to(root)]
    return places


def handler(name: str) -> Finding:
    """Import it as a worker would, in a process of its own: it may hang, or end the process."""
    program = (
        "import sys; from partition_workers.errors import Misconfigured; from partition_workers.handler import load\n"
        "try: load(sys.argv[1])\n"
        "except Misconfigured as error: print(error); sys.exit(78)"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, name],
            capture_output=True, text=True, timeout=IMPORT_PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return not_ok("handler", f"importing {name} takes longer than {IMPORT_PATIENCE:g} s",
                      "do not connect to anything at the top of its module: do so in open()")  # fmt: skip
    if done.returncode == 78:
        return not_ok("handler", done.stdout.strip().splitlines()[-1], "mend it; nothing starts without it")
    if done.returncode:
        last = "".join(done.stderr.strip().splitlines()[-1:]) or "it wrote nothing"
        return not_ok("handler", f"importing {name} ends the process with {done.returncode}: {last}", "mend it")
    return ok("handler", f"{name} can be imported")

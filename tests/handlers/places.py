"""Places in a worker's code: when they were passed, and where a test has whoever comes first killed or stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

#: A folder. In the file PLACE is the name of the signal that whoever comes there first gets; empty: SIGKILL. "hang":
#: none, its thread stays there. Of who was stopped there, the file is called PLACE.PID from then on.
FOLDER = os.environ.get("PLACES", "")
#: A folder, in which the file PID gets a line for each place that was passed: time.time(), and which.
TIMES = os.environ.get("PLACE_TIMES", "")


def reached(place: str) -> None:
    """To be called where the place is."""
    if TIMES:
        with (Path(TIMES) / str(os.getpid())).open("a") as file:
            file.write(f"{time.time()} {place}\n")
    if FOLDER:
        taken = Path(FOLDER) / f"{place}.{os.getpid()}"
        try:
            (Path(FOLDER) / place).rename(taken)
        except OSError:
            return  # nobody waits here, or somebody else was first
        name = taken.read_text() or "SIGKILL"
        while name == "hang":
            time.sleep(3600)
        if name == "SIGKILL":
            taken.unlink()
        os.kill(os.getpid(), signal.Signals[name])


def passed(times: Path, pid: int, since: float) -> list[tuple[float, str]]:
    """Milliseconds since `since` (time.time()), and the place, by one process."""
    try:
        lines = (times / str(pid)).read_text().splitlines()
    except OSError:
        return []
    found = [(float(at), place) for at, _, place in (line.partition(" ") for line in lines)]
    return [((at - since) * 1000, place) for at, place in found if at >= since]

"""`python -m tests.busy [--runs 5] [pytest's arguments]`: tests while every processor has something else to do.

What a test says must not depend on how busy the machine is. So unit and contract tests, or what pytest is told, run
again and again beside a loop on every processor, and every one of these runs has to be green.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
from multiprocessing.process import BaseProcess

WHAT = ["tests/unit", "tests/contract", "-q"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.busy", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="how often (default 5)")
    parser.add_argument("--loops", type=int, default=1, metavar="N", help="busy loops for each processor (default 1)")
    arguments, given = parser.parse_known_args()
    loops = start(arguments.loops * (os.cpu_count() or 1))
    try:
        for run in range(1, arguments.runs + 1):
            print(f"run {run} of {arguments.runs}, beside {len(loops)} busy loops", flush=True)
            if code := subprocess.call([sys.executable, "-m", "pytest", *(given or WHAT)]):
                return code
    finally:
        for each in loops:
            each.kill()
    return 0


def start(number: int) -> list[BaseProcess]:
    """So many busy loops. Each ends with the process that started it, however that ends."""
    context = multiprocessing.get_context("spawn")
    loops: list[BaseProcess] = [
        context.Process(target=_turn, args=(os.getpid(),), daemon=True) for _ in range(number)
    ]
    for each in loops:
        each.start()
    return loops


def _turn(parent: int) -> None:
    while os.getppid() == parent:
        pass


if __name__ == "__main__":
    raise SystemExit(main())

"""The first line of a restarted process, for every supervisor that is measured, told over a named pipe.

As a program it is the child of supervisord and of circus. For gunicorn it is the configuration (`post_fork`) and the
application. For ours, `collecting.py` calls `tell` in each forked process. It imports what is there anyway: whoever
starts an interpreter for each child shall not also pay for our imports.
"""

import os
import signal
import sys
import time

PIPE = "PARTITION_SUPERVISOR_BENCH_PIPE"


def tell(what: str) -> None:
    """A line: what, our pid, now (CLOCK_MONOTONIC, seconds). Lost when nobody reads."""
    line = f"{what} {os.getpid()} {time.monotonic():.6f}\n"
    try:
        pipe = os.open(os.environ[PIPE], os.O_WRONLY | os.O_NONBLOCK)
    except (KeyError, OSError):
        return
    try:
        os.write(pipe, line.encode())
    except BlockingIOError:
        pass  # full: nobody reads, which is no reason for a handler to fail
    finally:
        os.close(pipe)


def post_fork(_server: object, _worker: object) -> None:
    """Called by gunicorn in each new worker, before anything else there."""
    tell("born")


def app(_environment: object, start_response: object) -> list[bytes]:
    """Never called: nobody connects."""
    assert callable(start_response)
    start_response("200 OK", [])
    return []


if __name__ == "__main__":
    tell("born")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent = os.getppid()
    while os.getppid() == parent:  # circus gives it a session of its own, in which nobody ends it
        time.sleep(1.0)

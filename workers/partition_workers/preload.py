"""Imported by the forkserver, once: whatever is imported here is shared by all workers, at no cost to each.

That includes what others import at first use. Such an import in each worker costs milliseconds before it is ready
and memory of its own: `make bench` would show it.

The garbage collector is told to leave everything alone that exists by now, because looking at an object writes to
its page and ends the sharing.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing.popen_forkserver
import multiprocessing.queues
import multiprocessing.synchronize  # noqa: F401  (these three: for the queue of a worker's log)
import os
import signal

import partition_workers.process  # noqa: F401  (everything that a worker needs)
from partition_workers.allocator import allow_an_arena_for_each_thread
from partition_workers.ending import flush_standard_streams
from partition_workers.errors import Misconfigured
from partition_workers.handler import ENVIRONMENT, PRELOAD, load
from partition_workers.protocol import FOR_THE_SUPERVISOR

for _number in FOR_THE_SUPERVISOR:
    signal.signal(_number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_SUPERVISOR)  # until here they were blocked
for _name, _value in json.loads(os.environ.pop(ENVIRONMENT, "{}")).items():
    # What the handler starts is the user's, with the user's environment.
    if _value is None:
        os.environ.pop(_name, None)
    else:
        os.environ[_name] = _value
allow_an_arena_for_each_thread()
if name := os.environ.get(PRELOAD):
    with contextlib.suppress(Misconfigured):  # remembered, and told to whoever asks for the handler
        load(name)
    flush_standard_streams()  # what was printed at the import is printed once, and not by each worker again
    gc.collect()
    gc.freeze()

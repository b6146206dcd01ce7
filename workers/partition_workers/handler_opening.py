"""Opening a handler: its open() is tried again, and watched, as a record is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from partition_workers import log_sender
from partition_workers.errors import HandlerFailed, Lost
from partition_workers.handler import Context, Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.log_events import event
from partition_workers.record_loop import RecordLoop
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Seconds between two attempts: at first, and at the most.
SOON, LONGEST_PAUSE = 0.1, 5.0


def open_handler(
    handler: Handler,
    context: Context,
    max_retries: int,
    loop: RecordLoop,
    interrupt: InterruptFlag,
    stays: Callable[[], bool],
) -> bool:
    """Call open() until it succeeds. False: told to leave meanwhile, as `stays` says once the flag was raised.

    Raises HandlerFailed after `max_retries` more attempts than the first; and Lost, when open() does.
    """
    for attempt, pause in enumerate(delays(SOON, LONGEST_PAUSE), 1):
        loop.heartbeat()  # each attempt has the time limit for itself
        try:
            handler.open(context)
            log_sender.keep_installed()
            return True
        except Lost:
            raise
        except BaseException as error:
            log_sender.keep_installed()
            said = f"open() raised {type(error).__name__}: {error}"
            if attempt > max_retries:
                raise HandlerFailed(f"{said} ({attempt} attempts)") from error
            log.warning(
                "%s: %s, attempt %d", context.partition, said, attempt, exc_info=error, extra=event("handler-failed")
            )
        with loop.off_the_clock():
            interrupt.wait(pause)
        if interrupt.raised and not stays():
            return False
    raise AssertionError  # the pauses have no end

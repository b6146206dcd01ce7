"""Opening a handler: its open() is tried again, and watched, as a record is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from partition_workers import log_sender
from partition_workers.errors import HandlerFailed, Lost, Unavailable
from partition_workers.handler import Context, Handler
from partition_workers.handler_outage import LONGEST_PAUSE, SAY_EVERY, SOON
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.log_events import event
from partition_workers.record_loop import RecordLoop
from partition_workers.retry import delays

log = logging.getLogger(__name__)


def open_handler(
    handler: Handler,
    context: Context,
    max_retries: int,
    loop: RecordLoop,
    interrupt: InterruptFlag,
    stays: Callable[[], bool],
) -> bool:
    """Call open() until it succeeds. False: told to leave meanwhile, as `stays` says once the flag was raised.

    Raises HandlerFailed after `max_retries` more attempts than the first, of which those are none that found away
    what the handler needs; and Lost, when open() does.
    """
    failures = waits = 0
    for pause in delays(SOON, LONGEST_PAUSE):
        loop.heartbeat()  # each attempt has the time limit for itself
        try:
            handler.open(context)
            return True
        except Lost:
            raise
        except Unavailable as error:
            if waits % SAY_EVERY == 0:
                log.warning("%s: open() waits for what the handler needs: %s", context.partition, error,
                            extra=event("handler-waits"))  # fmt: skip
            waits += 1
        except BaseException as error:
            failures += 1
            said = f"open() raised {type(error).__name__}: {error}"
            if failures > max_retries:
                raise HandlerFailed(f"{said} ({failures} attempts)") from error
            log.warning(
                "%s: %s, attempt %d", context.partition, said, failures, exc_info=error, extra=event("handler-failed")
            )
        finally:
            log_sender.keep_installed()
        with loop.off_the_clock():
            interrupt.wait(pause)
        if interrupt.raised and not stays():
            return False
    raise AssertionError  # the pauses have no end

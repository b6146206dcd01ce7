"""The end of a client that reads, within a limit."""

from __future__ import annotations

import logging
import threading

from confluent_kafka import Consumer

from partition_workers.log_events import event

log = logging.getLogger(__name__)

#: Seconds for it. It takes some milliseconds.
CLOSING = 5.0


def close(consumer: Consumer, whose: object) -> None:
    """librdkafka 2.16 was seen, once, to wait for itself for ever in here: its broker's thread held a lock of the
    partition that it asked for again, at a damaged batch that came while the client ended. Such a one is left behind;
    the process that has it is about to end."""
    closing = threading.Thread(target=consumer.close, name="close", daemon=True)
    try:
        closing.start()
    except RuntimeError:
        return  # there are no more threads, which has ended this process
    closing.join(CLOSING)
    if closing.is_alive():
        log.warning("%s: Kafka's client has not ended within %g s; it is left behind", whose, CLOSING,
                    extra=event("kafka-client-hung"))  # fmt: skip

"""librdkafka's mock cluster, in a process of its own, so that its owner may be killed or forked.

Run as a plain file. The first line it writes is its address.
"""

from __future__ import annotations

import signal


def main() -> None:
    from confluent_kafka import Producer  # here, because the owner imports this module for its path alone

    cluster = Producer({"test.mock.num.brokers": 1, "log_level": 3})
    broker = next(iter(cluster.list_topics(timeout=10.0).brokers.values()))
    print(f"{broker.host}:{broker.port}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()

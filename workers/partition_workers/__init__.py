"""What runs inside a worker process, and what authors of handlers import.

    from partition_workers import Context, Record, State

- `Record`: what a handler gets: `confluent_kafka.Message`, as it came from Kafka.
- `State`: what it keeps: a mapping from text to JSON values, one for each partition.
- `Context`: where, and under which token, it works.

These names, the sample handlers in `partition_workers.samples`, `sinks.sql.SqlSink`, and of `errors` `Stale` and
`Unavailable`, are public: they change only with a note in the changelog. Everything else in this package is
private by agreement, whether its name begins with an underscore or not, and may change with every version.

A worker serves one partition for life: it competes for the partition's lock, reads records, gives them to the
handler, and stores state and offset in one fenced transaction. It knows nothing of `partition_supervisor`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partition_workers.handler import Context
    from partition_workers.kafka.reader import Record
    from partition_workers.state.mapping import State
else:  # at the first use: commands that know no handler do not wait for it, nor for Kafka's client
    _PLACES = {
        "Context": "partition_workers.handler",
        "Record": "partition_workers.kafka.reader",
        "State": "partition_workers.state.mapping",
    }

    def __getattr__(name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_PLACES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = ["Context", "Record", "State"]

"""From a topic into PostgreSQL: how many records each partition has had, and of which total, exactly once.

TOTALS_DSN=dbname=shop partition-supervisor run examples/totals/app.py:Totals --topic payments
"""

from __future__ import annotations

import os
import re

import psycopg

from partition_workers import Context, Record, State
from partition_workers.sinks.sql import SqlSink

NUMBER = re.compile(rb"\d+")
TABLE = "CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, payments BIGINT NOT NULL, amount BIGINT NOT NULL)"
ADD = """
    INSERT INTO totals VALUES (%s, 1, %s)
    ON CONFLICT (name) DO UPDATE SET payments = totals.payments + 1, amount = totals.amount + EXCLUDED.amount
"""


def connect() -> psycopg.Connection:
    return psycopg.connect(os.environ["TOTALS_DSN"], connect_timeout=5)


class Totals:
    def open(self, context: Context) -> int | None:
        self.name = str(context.partition)
        self.sink = SqlSink(connect, context, "totals")
        with self.sink.transaction([]) as batch:
            batch.execute("SELECT pg_advisory_xact_lock(18)")  # or two that make the table at once disturb each other
            batch.execute(TABLE)
        return self.sink.position

    def handle_batch(self, records: list[Record], state: State) -> None:
        with self.sink.transaction(records) as batch:
            for record in batch:
                found = NUMBER.search(record.value() or b"")
                batch.execute(ADD, (self.name, int(found[0]) if found else 0))

    def close(self) -> None:
        self.sink.close()

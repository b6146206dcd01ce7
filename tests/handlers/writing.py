"""A handler that keeps its results in PostgreSQL: the fold of the demo as a row, and each record in a table that
would take it twice."""

from __future__ import annotations

import os
from typing import Any

import psycopg

from partition_supervisor.dev.demo.checking import check
from partition_workers import Context, Record, State
from partition_workers.sinks.sql import SqlSink
from tests.handlers.places import reached

#: Where the database is.
DSN = os.environ.get("WRITE_TO", "")
#: What `check` keeps.
FOLD = ("next", "count", "sum", "lost", "doubled")
#: The name of the position.
NAME = "folded"


def make_tables(dsn: str) -> None:
    """Before anybody writes."""
    with psycopg.connect(dsn) as connection:
        columns = ", ".join(f"{each} BIGINT NOT NULL DEFAULT 0" for each in FOLD)
        connection.execute(f"CREATE TABLE folded (number INTEGER PRIMARY KEY, {columns})")
        connection.execute("CREATE TABLE written (at BIGSERIAL PRIMARY KEY, number INTEGER, record BIGINT)")


class Write:
    def open(self, context: Context) -> int | None:
        self.number = context.partition.number
        self.sink = SqlSink(lambda: psycopg.connect(DSN), context, NAME)
        return self.sink.position

    def handle_batch(self, records: list[Record], state: State) -> None:
        reached("before transaction")
        with self.sink.transaction(records) as batch:
            reached("in transaction")
            fold = self._fold(batch.cursor)
            for record in batch:
                check(record, fold)
            batch.cursor.executemany(
                "INSERT INTO written (number, record) VALUES (%s, %s)",
                [(self.number, int((record.value() or b"").split(b" ", 1)[0])) for record in batch],
            )
            self._keep(batch.cursor, fold)
            reached("written")
        reached("committed")

    def close(self) -> None:
        self.sink.close()

    def _fold(self, cursor: Any) -> dict[str, int]:
        found = cursor.execute(f"SELECT {', '.join(FOLD)} FROM folded WHERE number = %s", (self.number,)).fetchone()
        return dict(zip(FOLD, found or [0] * len(FOLD), strict=True))

    def _keep(self, cursor: Any, fold: dict[str, int]) -> None:
        marks = ", ".join(["%s"] * len(FOLD))
        changes = ", ".join(f"{each} = EXCLUDED.{each}" for each in FOLD)
        cursor.execute(
            f"INSERT INTO folded (number, {', '.join(FOLD)}) VALUES (%s, {marks})"
            f" ON CONFLICT (number) DO UPDATE SET {changes}",
            (self.number, *(fold[each] for each in FOLD)),
        )

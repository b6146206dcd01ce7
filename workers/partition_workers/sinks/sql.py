"""Exactly once into a database: the partition's position is a row beside the results, moved by the same transaction.

    class Totals:
        def open(self, context):
            self.sink = SqlSink(psycopg.connect(DSN), context, "totals")
            return self.sink.position

        def handle_batch(self, records, state):
            with self.sink.transaction(records) as batch:
                for record in batch:
                    batch.execute("INSERT INTO totals ...", (...,))

Why nothing is lost or doubled: the row is locked, and looked at, by the transaction that writes. If it shows a newer
token, another owner is at work, and nothing is written: `Stale`, which ends this ownership. If it shows a position,
what comes before is there already, and is left out. A look in a transaction of its own would let another owner come
in between.

Whose machine is lost, or who is stopped, within a transaction would keep the row locked, and its successor waiting,
until the database's own TCP gives up, which takes hours. So PostgreSQL is told to end such a session after some
seconds. A connection that is gone, by that or by a restart of the database, ends the ownership: no attempt with it
can succeed, and the next owner opens another. As an error of the handler it would be held against the record.

Any connection of Python's DB-API will do whose database has `ON CONFLICT` and `SELECT ... FOR UPDATE`; SQLite locks
the whole file instead. Tried with psycopg 3 and sqlite3.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from partition_workers.errors import Lost, Misconfigured, Stale

if TYPE_CHECKING:
    from partition_workers.handler import Context
    from partition_workers.kafka.reader import Record

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?", re.ASCII)

#: Seconds; see `SqlSink`.
STALLED_AFTER = 10.0


class Batch:
    """The records that are new to the database, and the transaction in which they go there."""

    def __init__(self, cursor: Any, records: Sequence[Record]) -> None:
        self.cursor = cursor
        self.records = records

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """One statement, as the database's own cursor takes it."""
        return self.cursor.execute(statement, parameters)


class SqlSink:
    """For one ownership of one partition. Not thread-safe, and `connection` is its own."""

    def __init__(
        self,
        connection: Any,
        context: Context,
        name: str,
        table: str = "partition_positions",
        stalled_after: float = STALLED_AFTER,
    ) -> None:
        """`name`: of what is kept; two programs that write the same database need two. `table`: is made if need be.
        `stalled_after`: seconds after which PostgreSQL ends our session when it hears nothing of us within a
        transaction, unless the session has a limit of its own already. 0: never.

        Raises Stale when a newer owner has been here, Misconfigured for a table that cannot be called so, and
        whatever the database raises.
        """
        if not _TABLE.fullmatch(table):
            raise Misconfigured(f"table {table!r}: letters, digits and underscores, and a schema before a dot")
        self._connection, self._table = connection, table
        self._key = (name, context.partition.topic, context.partition.number)
        self._place, self._token = str(context.partition), context.token
        module = sys.modules[type(connection).__module__.partition(".")[0]]
        self._mark = "?" if getattr(module, "paramstyle", "format") == "qmark" else "%s"
        self._is_sqlite = module.__name__ in ("sqlite3", "_sqlite3")
        if stalled_after and module.__name__.startswith("psycopg"):
            self._limit_stalls(stalled_after)
        self._make_table()
        #: The next offset that the database has not seen; None: it has seen none. For `open` to return.
        self.position: int | None = None
        with self._transaction() as cursor:
            self.position = self._look(cursor)
            self._write(cursor, self.position)  # from now on older owners are refused

    @contextmanager
    def transaction(self, records: Sequence[Record]) -> Iterator[Batch]:
        """Those of `records` that are new, and a transaction that also moves the position behind them.

        What is raised within rolls it back. Raises Stale, and Lost when the connection is gone.
        """
        with self._transaction() as cursor:
            position = self._look(cursor)
            new = [each for each in records if position is None or _offset(each) >= position]
            yield Batch(cursor, new)
            if new:
                position = _offset(new[-1]) + 1
                self._write(cursor, position)
        self.position = position

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        cursor = self._connection.cursor()
        try:
            if self._is_sqlite:
                cursor.execute("BEGIN IMMEDIATE")
            yield cursor
            self._connection.commit()
        except BaseException as error:
            if isinstance(error, Exception) and getattr(self._connection, "closed", False):
                raise Lost(f"{self._place}: the connection to the database is gone: {error}") from error
            self._connection.rollback()
            raise
        finally:
            cursor.close()

    def _limit_stalls(self, seconds: float) -> None:
        setting = "idle_in_transaction_session_timeout"
        cursor = self._connection.cursor()
        cursor.execute(
            "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = '0'",
            (setting, f"{int(seconds * 1000)}ms", setting),
        )
        self._connection.commit()
        cursor.close()

    def _make_table(self) -> None:
        cursor = self._connection.cursor()
        try:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} (name VARCHAR(250) NOT NULL, topic VARCHAR(250) NOT NULL,"
                " number INTEGER NOT NULL, position BIGINT, token BIGINT NOT NULL, PRIMARY KEY (name, topic, number))"
            )
            self._connection.commit()
        except Exception:
            self._connection.rollback()  # somebody made it at the same moment; if not, the next statement says so
        finally:
            cursor.close()

    def _look(self, cursor: Any) -> int | None:
        """The row, locked until the transaction ends. Raises Stale."""
        for_update = "" if self._is_sqlite else " FOR UPDATE"
        cursor.execute(
            f"SELECT position, token FROM {self._table} WHERE name = {self._mark} AND topic = {self._mark}"  # noqa: S608
            f" AND number = {self._mark}{for_update}",
            self._key,
        )
        found = cursor.fetchone()
        if found is None:
            return None
        position, token = found
        if token > self._token:
            raise Stale(f"{self._place}: token {token} has been at the database, and ours is {self._token}")
        return None if position is None else int(position)

    def _write(self, cursor: Any, position: int | None) -> None:
        cursor.execute(
            f"INSERT INTO {self._table} (name, topic, number, position, token)"  # noqa: S608
            f" VALUES ({', '.join([self._mark] * 5)}) ON CONFLICT (name, topic, number)"
            " DO UPDATE SET position = EXCLUDED.position, token = EXCLUDED.token"
            f" WHERE {self._table}.token <= EXCLUDED.token",
            (*self._key, position, self._token),
        )
        if cursor.rowcount == 0:  # somebody wrote the first row at the same moment
            raise Stale(f"{self._place}: a newer owner has been at the database")


def _offset(record: Record) -> int:
    offset = record.offset()
    assert offset is not None, "a record that was read has an offset"
    return offset

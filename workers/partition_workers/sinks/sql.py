"""Exactly once into a database: the partition's position is a row beside the results, moved by the same transaction.

    class Totals:
        def open(self, context):
            self.sink = SqlSink(lambda: psycopg.connect(DSN), context, "totals")
            return self.sink.position

        def handle_batch(self, records, state):
            with self.sink.transaction(records) as batch:
                for record in batch:
                    batch.execute("INSERT INTO totals ...", (...,))

Why nothing is lost or doubled: the row is locked, and looked at, by the transaction that writes. If it shows a newer
token, another owner is at work, and nothing is written: `Stale`, which ends this ownership. If it shows a position,
what comes before it is there already, and is left out. A look in a transaction of its own would let another owner
come in between.

A commit may be done though its answer is lost. Then the row shows either the position before it or the one behind it,
and the next look tells which. If it shows anything else, it is another row than the one that we left: of a standby
that lags and was promoted, of a backup, or changed by hand. To go on would leave a hole, so this ownership ends, and
the next owner begins where the row stands.

Whose machine is lost, or who is stopped, within a transaction would keep the row locked, and its successor waiting,
until the database's own TCP gives up, which takes hours. So PostgreSQL is told to end such a session after some
seconds. A connection that is gone, by that or by a restart of the database, is waited for (see `database.py`).

Any connection of Python's DB-API will do whose database has `ON CONFLICT` and `SELECT ... FOR UPDATE`; SQLite locks
the whole file instead. Tried with psycopg 3 and sqlite3.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from partition_workers.errors import Lost, Misconfigured, Stale, Unavailable
from partition_workers.sinks.database import Database, tuple_of

if TYPE_CHECKING:
    from partition_workers.handler import Context
    from partition_workers.kafka.reader import Record
    from partition_workers.model import Reset

log = logging.getLogger(__name__)

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


class _Row(NamedTuple):
    """`transaction`: PostgreSQL's number of the one that looked; None elsewhere."""

    position: int | None
    token: int
    transaction: int | None


class SqlSink:
    """For one ownership of one partition. Not thread-safe."""

    def __init__(
        self,
        connect: Callable[[], Any],
        context: Context,
        name: str,
        table: str = "partition_positions",
        stalled_after: float = STALLED_AFTER,
    ) -> None:
        """`connect` makes a connection that nobody else uses; it is called again when that one is gone. `name`: of
        what is kept; two programs that write the same database need two. `table`: is made if need be.
        `stalled_after`: seconds after which PostgreSQL ends our session when it hears nothing of us within a
        transaction, unless the session has a limit of its own already. 0: never.

        Raises Stale when a newer owner has been here, Unavailable when there is no database, Misconfigured for what
        can never work, and whatever else the database raises.
        """
        if not callable(connect) or hasattr(connect, "cursor"):  # a connection of sqlite3 can be called
            raise Misconfigured("SqlSink wants a function that connects, such as lambda: psycopg.connect(DSN)")
        if not _TABLE.fullmatch(table):
            raise Misconfigured(f"table {table!r}: letters, digits and underscores, and a schema before a dot")
        if context.outputs:
            raise Misconfigured(
                "a sink beside --output: what a record produces would be lost when the worker dies between the"
                " commit of the database and that of Kafka. Use one of them, or two groups"
            )
        self._table = table
        self._key = (name, context.partition.topic, context.partition.number)
        self._place, self._token = str(context.partition), context.token
        self._database = Database(connect, self._place, stalled_after)
        self._make_table()
        #: The next offset that the database has not seen; None: it has seen none. For `open` to return.
        self.position: int | None = self._enter(context.reset)
        #: What the row may show.
        self._left_at: tuple[int | None, ...] = (self.position,)

    @contextmanager
    def transaction(self, records: Sequence[Record]) -> Iterator[Batch]:
        """Those of `records` that are new, each once, and a transaction that also moves the position behind them.

        What is raised within rolls it back. Raises Stale, Unavailable, and Lost when the row is not as we left it.
        """
        with self._database.transaction() as cursor:
            row = self._look(cursor)
            if row.position not in self._left_at:
                raise Lost(
                    f"{self._place}: the database has position {row.position}, and this owner had left"
                    f" {self._left_at[-1]}: it is another copy of it, or somebody changed the row"
                )
            self._left_at, end = (row.position,), row.position
            new = _new(records, row.position)
            yield Batch(cursor, new)
            if new:
                end = _offset(new[-1]) + 1
                self._write(cursor, end, row.transaction)
                self._left_at = (row.position, end)  # until the database has answered
        self._left_at, self.position = (end,), end

    def close(self) -> None:
        self._database.close()

    def _make_table(self) -> None:
        try:
            with self._database.transaction() as cursor:
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {self._table} (name VARCHAR(250) NOT NULL, topic VARCHAR(250) NOT"
                    " NULL, number INTEGER NOT NULL, position BIGINT, token BIGINT NOT NULL,"
                    " PRIMARY KEY (name, topic, number))"
                )
        except (Unavailable, Misconfigured):
            raise
        except Exception:
            log.debug("somebody made it at the same moment; if not, the next statement says so", exc_info=True)

    def _enter(self, reset: Reset | None) -> int | None:
        """From now on older owners are refused. The position, which is that of a person's `offsets reset` if nobody
        has been here since."""
        with self._database.transaction() as cursor:
            mark = self._database.mark
            cursor.execute(
                f"INSERT INTO {self._table} (name, topic, number, position, token)"  # noqa: S608
                f" VALUES ({', '.join([mark] * 5)}) ON CONFLICT (name, topic, number) DO NOTHING",
                (*self._key, None, self._token),
            )
            row = self._look(cursor)
            position = reset.offset if reset is not None and row.token < reset.revision else row.position
            self._write(cursor, position, row.transaction)
        return position

    def _look(self, cursor: Any) -> _Row:
        """The row, locked until the transaction ends. Raises Stale, and Lost when it is gone."""
        database, more, parameters = self._database, "", tuple[str, ...]()
        if database.is_postgres:
            more = ", txid_current()"
            if database.idle_limit:  # for this transaction: a pool may give each to another session
                more += ", set_config('idle_in_transaction_session_timeout', %s, true)"
                parameters = (database.idle_limit,)
        for_update = "" if database.is_sqlite else " FOR UPDATE"
        cursor.execute(
            f"SELECT position, token{more} FROM {self._table} WHERE {self._is_ours}{for_update}",  # noqa: S608
            (*parameters, *self._key),
        )
        found = cursor.fetchone()
        if found is None:
            raise Lost(f"{self._place}: somebody has deleted its row of {self._table}")
        position, token, *rest = tuple_of(found)
        if token > self._token:
            raise Stale(
                f"{self._place}: token {token} has been at the database, and ours is {self._token}"
                f" (table {self._table}, name {self._key[0]!r})"
            )
        return _Row(None if position is None else int(position), int(token), rest[0] if rest else None)

    def _write(self, cursor: Any, position: int | None, transaction: int | None) -> None:
        mark, same, parameters = self._database.mark, "", tuple[int, ...]()
        if transaction is not None:
            same, parameters = f" AND txid_current() = {mark}", (transaction,)
        if self._database.is_same():
            cursor.execute(
                f"UPDATE {self._table} SET position = {mark}, token = {mark} WHERE {self._is_ours}{same}",  # noqa: S608
                (position, self._token, *self._key, *parameters),
            )
            if cursor.rowcount == 1:
                return
        raise RuntimeError(
            "the sink's transaction was ended within it, by a commit or a rollback of somebody else's: the position"
            " stays where it was"
        )

    @property
    def _is_ours(self) -> str:
        return " AND ".join(f"{each} = {self._database.mark}" for each in ("name", "topic", "number"))


def _new(records: Sequence[Record], position: int | None) -> list[Record]:
    """Each offset once: what was gathered may have been gathered again."""
    new: list[Record] = []
    for record in records:
        offset = _offset(record)
        if position is None or offset >= position:
            new.append(record)
            position = offset + 1
    return new


def _offset(record: Record) -> int:
    offset = record.offset()
    assert offset is not None, "a record that was read has an offset"
    return offset

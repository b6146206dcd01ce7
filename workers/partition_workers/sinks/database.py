"""A connection to a database, made when it is needed, and what its errors mean.

A database that restarts, fails over or is full says nothing about the record at hand: with it every record would
fail, and be skipped where that is asked for. So such errors become `Unavailable`, for which the record loop waits,
and the next transaction has a new connection. Whatever else a statement raises goes through.

Which errors those are: of PostgreSQL by SQLSTATE, of SQLite by its result code, and of all by a connection that is
closed, or cannot be made. An error about what the statement itself asks for is none of them: a statement that takes
longer than `statement_timeout`, or more memory than there is, is the record's.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from partition_workers.errors import Lost, Misconfigured, Unavailable

#: By the beginning of the SQLSTATE: connection; rolled back for others (serialisation, deadlock, unknown outcome);
#: disk full and connections used up; ended by an administrator, starting up; read-only, as a standby is; locked.
_AWAY = ("08", "40001", "40003", "40P01", "53000", "53100", "53300", "57P", "25006", "55P03")
#: SQLite's: busy, locked, read-only, input or output, full, cannot be opened.
_SQLITE_AWAY = (5, 6, 8, 10, 13, 14)

_IDLE_LIMIT = "idle_in_transaction_session_timeout"


class Database:
    """`place` is named in errors. Nothing is connected to before the first transaction."""

    def __init__(self, connect: Callable[[], Any], place: str, stalled_after: float) -> None:
        """`stalled_after`: seconds; see `SqlSink`."""
        self._connect, self._place, self._stalled_after = connect, place, stalled_after
        self._connection: Any = None
        self.is_postgres = self.is_sqlite = False
        #: How a parameter is marked in a statement.
        self.mark = "%s"
        #: The limit that each transaction sets for itself, as PostgreSQL takes it; "": none.
        self.idle_limit = ""

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A cursor within a transaction, which what is raised rolls back. Raises Unavailable."""
        connection = self._connected()
        try:
            with self._begun(connection) as cursor:
                yield cursor
        except BaseException as error:
            if _is_gone(connection) or _is_away(error):
                self.close()
                if isinstance(error, Exception) and not isinstance(error, Lost):
                    raise Unavailable(f"{self._place}: the database: {_said_by(error)}") from error
            raise

    def is_same(self) -> bool:
        """SQLite: whether the transaction that was begun here is still open."""
        return not self.is_sqlite or bool(self._connection.in_transaction)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is of no more use, whatever it says
                connection.close()

    @contextmanager
    def _begun(self, connection: Any) -> Iterator[Any]:
        """psycopg's own block refuses a commit or rollback by anybody else within it."""
        with contextlib.closing(connection.cursor()) as cursor:
            if self.is_postgres and hasattr(connection, "transaction"):
                with connection.transaction():
                    yield cursor
                return
            try:
                if self.is_sqlite:
                    cursor.execute("BEGIN IMMEDIATE")
                yield cursor
                connection.commit()
            except BaseException:
                with contextlib.suppress(Exception):  # the first error tells more
                    connection.rollback()
                raise

    def _connected(self) -> Any:
        if self._connection is not None and not _is_gone(self._connection):
            return self._connection
        self.close()
        try:
            connection = self._connect()
        except Exception as error:
            if isinstance(error, OSError) or _names(error) & {"OperationalError", "InterfaceError"}:
                raise Unavailable(f"{self._place}: no connection to the database: {_said_by(error)}") from error
            raise
        self._connection = connection
        try:
            self._prepare(connection)
        except Exception as error:
            is_away = _is_gone(connection) or _is_away(error)
            self.close()
            if is_away:
                raise Unavailable(f"{self._place}: the database: {_said_by(error)}") from error
            raise
        return connection

    def _prepare(self, connection: Any) -> None:
        """Transactions begin and end where we say."""
        name, style = _library_of(connection)
        self.mark = "?" if style == "qmark" else "%s"
        self.is_sqlite, self.is_postgres = name == "sqlite3", name.startswith("psycopg")
        if self.is_sqlite and getattr(connection, "autocommit", -1) in (True, False):
            raise Misconfigured("sqlite3.connect(..., autocommit=...): leave it out, the sink begins transactions")
        connection.commit()  # whatever whoever connected has begun: else ours would only be a part of it
        if self.is_sqlite:
            connection.isolation_level = None
        elif getattr(connection, "autocommit", False):
            connection.autocommit = False
        if self.is_postgres and self._stalled_after:
            self.idle_limit = self._limit(connection)

    def _limit(self, connection: Any) -> str:
        """None of ours where the session brings one along."""
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("SELECT current_setting(%s)", (_IDLE_LIMIT,))
            (found,) = tuple_of(cursor.fetchone())
        connection.commit()
        return f"{max(1, int(self._stalled_after * 1000))}ms" if found == "0" else ""


def tuple_of(row: Any) -> tuple[Any, ...]:
    """A row, however whoever connected wants to have them."""
    return tuple(row.values()) if hasattr(row, "values") else tuple(row)


def _library_of(connection: Any) -> tuple[str, str]:
    """Its name, and how it marks parameters: of the module that DB-API wants to say so, whoever has made a class of
    its own from the library's."""
    for each in type(connection).__mro__:
        module = sys.modules.get(each.__module__.partition(".")[0])
        if style := getattr(module, "paramstyle", ""):
            return str(getattr(module, "__name__", "")), str(style)
    return "", "format"


def _is_gone(connection: Any) -> bool:
    return bool(getattr(connection, "closed", False))


def _is_away(error: BaseException) -> bool:
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if isinstance(code, str):
        return code.startswith(_AWAY)
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in _SQLITE_AWAY


def _names(error: BaseException) -> set[str]:
    """DB-API says what the classes of errors are called, and not where they are."""
    return {each.__name__ for each in type(error).__mro__}


def _said_by(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:500]}"

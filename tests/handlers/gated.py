"""A handler with a gate for each partition, so that a test can have an owner wait at a place of its choice.

GATES is a folder. While `<number>.shut` is there, the record in hand is not finished; while `<number>.lingers` is,
`close()` does not return. An owner that waits at its gate says so, `<pid>.waits`; and once it was told to leave,
`<pid>.told`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from partition_supervisor.dev.demo.checking import check
from partition_workers.handler import Context

#: Seconds between two looks at a gate that is shut. A person's patience, but a file tells nobody that it went.
LOOK = 0.005


class Gated:
    def open(self, context: Context) -> None:
        folder, number = Path(os.environ["GATES"]), context.partition.number
        self._shut, self._lingers = str(folder / f"{number}.shut"), str(folder / f"{number}.lingers")
        self._waits, self._told = (folder / f"{os.getpid()}.{word}" for word in ("waits", "told"))
        self._is_leaving = context.stopping

    def handle(self, record: Any, state: Any) -> None:
        while os.path.exists(self._shut):
            self._say_where_it_is()
            time.sleep(LOOK)
        check(record, state)

    def close(self) -> None:
        while os.path.exists(self._lingers):
            self._say_where_it_is()
            time.sleep(LOOK)

    def _say_where_it_is(self) -> None:
        self._waits.touch()
        if self._is_leaving():
            self._told.touch()

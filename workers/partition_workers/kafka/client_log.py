"""What librdkafka says while it reads: passed on to our log, and searched for the id of the topic that it reads.

librdkafka fetches by topic id (brokers since 3.1), and when a topic was made anew it learns the new id and goes on at
the old offset, without a word to the application. It writes one line about it, though, for who debugs metadata; and
whatever it writes is served by the same `poll` as the records, before those that it fetches under the new id.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from partition_workers.kafka.topics import identity

#: librdkafka's `log_level` is syslog's; from which of ours on that is shown.
_FROM_LEVEL = {0: 50, 1: 50, 2: 50, 3: 40, 4: 30, 5: 20, 6: 20, 7: 10}
#: What has to be debugged for the line to be written. A few lines for each look at the metadata, none for records.
_CONTEXT = "metadata"


class ClientLog:
    """The logger of one consumer that reads one topic. `topic_id`: under which it reads; "": not known.

    `turned`: it has turned to another topic of that name than is expected.
    """

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        self.topic_id = ""
        self.turned = False
        self._expected = ""
        self._debugged = str(config.get("debug", ""))
        self._from_level = _FROM_LEVEL.get(int(config.get("log_level", 6)), logging.INFO)
        if self._debugged and "log_level" not in config:
            self._from_level = logging.DEBUG
        self._log = logging.getLogger("librdkafka")
        self._line = re.compile(rf"Topic {re.escape(topic)} changed id from (\S+) to (\S+)")

    def settings(self) -> dict[str, str | int]:
        """What the consumer must be made with."""
        return {"debug": ",".join(filter(None, (self._debugged, _CONTEXT))), "log_level": 7}

    def expect(self, topic_id: str) -> None:
        """From now on. What it reads under until it says something is not looked at: it may be behind, and under an
        id that is no more nothing can be read. "": any will do."""
        self._expected, self.turned = topic_id, False

    def log(self, level: int, message: str, *args: object) -> None:
        """Called by the client for each line, within its poll and consume."""
        if level <= logging.DEBUG and (found := self._line.search(str(args[-1]) if args else message)):
            self.topic_id = identity(found[2])
            self.turned = self._expected not in ("", self.topic_id)
        if level >= self._from_level and (level > logging.DEBUG or self._debugged):
            self._log.log(level, message, *args)

"""The two calls to etcd that stay open: a watch, and the keepalives of leases.

What a stream cannot do is notice silence. When a member is frozen, or a firewall drops its packets, a
stream on it stays open without a word, while gRPC's own keepalive (20 s) needs many seconds to see it: a
kernel goes on acknowledging for a frozen process. So silence is judged by deadlines of our own:

- opening a watch must be answered within the deadline of a call, and keepalives that were asked for must go on being
  answered, no two answers further apart than that;
- when *any* call to a server runs into its deadline, all streams on that server are broken off as well.

The second rule covers a watch that once worked: whoever watches also reads, every few seconds (the
supervisor's list of the locks), and that read finds out. A watch nobody reads beside depends on gRPC's
keepalive alone. Messages that would ask a watch for its progress are younger than etcd3 0.12 and cannot be
sent.

gRPC consumes the requests of a stream in a thread of its own. Our request generators run there, and that
thread is where the waiting for answers is done: no timer is needed.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import grpc

from partition_workers.errors import PartitionSupervisorError, Unavailable
from partition_workers.etcd.grpc_errors import Silent, StaleToken, translate, translate_cancelled_watch
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.store import Change, KeyRange, Lists, Renewal
from partition_workers.etcd.wire import change, watch_request

_Item = TypeVar("_Item", covariant=True)


class Owner(Protocol):
    """What a stream needs of the server it is on."""

    endpoint: str
    timeout: float

    def checked(self, answer: Any) -> Any:
        """The answer. Raises Unavailable or ClusterReplaced if another cluster gave it."""

    def ended(self, stream: Stream[Any]) -> None:
        """Forget the stream: it needs no breaking off any more."""

    def token_refused(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Whoever asks next logs in anew."""

    def failed(self, error: PartitionSupervisorError) -> PartitionSupervisorError:
        """Take note of an error (the next call may go elsewhere) and say what to raise."""


class Stream(Generic[_Item]):
    """One open call. To be iterated by one thread, once; ended by anyone."""

    method: str
    #: What is sent beside our token, before it.
    beside_token: tuple[tuple[str, str], ...] = ()

    def __init__(self, call: Any, owner: Owner, metadata: tuple[tuple[str, str], ...]) -> None:
        self._owner = owner
        self._over = threading.Event()
        self._answered = threading.Event()
        self._cancelled = False
        self._finished = False
        self._broken: PartitionSupervisorError | None = None
        self._token = metadata
        self._call = call(self._requests(), metadata=(*self.beside_token, *metadata))
        self._items = self._iterate()

    def __iter__(self) -> Iterator[_Item]:
        return self._items

    def cancel(self) -> None:
        """End the iteration without an error."""
        self._cancelled = True
        self._end()

    def break_off(self, error: PartitionSupervisorError) -> None:
        """End the iteration with this error."""
        if not self._over.is_set():
            self._broken = error
            self._end()

    @abstractmethod
    def _requests(self) -> Iterator[Any]:
        """What we ask, one after the other. Runs in a thread of gRPC."""

    @abstractmethod
    def _read(self, answer: Any) -> Iterable[_Item]:
        """What an answer means to the reader."""

    def _end(self) -> None:
        self._over.set()
        self._answered.set()  # whoever waits for an answer: there will be none
        self._call.cancel()
        self._owner.ended(self)

    def _iterate(self) -> Iterator[_Item]:
        try:
            for answer in self._call:
                if self._cancelled:
                    return
                yield from self._read(self._owner.checked(answer))
            if not (self._cancelled or self._finished):
                raise Unavailable(f"etcd at {self._owner.endpoint} ended the stream of {self.method}")
        except grpc.RpcError as error:
            if not self._cancelled:
                seen = translate(error, self.method, self._owner.endpoint)
                raise self._broken or self._noted(seen) from None
        except PartitionSupervisorError as error:
            raise self._noted(error) from None
        finally:
            self._end()

    def _noted(self, error: PartitionSupervisorError) -> PartitionSupervisorError:
        if isinstance(error, StaleToken):
            # Also where nobody calls anything beside this stream: the next one is opened with a new token.
            self._owner.token_refused(self._token)
            error = Unavailable(str(error))
        return self._owner.failed(error)

    def _silent(self) -> bool:
        """Wait for an answer. If there is none in time the stream is broken off."""
        if self._answered.wait(self._owner.timeout):
            return self._over.is_set()
        where, limit = self._owner.endpoint, self._owner.timeout
        error = Silent(f"etcd at {where} did not answer {self.method} in {limit:g} s")
        self.break_off(self._owner.failed(error))
        return True


class Watch(Stream[Change]):
    """One watch for each prefix or range, all on one stream."""

    method = "Watch"
    #: A member that lost its leader would keep the watch open and say nothing.
    beside_token = (("hasleader", "true"),)

    def __init__(
        self,
        call: Any,
        owner: Owner,
        metadata: tuple[tuple[str, str], ...],
        places: tuple[str | KeyRange, ...],
        start_revision: int,
    ) -> None:
        self._places = places
        self._start_revision = start_revision
        self._uncreated = len(places)
        super().__init__(call, owner, metadata)

    def _requests(self) -> Iterator[Any]:
        for place in self._places:
            yield watch_request(place, self._start_revision)
        if not self._silent():
            self._over.wait()  # the end of the requests would be the end of the stream

    def _read(self, answer: Any) -> Iterable[Change]:
        # Looking at `canceled` first: a refused watch is created and cancelled in the same message.
        if answer.canceled:
            raise translate_cancelled_watch(answer, self._owner.endpoint)
        if answer.created:
            self._uncreated -= 1
            if not self._uncreated:
                self._answered.set()
        return map(change, answer.events)


class Keepalive(Stream[Renewal]):
    """Renewals, a list at a time.

    etcd works on those of one stream one by one, but need not wait for us between them. While it had to, the leases
    of hundreds of standbys ran out on a machine that was starved, and to replace those starved it for good.
    """

    method = "LeaseKeepAlive"

    def __init__(self, call: Any, owner: Owner, metadata: tuple[tuple[str, str], ...], lists: Lists) -> None:
        self._lists = lists
        self._asked = self._told = 0  # each is written by one thread alone
        super().__init__(call, owner, metadata)

    def _requests(self) -> Iterator[Any]:
        for leases in self._lists:
            self._asked += len(leases)
            for lease in leases:
                if self._over.is_set():
                    return
                yield rpc.LeaseKeepAliveRequest(ID=lease)
            while self._told < self._asked:
                self._answered.clear()
                if self._over.is_set():
                    return
                if self._told < self._asked and self._silent():
                    return
        self._finished = True  # all asked, all answered

    def _read(self, answer: Any) -> Iterable[Renewal]:
        self._told += 1
        self._answered.set()
        return (Renewal(answer.ID, answer.TTL),)

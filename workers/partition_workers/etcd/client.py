"""The only door to etcd: the `Store` of `store.py`, on etcd3's stubs, with what a lock needs and etcd3 lacks.

The state of a channel is never asked: a frozen member looks connected for a minute. The deadline on every call is
what finds out.

What is tried again in here: reads, and writes whose repetition changes nothing (grant and revoke of a named
lease), once round all endpoints; and a call that was refused for its auth token before etcd looked at it. A
transaction is never repeated here, nor by gRPC: that an unknown outcome is no failure, and what to make of
it, only its author knows.
"""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import grpc

from partition_workers.errors import Compacted, LeaseGone
from partition_workers.etcd.calls import Calls, Metadata
from partition_workers.etcd.grpc_errors import LeaseExists, StaleToken, translate
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.server import Server
from partition_workers.etcd.status import SilentServer, alarm_name, server_status
from partition_workers.etcd.store import (
    Grant,
    KeyRange,
    KeyValue,
    LeaseTime,
    Listing,
    Lists,
    Page,
    ServerStatus,
    Txn,
    TxnResult,
)
from partition_workers.etcd.streams import Keepalive, Watch
from partition_workers.etcd.wire import (
    key_value,
    range_request,
    raw,
    text,
    txn_request,
    txn_result,
)

#: Keys asked for at once when listing.
PAGE = 1000


class Etcd:
    """One for each process, made after the fork; raises Misconfigured. Any thread may call anything."""

    def __init__(self, options: EtcdOptions) -> None:
        self._calls = Calls(options)
        #: Two: an answer that is late must not keep the next request waiting. One is made until then.
        self._aside = ThreadPoolExecutor(2, "etcd-aside")

    # --- transactions

    def transact(self, txn: Txn) -> TxnResult:
        """Do it, once. Raises Unavailable (nobody knows whether it was done), NoSpace, LeaseGone, Refused."""
        return txn_result(self._calls.on(self._calls.urgent.current, "Txn", txn_request(txn)), txn)

    def transact_soon(self, txn: Txn) -> Future[TxnResult]:
        """The same without waiting. The future is resolved in another thread: its callbacks must be quick. It is
        running once the request is on its way.

        Where a stream is open, by gRPC's futures. Where none is, to ask for one starts a thread, and whoever asks
        waits for that, 0.75 ms as against 0.06, just when a successor is about to read its first record: there by a
        thread of ours that waits for it. Not always by that one, because it has to get hold of the interpreter
        several times for each answer, which a busy handler feels.
        """
        server, metadata = self._calls.urgent.current, self._calls.metadata
        if not server.has_streams:
            return self._aside.submit(self.transact, txn)
        promise: Future[TxnResult] = Future()
        promise.set_running_or_notify_cancel()  # what was sent cannot be cancelled
        request = txn_request(txn)
        try:
            call = server.calls["Txn"].future(request, timeout=self._calls.options.timeout, metadata=metadata)
        except ValueError:
            promise.set_exception(server.closed())
        else:
            call.add_done_callback(partial(self._settle, promise, server, metadata, txn))
        return promise

    def _settle(self, promise: Future[TxnResult], server: Server, metadata: Metadata, txn: Txn, call: Any) -> None:
        try:
            promise.set_result(txn_result(self._answer_of(call, server), txn))
        except StaleToken:
            # Logging in waits for an answer; a thread of gRPC must not.
            again = partial(self._settle_anew, promise, server, metadata, txn)
            threading.Thread(target=again, name="etcd-login", daemon=True).start()
        except Exception as error:
            promise.set_exception(error)

    def _settle_anew(self, promise: Future[TxnResult], server: Server, metadata: Metadata, txn: Txn) -> None:
        try:
            self._calls.log_in(server, instead_of=metadata)
            promise.set_result(txn_result(self._calls.once(server, "Txn", txn_request(txn)), txn))
        except Exception as error:
            promise.set_exception(error)

    def _answer_of(self, call: Any, server: Server) -> Any:
        try:
            return server.checked(call.result())
        except grpc.RpcError as error:
            raise server.failed(translate(error, "Txn", server.endpoint)) from None
        except grpc.FutureCancelledError:
            raise server.closed() from None

    # --- reads

    def get(self, key: str) -> KeyValue | None:
        """The key as of now (linearizable), or None. Raises Unavailable, Refused."""
        return next(map(key_value, self._calls.around("Range", range_request(key)).kvs), None)

    def list(self, prefix: str) -> Listing:
        """Every key under `prefix` in key order, all as of one revision. Raises Unavailable, Refused.

        It is begun again when etcd compacts the revision away between two pages: Compacted after three times.
        """
        for _ in range(2):
            with suppress(Compacted):
                return self._list_once(prefix)
        return self._list_once(prefix)

    def _list_once(self, prefix: str) -> Listing:
        request = range_request(prefix, prefix=True, limit=PAGE)
        items: list[KeyValue] = []
        while True:
            page = self._calls.around("Range", request)
            request.revision = request.revision or page.header.revision
            items.extend(map(key_value, page.kvs))
            if not page.more:
                return Listing(request.revision, tuple(items))
            request.key = page.kvs[-1].key + b"\0"

    def page(
        self, prefix: str, after: str = "", limit: int = 0, revision: int = 0, large: float | None = None
    ) -> Page:
        """At most `limit` keys under `prefix` that come after the key `after`, as of `revision`.

        One member alone answers, at once; what a revision shows is the same at all that have it. A revision of 0: the
        newest that this one knows. `large`: the answer may have a megabyte and take so many seconds, and goes over
        connections that nothing urgent uses. Raises Unavailable (also from a member that has not heard of `revision`
        yet: the next call goes to another), Compacted, TooLarge, Refused.
        """
        request = range_request(prefix, prefix=True, limit=limit)
        request.serializable, request.revision = True, revision
        if after:
            request.key = raw(after) + b"\0"
        endpoints = self._calls.urgent if large is None else self._calls.large
        answer = self._calls.on(endpoints.current, "Range", request, large)
        return Page(answer.header.revision, tuple((text(each.key), each.value) for each in answer.kvs), answer.more)

    def watch(self, places: tuple[str | KeyRange, ...], start_revision: int) -> Watch:
        """Changes under prefixes and ranges (that must not overlap) from `start_revision` on; 0 means from now on.

        Almost everything that goes wrong, Refused included, is raised by iterating.
        """
        who = self._calls.stream_metadata()
        return self._calls.urgent.current.opened(lambda on: Watch(on.calls["Watch"], on, who, places, start_revision))

    # --- leases

    def grant(self, ttl: int, lease: int = 0) -> Grant:
        """A lease of at least `ttl` seconds, with the id `lease` if given.

        An id that is taken counts as granted, as an answer may have been lost; the TTL is then what is left
        of it. Raises Unavailable, NoSpace, Refused; LeaseGone if nothing is left.
        """
        wanted = lease or secrets.randbits(62) + 1  # named by us, so that asking twice does not grant two
        try:
            answer = self._calls.around("LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl, ID=wanted))
        except LeaseExists:
            left = self.time_to_live(wanted).left
            if not left:
                raise LeaseGone(f"lease {wanted:x} ran out while it was granted") from None
            return Grant(wanted, left)
        return Grant(answer.ID, answer.TTL)

    def time_to_live(self, lease: int) -> LeaseTime:
        """How long a lease was granted for, and how much of that is left. Raises Unavailable, Refused."""
        answer = self._calls.around("LeaseTimeToLive", rpc.LeaseTimeToLiveRequest(ID=lease))
        return LeaseTime(answer.grantedTTL, max(0, answer.TTL))

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; one that is gone already is fine. Raises Unavailable, Refused."""
        with suppress(LeaseGone):
            self._calls.around("LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease))

    def keepalive(self, lists: Lists) -> Keepalive:
        """Renew the leases that the lists name, one list when the one before is answered.

        Answers that are further apart than the deadline of a call break the stream off with Unavailable. Every
        stream needs an iterator of its own: gRPC may take one more from it after the stream has ended.
        """
        who = self._calls.stream_metadata()
        return self._calls.urgent.current.opened(lambda on: Keepalive(on.calls["LeaseKeepAlive"], on, who, lists))

    # --- the cluster

    def status(self) -> tuple[ServerStatus | SilentServer, ...]:
        """What each endpoint says of itself, asked one after the other; at most two deadlines for each."""
        return tuple(
            server_status(partial(self._calls.on, each), each.endpoint) for each in self._calls.urgent.servers
        )

    def alarms(self) -> tuple[str, ...]:
        """The alarms of all members, each once: NOSPACE, CORRUPT. Raises Unavailable, Denied, Refused."""
        answer = self._calls.around("Alarm", rpc.AlarmRequest(action=rpc.AlarmRequest.GET))
        return tuple(sorted({alarm_name(each.alarm) for each in answer.alarms}))

    def compact(self, revision: int) -> None:
        """Forget the history before `revision`. Raises Compacted if it is gone, Unavailable, Refused."""
        self._calls.on(self._calls.urgent.current, "Compact", rpc.CompactionRequest(revision=revision))

    def close(self) -> None:
        """End all streams and close all channels; calls under way end with Unavailable."""
        self._calls.close()
        self._aside.shutdown(wait=False)

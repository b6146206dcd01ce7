"""The only door to etcd: the `Store` of `store.py`, on etcd3's stubs, with what a lock needs and etcd3 lacks.

One channel for each endpoint, made when first used, and all calls go to one of them until it fails; then
the following calls go to the next. The state of a channel is never asked: a frozen member looks connected
for a minute. The deadline on every call is what finds out.

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
from typing import Any, TypeAlias

import grpc

from partition_workers.errors import Compacted, LeaseGone, PartitionSupervisorError, Refused, Unavailable
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.server import Cluster, Server
from partition_workers.etcd.status import SilentServer, server_status
from partition_workers.etcd.store import Grant, KeyRange, KeyValue, Listing, Lists, ServerStatus, Txn, TxnResult
from partition_workers.etcd.streams import Keepalive, Watch
from partition_workers.etcd.wire import (
    LeaseExists,
    LoginNotNeeded,
    Silent,
    StaleToken,
    key_value,
    range_request,
    translate,
    txn_request,
    txn_result,
)

#: Keys asked for at once when listing.
PAGE = 1000

#: Deadlines a login may take: etcd checks a password for 0.1 s, and whole hosts log in at once.
LOGIN_PATIENCE = 5

_Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Etcd:
    """One for each process, made after the fork; raises Misconfigured. Any thread may call anything."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        cluster = Cluster()
        self._servers = [Server(each, options, cluster, self._failed) for each in options.endpoints]
        self._server = self._servers[0]
        self._turning = threading.Lock()
        self._metadata: _Metadata = ()
        self._logging_in = threading.Lock()
        self._aside = ThreadPoolExecutor(1, "etcd-aside")

    # --- transactions

    def transact(self, txn: Txn) -> TxnResult:
        """Do it, once. Raises Unavailable (nobody knows whether it was done), NoSpace, LeaseGone, Refused."""
        return txn_result(self._call(self._server, "Txn", txn_request(txn)))

    def transact_soon(self, txn: Txn) -> Future[TxnResult]:
        """The same without waiting. The future is resolved in another thread: its callbacks must be quick.

        Where a stream is open, by gRPC's futures. Where none is, to ask for one starts a thread, and whoever asks
        waits for that, 0.75 ms as against 0.06, just when a successor is about to read its first record: there by a
        thread of ours that waits for it. Not always by that one, because it has to get hold of the interpreter
        several times for each answer, which a busy handler feels.
        """
        if not self._server.has_streams:
            return self._aside.submit(self.transact, txn)
        promise: Future[TxnResult] = Future()
        promise.set_running_or_notify_cancel()  # what was sent cannot be cancelled
        server, metadata, request = self._server, self._metadata, txn_request(txn)
        try:
            call = server.calls["Txn"].future(request, timeout=self._options.timeout, metadata=metadata)
        except ValueError:
            promise.set_exception(server.closed())
        else:
            call.add_done_callback(partial(self._settle, promise, server, metadata, request))
        return promise

    def _settle(
        self, promise: Future[TxnResult], server: Server, metadata: _Metadata, request: Any, call: Any
    ) -> None:
        try:
            promise.set_result(txn_result(self._answer_of(call, server)))
        except StaleToken:
            # Logging in waits for an answer; a thread of gRPC must not.
            again = partial(self._settle_anew, promise, server, metadata, request)
            threading.Thread(target=again, name="etcd-login", daemon=True).start()
        except Exception as error:
            promise.set_exception(error)

    def _settle_anew(self, promise: Future[TxnResult], server: Server, metadata: _Metadata, request: Any) -> None:
        try:
            self._log_in(server, instead_of=metadata)
            promise.set_result(txn_result(self._call_once(server, "Txn", request)))
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
        return next(map(key_value, self._call_around("Range", range_request(key)).kvs), None)

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
            page = self._call_around("Range", request)
            request.revision = request.revision or page.header.revision
            items.extend(map(key_value, page.kvs))
            if not page.more:
                return Listing(request.revision, tuple(items))
            request.key = page.kvs[-1].key + b"\0"

    def watch(self, places: tuple[str | KeyRange, ...], start_revision: int) -> Watch:
        """Changes under prefixes and ranges (that must not overlap) from `start_revision` on; 0 means from now on.

        Almost everything that goes wrong, Refused included, is raised by iterating.
        """
        who = self._stream_metadata()
        return self._server.opened(lambda on: Watch(on.calls["Watch"], on, who, places, start_revision))

    # --- leases

    def grant(self, ttl: int, lease: int = 0) -> Grant:
        """A lease of at least `ttl` seconds, with the id `lease` if given.

        An id that is taken counts as granted, as an answer may have been lost; the TTL is then what is left
        of it. Raises Unavailable, NoSpace, Refused; LeaseGone if nothing is left.
        """
        wanted = lease or secrets.randbits(62) + 1  # named by us, so that asking twice does not grant two
        try:
            answer = self._call_around("LeaseGrant", rpc.LeaseGrantRequest(TTL=ttl, ID=wanted))
        except LeaseExists:
            answer = self._call_around("LeaseTimeToLive", rpc.LeaseTimeToLiveRequest(ID=wanted))
            if answer.TTL <= 0:
                raise LeaseGone(f"lease {wanted:x} ran out while it was granted") from None
        return Grant(answer.ID, answer.TTL)

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys; one that is gone already is fine. Raises Unavailable, Refused."""
        with suppress(LeaseGone):
            self._call_around("LeaseRevoke", rpc.LeaseRevokeRequest(ID=lease))

    def keepalive(self, lists: Lists) -> Keepalive:
        """Renew the leases that the lists name, one list when the one before is answered.

        Answers that are further apart than the deadline of a call break the stream off with Unavailable. Every
        stream needs an iterator of its own: gRPC may take one more from it after the stream has ended.
        """
        who = self._stream_metadata()
        return self._server.opened(lambda on: Keepalive(on.calls["LeaseKeepAlive"], on, who, lists))

    # --- the cluster

    def status(self) -> tuple[ServerStatus | SilentServer, ...]:
        """What each endpoint says of itself, asked one after the other; at most two deadlines for each."""
        return tuple(server_status(partial(self._call, each), each.endpoint) for each in self._servers)

    def compact(self, revision: int) -> None:
        """Forget the history before `revision`. Raises Compacted if it is gone, Unavailable, Refused."""
        self._call(self._server, "Compact", rpc.CompactionRequest(revision=revision))

    def close(self) -> None:
        """End all streams and close all channels; calls under way end with Unavailable."""
        for server in self._servers:
            server.close()
        self._aside.shutdown(wait=False)

    # --- how a call is made

    def _call_around(self, method: str, request: Any) -> Any:
        """Call the present server and, if that fails, the next, once round: only what may be repeated."""
        for _ in self._servers[1:]:
            with suppress(Unavailable):
                return self._call(self._server, method, request)
        return self._call(self._server, method, request)

    def _call(self, server: Server, method: str, request: Any) -> Any:
        metadata = self._metadata
        try:
            return self._call_once(server, method, request)
        except StaleToken:
            self._log_in(server, instead_of=metadata)
            return self._call_once(server, method, request)

    def _call_once(self, server: Server, method: str, request: Any, patience: int = 1) -> Any:
        deadline = patience * self._options.timeout
        try:
            answer = server.calls[method](request, timeout=deadline, metadata=self._metadata)
        except grpc.RpcError as error:
            revision = getattr(request, "revision", 0)
            raise server.failed(translate(error, method, server.endpoint, revision)) from None
        except ValueError:
            raise server.closed() from None
        return server.checked(answer)

    def _failed(self, server: Server, error: PartitionSupervisorError) -> PartitionSupervisorError:
        """Turn to the next endpoint, unless somebody did; a silent server takes its connection with it."""
        if isinstance(error, Unavailable):
            with self._turning:
                if self._server is server:
                    here = self._servers.index(server)
                    self._server = self._servers[(here + 1) % len(self._servers)]
        if isinstance(error, Silent):
            server.hang_up(error)
        return error

    # --- who we are

    def _stream_metadata(self) -> _Metadata:
        if self._options.user is not None and not self._metadata:
            with suppress(LoginNotNeeded):
                self._log_in(self._server, instead_of=())
        return self._metadata

    def _log_in(self, server: Server, instead_of: _Metadata) -> None:
        """Get a new token, unless another thread did since. Raises Refused, Unavailable."""
        if self._options.user is None:
            raise Refused(f"etcd at {server.endpoint} wants a user and a password") from None
        with self._logging_in:
            if self._metadata != instead_of:
                return
            request = rpc.AuthenticateRequest(name=self._options.user, password=self._options.password)
            answer = self._call_once(server, "Authenticate", request, LOGIN_PATIENCE)
            self._metadata = (("token", answer.token),)

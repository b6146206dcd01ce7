"""How a call to etcd is made: at which endpoint, as whom, with which deadline, and what its errors mean.

There are two sets of connections. What is urgent (transactions, leases, watches) goes over the one; answers of a
megabyte (pages of a large state) over the other, so that a keepalive never stands in a queue behind one, and a page
that takes too long breaks off nothing but itself. The second costs nothing until it is used.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, TypeAlias

import grpc

from partition_workers.errors import Denied, PartitionSupervisorError, Unavailable
from partition_workers.etcd.cluster_id import ClusterId
from partition_workers.etcd.grpc_errors import LoginNotNeeded, Silent, StaleToken, translate
from partition_workers.etcd.messages import rpc
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.server import Server, TokenRefused

#: Deadlines a login may take: etcd checks a password for 0.1 s, and whole hosts log in at once.
LOGIN_PATIENCE = 5

Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Endpoints:
    """One connection to each endpoint, made when first used. All calls go to one of them until it fails; then the
    following calls go to the next."""

    def __init__(self, options: EtcdOptions, cluster: ClusterId, token_refused: TokenRefused) -> None:
        self.servers = [Server(each, options, cluster, self._failed, token_refused) for each in options.endpoints]
        self.current = self.servers[0]
        self._turning = threading.Lock()

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def _failed(self, server: Server, error: PartitionSupervisorError) -> PartitionSupervisorError:
        """Turn to the next endpoint, unless somebody did. A silent server takes its connection with it; and so does
        one that was connected to with certificates of which there are newer ones."""
        if isinstance(error, Unavailable):
            with self._turning:
                if self.current is server:
                    here = self.servers.index(server)
                    self.current = self.servers[(here + 1) % len(self.servers)]
        if isinstance(error, Silent) or (isinstance(error, Unavailable) and server.has_newer_certificates()):
            server.hang_up(error)
        return error


class Calls:
    """Calls of one client. `urgent` and `large` are its two sets of connections; any thread may call anything."""

    def __init__(self, options: EtcdOptions) -> None:
        self.options = options
        cluster = ClusterId(options.endpoints)
        self.urgent = Endpoints(options, cluster, self.forget_token)
        self.large = Endpoints(options, cluster, self.forget_token)
        self.metadata: Metadata = ()
        self._logging_in = threading.Lock()

    def close(self) -> None:
        """End all streams and close all channels; calls under way end with Unavailable."""
        self.urgent.close()
        self.large.close()

    def around(self, method: str, request: Any) -> Any:
        """Call the present server and, if that fails, the next, once round: only what may be repeated."""
        for _ in self.urgent.servers[1:]:
            with suppress(Unavailable):
                return self.on(self.urgent.current, method, request)
        return self.on(self.urgent.current, method, request)

    def on(self, server: Server, method: str, request: Any, timeout: float | None = None) -> Any:
        """Call this server once, or twice when it did not like our auth token. `timeout`: seconds, default the
        deadline of the options. Raises Unavailable, Denied, NoSpace, LeaseGone, Compacted, Refused."""
        metadata = self.metadata
        try:
            return self.once(server, method, request, timeout)
        except StaleToken:
            self.log_in(server, instead_of=metadata)
            return self.once(server, method, request, timeout)

    def once(self, server: Server, method: str, request: Any, timeout: float | None = None) -> Any:
        deadline = self.options.timeout if timeout is None else timeout
        try:
            answer = server.calls[method](request, timeout=deadline, metadata=self.metadata)
        except grpc.RpcError as error:
            revision = getattr(request, "revision", 0)
            raise server.failed(translate(error, method, server.endpoint, revision)) from None
        except ValueError:
            raise server.closed() from None
        return server.checked(answer)

    # --- who we are

    def stream_metadata(self) -> Metadata:
        """Log in before, if there is no token: a stream that is refused is not repeated."""
        if self.options.user is not None and not self.metadata:
            self.log_in(self.urgent.current, instead_of=())
        return self.metadata

    def forget_token(self, refused: Metadata) -> None:
        """It is of no more use; a newer one, that another thread got meanwhile, is."""
        with self._logging_in:
            if self.metadata == refused:
                self.metadata = ()

    def log_in(self, server: Server, instead_of: Metadata) -> None:
        """Get a new token, unless another thread did since; none if etcd wants none. Raises Denied, Unavailable."""
        if self.options.user is None:
            raise Denied(f"etcd at {server.endpoint} wants a user and a password") from None
        with self._logging_in:
            if self.metadata != instead_of:
                return
            request = rpc.AuthenticateRequest(name=self.options.user, password=self.options.secret())
            self.metadata = ()
            with suppress(LoginNotNeeded):
                answer = self.once(server, "Authenticate", request, LOGIN_PATIENCE * self.options.timeout)
                self.metadata = (("token", answer.token),)

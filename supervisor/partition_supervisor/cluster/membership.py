"""This host's place in the group: its key, and the leases that the supervisor renews, its own and its standbys'."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from partition_supervisor.cluster.retry import until_etcd_answers
from partition_workers.errors import LeaseGone, Misconfigured, Retry
from partition_workers.etcd.store import Compare, Get, Put, Store, Target, Txn
from partition_workers.layout.documents import Host
from partition_workers.layout.keys import Keys
from partition_workers.ownership.lease_keeper import LeaseKeeper

log = logging.getLogger(__name__)


class Membership:
    """`hosts/<id>` under a lease of its own."""

    def __init__(
        self, store: Store, keys: Keys, host_id: str, ttl: int, gone: Callable[[int], None],
        alive: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        """The lease is renewed while `alive()`."""
        self._store, self._key, self._host_id, self._ttl = store, keys.host(host_id), host_id, ttl
        self._lease, self._alive = 0, alive
        self._host: Host
        self.keeper = LeaseKeeper(store, ttl / 3, on_renewed=lambda _lease, _deadline: None, on_gone=gone)

    def is_mine(self, lease: int) -> bool:
        return lease == self._lease

    def enter(self, host: Host, timeout: float, where: str) -> None:
        """Take the place. Raises Misconfigured when another supervisor has it, Unreachable when etcd, which is at
        `where`, is silent for `timeout` seconds.

        A predecessor that was killed still has its lease; so a place that is taken is watched for a TTL.
        """
        self._host = host
        patience = time.monotonic() + self._ttl + 2.0
        said = False
        while other := until_etcd_answers(lambda: self._try_to_enter(host), timeout, where):
            if time.monotonic() > patience:
                raise Misconfigured(
                    f"host id {self._host_id!r} is taken: another supervisor (pid {other.pid}, since {other.started})"
                    " runs under it. Give each supervisor its own --host-id, or stop that one"
                )
            if not said:
                log.info(
                    "host id %r is still taken (pid %d); waiting for that lease to end",
                    self._host_id,
                    other.pid,
                )
                said = True
            time.sleep(0.1)

    def enter_anew(self) -> None:
        """Our lease had ended: take the place again. Raises Retry."""
        self._try_to_enter(self._host)

    def change(self, **fields: Any) -> None:
        """Say something new about this host. Best effort: whatever matters is said again, or ends with the lease."""
        self._host = dataclasses.replace(self._host, **fields)
        with contextlib.suppress(Retry, LeaseGone):
            self._store.transact(Txn((), (Put(self._key, self._host.encode(), self._lease),)))

    def leave(self) -> None:
        self.keeper.close()
        with contextlib.suppress(Retry, LeaseGone):  # it ends by itself
            self._store.revoke(self._lease)

    def _try_to_enter(self, host: Host) -> Host | None:
        """The one who has the place; None: we do."""
        lease = secrets.randbits(62) + 1
        self._store.grant(self._ttl, lease)
        host = self._host = dataclasses.replace(host, lease=f"{lease:x}")
        result = self._store.transact(
            Txn(
                (Compare(self._key, Target.VERSION, 0),),
                (Put(self._key, host.encode(), lease),),
                (Get(self._key),),
            )
        )
        if not result.succeeded:
            self._store.revoke(lease)
            return Host.decode(result.answers[0][0].value)
        self._lease = lease
        self.keeper.keep(lease, self._ttl, self._alive)
        return None

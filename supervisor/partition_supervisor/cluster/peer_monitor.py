"""Each supervisor keeps a connection to every other, and so learns at once that a host has died.

A lease takes seconds to end, and it must, or every hiccup would be a death. But when a process dies, its kernel
closes its connections and refuses new ones, and whoever is at the other end knows within a millisecond. So each
supervisor listens, tells the others where and with which secret (`link` and `secret` of its host document), and each
of them connects. A machine without power says nothing any more: heartbeats stay without an answer.

Neither is a death yet. What follows from it is decided by `peer_evidence.py`; here it is only collected. A host that
speaks on its own connection to us is neither refused nor silent, whatever became of ours.

Rejected: asking the others what they see. It costs a round trip through their interpreters just when they are busy
with the same death, and etcd knows better.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from partition_supervisor.cluster.peer_connection import PeerConnection
from partition_supervisor.cluster.peer_listener import PeerListener
from partition_supervisor.cluster.peer_protocol import SILENCE
from partition_supervisor.suspicion import FirstWitness, Suspicion
from partition_workers.layout.documents import Host

log = logging.getLogger(__name__)

#: Seconds for a dead host's own connection to us to end too: its kernel closes all at about the same moment.
BOTH_ENDS = 0.02
#: Seconds for the others' kernels to show that it is not we who cannot reach anybody.
PROBE = 0.3


class PeerMonitor:
    """`refused` is called from a thread when nobody seems to be left on a host, again and again while that lasts;
    `answers` when it was reached anew."""

    def __init__(
        self,
        host_id: str,
        listener: PeerListener | None,
        refused: Callable[[Suspicion], None],
        answers: Callable[[str, str], None],
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        self._host_id, self._listener = host_id, listener
        self._refused, self._answers, self._on_failure = refused, answers, on_failure
        self._followed: dict[str, PeerConnection] = {}

    def know(self, hosts: Mapping[str, Host]) -> None:
        """Follow each of these that listens, and nobody else."""
        for name, peer in list(self._followed.items()):
            if name not in hosts or (hosts[name].link, hosts[name].secret) != (peer.link, peer.secret):
                self._followed.pop(name).stop()
        for name, host in hosts.items():
            if name != self._host_id and name not in self._followed and _listens(host):
                self._followed[name] = PeerConnection(
                    self._host_id, name, host.link, host.secret,
                    self._on_refused, self._on_no_answer,
                    lambda peer: self._answers(peer.name, peer.link), self._on_failure,
                )  # fmt: skip

    def silent(self) -> list[Suspicion]:
        """The hosts that were heard before, and not for a second."""
        met = self._met()
        seconds = {peer.name: self._silent_for(peer) for peer in met}
        answering = sum(each < SILENCE for each in seconds.values())
        return [
            Suspicion(peer.name, peer.link, FirstWitness(False, seconds[peer.name], len(met), answering))
            for peer in met
            if seconds[peer.name] >= SILENCE
        ]

    def close(self) -> None:
        self.know({})

    def _met(self) -> list[PeerConnection]:
        return [peer for peer in list(self._followed.values()) if peer.was_reached]

    def _silent_for(self, peer: PeerConnection) -> float:
        """On whichever of the two connections it was heard last."""
        theirs = self._listener.silent_for(peer.name) if self._listener else None
        return peer.silent_for() if theirs is None else min(theirs, peer.silent_for())

    def _on_no_answer(self, peer: PeerConnection) -> None:
        if self._listener is not None and self._listener.has_exited(peer.name):
            self._on_refused(peer)

    def _on_refused(self, peer: PeerConnection) -> None:
        ended_ago = peer.ended_ago()
        if self._listener is not None and not self._listener.wait_until_gone(peer.name, BOTH_ENDS):
            theirs = self._listener.silent_for(peer.name)
            if theirs is not None and theirs < SILENCE:
                return
        others = [each for each in self._met() if each is not peer]
        count = len(others) + 1
        answering = accepting([each.address for each in others], count - count // 2, PROBE)
        self._refused(Suspicion(peer.name, peer.link, FirstWitness(True, ended_ago, count, answering)))


def _listens(host: Host) -> bool:
    """Whether it says where, and with which secret; not so of an earlier version. Anybody can write into etcd."""
    return all(isinstance(each, str) and each for each in (host.link, host.secret))


def accepting(addresses: Sequence[Any], enough: int, timeout: float) -> int:
    """At how many of these a connection is accepted within `timeout` seconds; `enough` of them end the wait."""
    found = 0
    until = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        waiting = 0
        for address in addresses:
            with contextlib.suppress(OSError):  # an error of our own: it does not answer
                probe = socket.socket(socket.AF_INET6 if len(address) > 2 else socket.AF_INET)
                stack.enter_context(probe)
                probe.setblocking(False)
                if probe.connect_ex(address) in (0, errno.EINPROGRESS):
                    selector.register(probe, selectors.EVENT_WRITE)
                    waiting += 1
        while waiting and found < enough and (left := until - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                selector.unregister(key.fileobj)
                waiting -= 1
                assert isinstance(key.fileobj, socket.socket)
                found += key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    return found

"""What nobody waits for is on its way before whoever asked for it may hold the interpreter for ever."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
from functools import partial
from multiprocessing.connection import Connection

import pytest

from partition_workers.commit_flight import wait_until_sent
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Put, Txn
from tests.eventually import eventually

ROUNDS = 30


def send_and_cling(endpoints: tuple[str, ...], prefix: str, is_beside_a_stream: bool, released: Connection) -> None:
    """Round by round: no other thread of this process runs until there is a byte to read. A first call has connected
    the client, as that of every standby has."""
    etcd = Etcd(EtcdOptions(endpoints))
    etcd.get(prefix)
    if is_beside_a_stream:
        etcd.watch((f"{prefix}elsewhere/",), 0)
    hold = ctypes.PyDLL(None).read
    byte = ctypes.create_string_buffer(1)
    for number in range(ROUNDS):
        answer = etcd.transact_soon(Txn((), (Put(f"{prefix}{number}", b""),)))
        wait_until_sent(answer)
        assert hold(released.fileno(), byte, 1) == 1
        assert answer.result(timeout=10).succeeded
    etcd.close()


@pytest.mark.parametrize("is_beside_a_stream", [False, True])
def test_what_was_sent_arrives_though_its_sender_lets_nothing_run(
    etcd_endpoints: tuple[str, ...], prefix: str, is_beside_a_stream: bool
) -> None:
    """A successor's word that it is here must not hang on a handler that lets go of the interpreter."""
    spawned = multiprocessing.get_context("spawn")
    reading, writing = spawned.Pipe(duplex=False)
    child = spawned.Process(target=send_and_cling, args=(etcd_endpoints, prefix, is_beside_a_stream, reading))
    child.start()
    etcd = Etcd(EtcdOptions(etcd_endpoints))
    try:
        for number in range(ROUNDS):
            eventually(f"request {number} arrives", partial(etcd.get, f"{prefix}{number}"))
            os.write(writing.fileno(), b".")
        child.join(10.0)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        etcd.close()
        reading.close()
        writing.close()

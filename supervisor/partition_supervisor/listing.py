"""All that etcd knows of a group, read at one revision."""

from __future__ import annotations

from dataclasses import dataclass

from partition_workers.etcd.store import Get, KeyValue, Txn
from partition_workers.layout.keys import Keys


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`went_back_from`: a later revision, seen before this one was asked for; 0: there was none, as it should be."""

    revision: int
    items: tuple[KeyValue, ...]
    went_back_from: int = 0


def prefixes(keys: Keys) -> tuple[str, ...]:
    return keys.locks, keys.standbys, keys.hosts, keys.control


def read_all(keys: Keys) -> Txn:
    return Txn((), tuple(Get(prefix, prefix=True) for prefix in prefixes(keys)))

"""What the consumers do with each record. Change it, then: docker compose kill --signal HUP host-1 host-2 host-3"""

from __future__ import annotations

from partition_workers import Record, State


def handle(record: Record, state: State) -> None:
    value = (record.value() or b"").decode()
    state["records"] = state.get("records", 0) + 1
    state["last"] = value
    # It depends on the order of all records before, so it shows one that is lost, doubled or swapped.
    state["checksum"] = (state.get("checksum", 0) * 31 + int(value.rpartition("-")[2])) % 2_147_483_647

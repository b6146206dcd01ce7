"""A handler to begin with: how many records there were."""

from partition_workers import Record, State


def handle(_record: Record, state: State) -> None:
    state["records"] = state.get("records", 0) + 1

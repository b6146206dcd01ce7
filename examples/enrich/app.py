"""From a topic to a topic: each order goes on with the running number that it has among those of its customer.

partition-supervisor run examples/enrich/app.py:handle --topic orders --output numbered-orders
"""

from __future__ import annotations

import json
import os

from partition_workers import Context, Record, State

OUTPUT = os.environ.get("ENRICH_OUTPUT", "numbered-orders")


def handle(record: Record, state: State, context: Context) -> None:
    customer = (record.key() or b"nobody").decode(errors="backslashreplace")
    order = (record.value() or b"").decode(errors="backslashreplace")
    state[customer] = number = state.get(customer, 0) + 1
    context.produce(OUTPUT, json.dumps({"order": order, "number": number}), key=f"{customer}/{number % 10}")

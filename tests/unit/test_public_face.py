"""What authors of handlers import."""

from __future__ import annotations

import subprocess
import sys

import confluent_kafka
import pytest

import partition_workers
from partition_workers import Context, Record, State, handler
from partition_workers.state import mapping


def test_the_names_are_those_that_handlers_get() -> None:
    """Nothing is wrapped or copied, and each says what it is."""
    assert (Context, Record, State) == (handler.Context, confluent_kafka.Message, mapping.State)
    assert set(partition_workers.__all__) == {"Context", "Record", "State"} <= set(dir(partition_workers))
    assert all(getattr(partition_workers, name).__doc__ for name in partition_workers.__all__)
    assert "private by agreement" in (partition_workers.__doc__ or "")


def test_a_name_that_is_not_there_is_an_import_error() -> None:
    """As for any module."""
    with pytest.raises(ImportError, match="Reocrd"):
        exec("from partition_workers import Reocrd")


def test_importing_the_package_imports_nothing_else() -> None:
    """Commands that know no handler do not wait for Kafka's client or for gRPC."""
    script = (
        "import sys, partition_workers; print(*(set(sys.modules) & {'confluent_kafka', 'grpc', 'logging', 'json'}))"
    )

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "\n"

"""The bridge to etcd3: what must hold under every protobuf we allow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from partition_workers.errors import Misconfigured
from partition_workers.etcd import messages

ROOT = Path(__file__).parents[2]


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)


def test_messages_survive_the_wire() -> None:
    """A message comes back as it was sent, nested ones and bytes included."""
    request = messages.rpc.TxnRequest()
    put = request.success.add().request_put
    put.key, put.value, put.lease = b"k\xff", b"\0v", 1 << 62
    assert messages.rpc.TxnRequest.FromString(request.SerializeToString()) == request


def test_only_messages_and_stubs_are_loaded() -> None:
    """Importing the bridge leaves no half-built etcd3 behind, and its client stays out."""
    done = run(
        "import sys, partition_workers.etcd.messages\n"
        "print(*sorted(name for name in sys.modules if name.split('.')[0] == 'etcd3'))"
    )
    names = ("auth_pb2", "kv_pb2", "rpc_pb2", "rpc_pb2_grpc")
    assert done.stdout.split() == [f"etcd3.etcdrpc.{name}" for name in names], done.stderr


def test_loading_again_changes_nothing() -> None:
    """A second load finds the messages of the first."""
    done = run(
        "import importlib, partition_workers.etcd.messages as bridge\n"
        "first = bridge.rpc\n"
        "assert importlib.reload(bridge).rpc is first"
    )
    assert done.returncode == 0, done.stderr


def test_etcd3_itself_can_be_imported_afterwards() -> None:
    """Whoever uses etcd3 beside us gets the real package, with our messages."""
    done = run(
        "import partition_workers.etcd.messages as bridge, etcd3\n"
        "assert etcd3.etcdrpc.TxnRequest is bridge.rpc.TxnRequest\n"
        "etcd3.client"
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_etcd3_is_named() -> None:
    """Without etcd3 the error says what to install."""
    done = run("import sys; sys.modules['etcd3'] = None\nimport partition_workers.etcd.messages")
    assert "Misconfigured: the Python package etcd3 is missing: pip install" in done.stderr


def test_an_unknown_layout_is_named(tmp_path: Path) -> None:
    """Another etcd3 than the one we know is refused with the file that is different."""
    with pytest.raises(Misconfigured, match=r"kv_pb2\.py"):
        messages._messages(tmp_path)
    (tmp_path / "etcdrpc").mkdir()
    (tmp_path / "etcdrpc" / "kv_pb2.py").write_text("DESCRIPTOR = 1\n")
    with pytest.raises(Misconfigured, match="does not describe its messages"):
        messages._messages(tmp_path)

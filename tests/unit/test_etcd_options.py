"""How etcd's addresses are read, and what is refused before anything is connected."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from partition_workers.errors import Misconfigured
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, address, parse_endpoints


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        ("localhost:2379", ("localhost:2379",)),
        ("a:1,b:2", ("a:1", "b:2")),
        (" http://a:1/ , https://b:2 ,", ("a:1", "https://b:2")),
        ("[::1]:2379,https://[fe80::1]:2379", ("[::1]:2379", "https://[fe80::1]:2379")),
        ("a:1,http://a:1", ("a:1",)),
    ],
)
def test_endpoints_are_read(text: str, endpoints: tuple[str, ...]) -> None:
    """Commas between them; http:// means nothing, https:// means TLS."""
    assert parse_endpoints(text) == endpoints


@pytest.mark.parametrize(
    "text",
    [
        *("", " , ", "localhost", "localhost:", ":2379", "a:b", "a:0", "a:70000", "a:²", "a b:1", "u@a:1"),
        *("a:" + "9" * 5000, "::1:2379", "ftp://a:1", "https://a:1/path"),
    ],
)
def test_what_is_no_endpoint_is_named(text: str) -> None:
    """The error shows the text as it was given."""
    with pytest.raises(Misconfigured) as caught:
        parse_endpoints(text)
    assert repr(text.strip()) in str(caught.value) or repr(text) in str(caught.value)


def test_https_or_a_certificate_means_tls() -> None:
    """One endpoint may ask for TLS by itself; certificates ask for it everywhere."""
    plain = EtcdOptions(("a:1", "https://b:2"))
    assert [plain.secure(each) for each in plain.endpoints] == [False, True]
    assert EtcdOptions(("a:1",), ca_cert="ca.pem").secure("a:1")
    assert address("https://b:2") == "b:2"


def test_a_password_is_not_shown_but_kept() -> None:
    """The options may be logged and sent to another process."""
    options = EtcdOptions(("a:1",), user="root", password="secret")
    assert "secret" not in repr(options)
    assert pickle.loads(pickle.dumps(options)) == options


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoints": ()},
        {"endpoints": ("a:1",), "cert": "c.pem"},
        {"endpoints": ("a:1",), "key": "k.pem"},
        {"endpoints": ("a:1",), "user": "root"},
        {"endpoints": ("a:1",), "timeout": 0.0},
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, object]) -> None:
    """It is said at once, not by a failing connection."""
    with pytest.raises(Misconfigured):
        EtcdOptions(**wrong)  # type: ignore[arg-type]


def test_a_missing_certificate_file_is_named() -> None:
    """The file that cannot be read stands in the text."""
    with pytest.raises(Misconfigured, match=r"/nowhere/ca\.pem"):
        Etcd(EtcdOptions(("a:1",), ca_cert="/nowhere/ca.pem"))


def test_the_options_are_cheap_to_import() -> None:
    """Whoever only passes the options on does not load gRPC."""
    script = "import sys, partition_workers.etcd.options; sys.exit('grpc' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root).returncode == 0

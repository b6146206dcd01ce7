"""Addresses as people write them."""

from __future__ import annotations

import pytest

from partition_supervisor.addresses import address_towards, is_loopback, is_unspecified, listen_at, split_address
from partition_workers.errors import Misconfigured


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("node", ("node", 0)),
        ("node:7", ("node", 7)),
        ("node:0", ("node", 0)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
        ("[::1]:7", ("::1", 7)),
        ("[::1]", ("::1", 0)),
        ("::1", ("::1", 0)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("2001:db8::1:7400", ("2001:db8::1:7400", 0)),  # it is an address; a port needs brackets
        ("[2001:db8::1]:7400", ("2001:db8::1", 7400)),
        ("[10.0.0.1]:7400", ("10.0.0.1", 7400)),  # who writes brackets need not know which kind it is
    ],
)
def test_host_and_port_are_told_apart(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize("text", ["", ":7", "node:seven", "node:65536", "node:-1", "[]:7", "node:٣"])
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no HOST or HOST:PORT"):
        split_address(text)


def test_who_may_have_left_out_the_brackets_is_told_of_them() -> None:
    with pytest.raises(Misconfigured, match=r"--listen \[2001:db8::1:7400\]: .* write \[ADDRESS\]:PORT"):
        listen_at("2001:db8::1:7400", 0, 0.0)


@pytest.mark.parametrize(
    ("address", "loopback", "unspecified"),
    [
        ("127.0.0.1", True, False),
        ("127.9.9.9", True, False),
        ("::1", True, False),
        ("localhost", True, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("10.0.0.1", False, False),
        ("node", False, False),
    ],
)
def test_which_addresses_lead_nowhere(address: str, loopback: bool, unspecified: bool) -> None:
    assert (is_loopback(address), is_unspecified(address)) == (loopback, unspecified)


def test_the_address_that_leads_to_a_server() -> None:
    assert address_towards("127.0.0.1:2379") == "127.0.0.1"
    assert address_towards("no.such.host.invalid:2379") is None

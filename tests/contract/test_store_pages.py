"""Reading many keys in pages, whether from etcd or from the fake of the tests."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partition_workers.errors import Compacted, Unavailable
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Get, Put, Store, Txn
from tests.contract.calls import delete, names, put
from tests.contract.group import AnyStore
from tests.fakes.line import Line

#: Seconds for a page that may be large; None: a small one.
WAYS = pytest.mark.parametrize("large", [None, 5.0], ids=["small", "large"])


def put_all(store: Store, prefix: str, wanted: list[str]) -> int:
    """Returns the revision of the last one."""
    revision = 0
    for start in range(0, len(wanted), 100):
        puts = tuple(Put(f"{prefix}{name}", name.encode()) for name in wanted[start : start + 100])
        revision = store.transact(Txn((), puts)).revision
    return revision


def shown(items: Iterable[tuple[str, bytes]], prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key, _ in items]


def read(store: Store, prefix: str, limit: int, revision: int = 0, large: float | None = None) -> list[list[str]]:
    """All pages."""
    pages: list[list[str]] = []
    after, more = "", True
    while more:
        page = store.page(prefix, after, limit, revision, large)
        pages.append(shown(page.items, prefix))
        more, after = page.more, page.items[-1][0] if page.items else ""
    return pages


@WAYS
@pytest.mark.parametrize(
    ("keys", "limit", "sizes"),
    [(0, 10, [0]), (10, 10, [10]), (10, 0, [10]), (11, 10, [10, 1]), (30, 10, [10, 10, 10]), (3, 1, [1, 1, 1])],
)
def test_pages_hold_every_key_once_in_order(
    store: AnyStore, prefix: str, keys: int, limit: int, sizes: list[int], large: float | None
) -> None:
    """None, exactly one page, a little more; the last one says that nothing follows. Neighbours are not in them."""
    wanted = [f"{number:03d}" for number in range(keys)]
    put_all(store, f"{prefix}in/", wanted)
    put_all(store, prefix, ["im/a", "in", "in0", "io"])
    pages = read(store, f"{prefix}in/", limit, large=large)
    assert [len(page) for page in pages] == sizes
    assert list(chain.from_iterable(pages)) == wanted


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4), min_size=1, max_size=20),
    st.integers(1, 7),
)
def test_keys_may_be_any_text(store: AnyStore, prefix: str, wanted: set[str], limit: int) -> None:
    """Zero bytes, slashes, keys that begin like others: none is lost between two pages, none comes twice."""
    delete(store, prefix, prefix=True)
    ordered = sorted(wanted, key=str.encode)
    put_all(store, prefix, ordered)
    assert list(chain.from_iterable(read(store, prefix, limit))) == ordered


@WAYS
def test_a_revision_shows_what_was_then(store: AnyStore, prefix: str, large: float | None) -> None:
    """Whatever was put, changed or deleted between two pages."""
    then = put_all(store, prefix, ["a", "b", "c", "d"])
    first = store.page(prefix, "", 2, then, large)
    put(store, f"{prefix}bb")
    put(store, f"{prefix}c", b"changed")
    delete(store, f"{prefix}d")
    second = store.page(prefix, first.items[-1][0], 10, then, large)
    assert shown((*first.items, *second.items), prefix) == ["a", "b", "c", "d"]
    assert second.items[0][1] == b"c"
    assert not second.more
    assert first.revision == then < second.revision
    assert shown(store.page(prefix).items, prefix) == ["a", "b", "bb", "c"]


def test_a_revision_that_was_compacted_is_gone_and_the_one_of_the_compaction_is_not(
    store: AnyStore, prefix: str
) -> None:
    """Between two pages too."""
    then = put_all(store, prefix, ["a", "b"])
    after = store.page(prefix, "", 1, then).items[-1][0]
    later = put(store, f"{prefix}c")
    store.compact(later)
    with pytest.raises(Compacted):
        store.page(prefix, after, 1, then)
    assert shown(store.page(prefix, after, 10, later).items, prefix) == ["b", "c"]


def test_a_member_that_has_not_heard_of_a_revision_says_so(store: AnyStore, prefix: str) -> None:
    """That passes, or another member knows it: Unavailable, and nothing that ends a process."""
    with pytest.raises(Unavailable, match="not heard of"):
        store.page(prefix, "", 1, put(store, f"{prefix}a") + 1000)


def test_a_transaction_reads_so_many_keys_and_no_more(store: AnyStore, prefix: str) -> None:
    """The first ones."""
    put_all(store, prefix, ["a", "b", "c"])
    found = store.transact(Txn((), (Get(prefix, prefix=True, limit=2), Get(prefix, prefix=True)))).answers
    assert [names(each, prefix) for each in found] == [["a", "b"], ["a", "b", "c"]]


class TestConnections:
    """What only a real network can do."""

    def test_large_pages_turn_to_another_endpoint_and_disturb_nobody(
        self, etcd_endpoints: tuple[str, ...], prefix: str
    ) -> None:
        """A member that falls silent between two pages costs one deadline. Streams to it live on."""
        line = Line(etcd_endpoints[0])
        etcd = Etcd(EtcdOptions((line.endpoint, *etcd_endpoints)))
        try:
            then = put_all(etcd, prefix, [f"{number:03d}" for number in range(10)])
            watch = etcd.watch((prefix,), then)
            assert len(list(islice(watch, 10))) == 10
            after = etcd.page(prefix, "", 5, then, large=5.0).items[-1][0]
            line.freeze_newest()
            with pytest.raises(Unavailable, match="in time"):
                etcd.page(prefix, after, 5, then, large=0.3)
            rest = etcd.page(prefix, after, 5, then, large=5.0)
            assert shown(rest.items, prefix) == [f"{number:03d}" for number in range(5, 10)]
            put(etcd, f"{prefix}a")
            assert next(iter(watch)).item.key == f"{prefix}a"
        finally:
            etcd.close()
            line.close()

"""How many partitions each host should own: in proportion to its places, if it is fit to be given any.

A pure part of the plan, the same on every host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unfit:
    """Hosts that are given nothing, unless nobody else has a place for it. Those that are `unable` keep what they
    own, as far as it is their share; those that are `drained` give everything away."""

    unable: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()


ALL_FIT = Unfit()


def shares_of_fit(places: Mapping[str, int], total: int, owned: Mapping[str, int], unfit: Unfit) -> dict[str, int]:
    """The share of each host: in proportion to its places if it is fit; if not, it keeps what it may, and gets what
    the others have no places for."""
    if places.keys().isdisjoint(unfit.unable | unfit.drained):
        return _shares(places, total, owned)
    unable = {host: count for host, count in places.items() if host in unfit.unable - unfit.drained}
    drained = {host: count for host, count in places.items() if host in unfit.drained}
    able = {host: count for host, count in places.items() if host not in unable and host not in drained}
    if not able:
        able, unable = unable, {}  # then none is worse than the others
    fair = _shares(able | unable, min(total, sum((able | unable).values())), owned)
    shares = dict.fromkeys(drained, 0) | fair | {host: min(fair[host], owned.get(host, 0)) for host in unable}
    for takers in (able, _owned_of(unable, owned), unable, _owned_of(drained, owned), drained):
        room = {host: max(0, count - shares[host]) for host, count in takers.items()}
        more = _shares(room, min(total - sum(shares.values()), sum(room.values())), owned)
        shares |= {host: shares[host] + count for host, count in more.items()}
    return {host: shares[host] for host in places}


def _owned_of(places: Mapping[str, int], owned: Mapping[str, int]) -> dict[str, int]:
    """The places of theirs that are taken by owners: who is left with something keeps what it has."""
    return {host: min(count, owned.get(host, 0)) for host, count in places.items()}


def _shares(places: Mapping[str, int], total: int, owned: Mapping[str, int]) -> dict[str, int]:
    """`total` spread over the hosts in proportion to their places; the remainders go to the largest fractions, and
    among equal ones to who owns more than its share already."""
    all_places = sum(places.values())
    if not all_places:
        return {}
    shares, rest = {}, {}
    for host, count in places.items():
        shares[host], rest[host] = divmod(total * count, all_places)

    def claim(host: str) -> tuple[int, int, str]:
        return -rest[host], shares[host] - owned.get(host, 0), host

    for host in sorted(places, key=claim)[: total - sum(shares.values())]:
        shares[host] += 1
    return shares

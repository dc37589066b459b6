"""Independent pieces of a lap side by side: one compiled program keeps about one CPU core busy."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from math import inf
from typing import TypeVar

import jax
from threadpoolctl import ThreadpoolController

__all__ = ["dense_side_by_side", "side_by_side"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 4  # threads: memory grows with each of them
_WORTH = 3e7  # floating-point operations from which on threads are worth what it takes to start them


def side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], *, alike: bool = False, host: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Yields `(item, function(item))` as they are done, in any order; the first failure ends the others.

    Where the items are `alike`, the first one runs alone, so that what it compiles is there for the rest. Results do
    not depend on the number of threads. Accelerators run one program at a time and get one thread, and so do several
    devices, which wait for each other; what is computed on the `host` all the same gets several beside them, too.
    """
    if not items:
        return
    if alike:
        yield items[0], function(items[0])
        items = items[1:]
    several = host or (jax.default_backend() == "cpu" and jax.device_count() == 1)
    threads = max(1, min(os.cpu_count() or 1, _MOST, len(items))) if several else 1
    pool = ThreadPoolExecutor(threads)
    try:
        futures = {pool.submit(function, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def dense_side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], operations: float = inf
) -> Iterator[tuple[Item, Result]]:
    """`side_by_side` for dense algebra on the host: one thread of BLAS each, as its own wait for each other.

    Where all items together are worth no more than some `operations`, they are done one after the other.
    """
    if operations < _WORTH:
        yield from ((item, function(item)) for item in items)
        return
    with _libraries().limit(limits=1, user_api="blas"):
        yield from side_by_side(function, items, host=True)


@cache
def _libraries() -> ThreadpoolController:
    """Found once: looking for them takes as long as the algebra of a small lap."""
    return ThreadpoolController()

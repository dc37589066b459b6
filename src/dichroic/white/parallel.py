"""Independent pieces of a lap side by side: one compiled program keeps about one CPU core busy."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import jax
from threadpoolctl import threadpool_limits

__all__ = ["dense_side_by_side", "side_by_side"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST = 4  # threads: memory grows with each of them


def side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], *, alike: bool = False
) -> Iterator[tuple[Item, Result]]:
    """Yields `(item, function(item))` as they are done, in any order; the first failure ends the others.

    Where the items are `alike`, the first one runs alone, so that what it compiles is there for the rest. Results do
    not depend on the number of threads. Accelerators run one program at a time and get one thread.
    """
    if not items:
        return
    if alike:
        yield items[0], function(items[0])
        items = items[1:]
    threads = max(1, min(os.cpu_count() or 1, _MOST, len(items))) if jax.default_backend() == "cpu" else 1
    pool = ThreadPoolExecutor(threads)
    try:
        futures = {pool.submit(function, item): item for item in items}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def dense_side_by_side(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
    """`side_by_side` for dense algebra on the host: one thread of BLAS each, as its own wait for each other."""
    with threadpool_limits(1, "blas"):
        yield from side_by_side(function, items)

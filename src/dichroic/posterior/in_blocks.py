"""Views that are larger than their share of memory, drawn block by block."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import prod

import numpy as np

from dichroic import memory
from dichroic.diffusion import Prior
from dichroic.posterior.draws import Draws, join
from dichroic.posterior.method import Bound, Wanted
from dichroic.problem import View
from dichroic.problem.portion import bytes_of_one, portion_of

__all__ = ["InBlocks", "bind_blocks"]


def bind_blocks(bind: Callable[[View], Bound], view: View, priors: Mapping[str, Prior]) -> Bound:
    """A method bound to a view, as `bind` does; where that is too large for the budget of memory, to a part of it,
    chosen at random, which then says how blocks are drawn.
    """
    sizes = {s: prod(priors[s].shape) for s in view.mixing}
    some = portion_of(view, sizes)
    return bind(view) if some is view else InBlocks(bind(some), view, sizes)


class InBlocks(Bound):
    """A view bound block by block: `bound`, to a part of it, says how; `sizes`, of the sources."""

    def __init__(self, bound: Bound, view: View, sizes: Mapping[str, int]):
        self.bound, self.view, self.sizes = bound, view, sizes
        self.cost, self.shared, self.exact, self.tried = bound.cost, bound.shared, bound.exact, bound.tried
        self._each = bytes_of_one(view, sizes, bound.dense)

    def on(self, view: View) -> Bound:
        if memory.fits(self._each * len(view)):
            return self.bound.on(view)
        return InBlocks(self.bound, view, self.sizes)

    def parts(self, begin: int, end: int) -> Iterator[tuple[slice, View, Bound]]:
        """The rows from `begin` to `end` block by block: which, their observations, and what draws them."""
        for block in memory.blocks(end - begin, self._each):
            rows = slice(begin + block.start, begin + block.stop)
            some = self.view.select(np.arange(rows.start, rows.stop))
            yield rows, some, self.bound.on(some)

    def drawn(self, wanted: Wanted) -> Draws:
        n, samples, found = len(wanted.rows), {}, []
        for block in memory.blocks(n, self._each):
            chosen = np.arange(block.start, block.stop)

            def report(done: int, _: int, before: int = block.start) -> None:
                wanted.report(before + done, n)

            part = wanted.part(chosen, np.arange(len(chosen)), report)
            some = self.bound.on(self.view.select(wanted.rows[chosen])).drawn(part)
            for s, x in some.samples.items():
                if s not in samples:
                    samples[s] = memory.zeros((n, *x.shape[1:]), x.dtype)
                samples[s][block] = x
            found.append((chosen, replace(some, samples={})))
        return replace(join(found), samples=samples, cost=self.cost, shared=self.shared)

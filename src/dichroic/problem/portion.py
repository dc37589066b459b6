"""What of a view a budget of memory holds."""

from collections.abc import Mapping
from math import prod

from dichroic import memory
from dichroic.problem.problem import Problem
from dichroic.problem.view import View, leaves

__all__ = ["bytes_of_one", "number_held", "portion", "portion_of"]

FEW = 512  # observations that say enough of all others
_SEED = 0


def bytes_of_one(view: View, sizes: Mapping[str, int], dense: bool = True) -> int:
    """What one observation takes: its data and parameters, its draws, and, where it has a system of its own that is
    `dense`, the matrix of that.

    **Arguments:** `sizes`, numbers in each source.
    """
    arrays = leaves((view.y, view.observed, dict(view.mixing), view.noise, dict(view.truth)))
    own = sum(x[:1].nbytes for x in arrays if x.ndim and len(x) == len(view))
    total = sum(sizes[s] for s in view.mixing)
    return own + 16 * (view.data_size + total) + (8 * view.data_size * total if dense and not view.shared else 0)


def number_held(view: View, sizes: Mapping[str, int]) -> int:
    """How many observations of a view its share of the budget of memory holds; `FEW` where it is their matrices alone,
    which may not be made, that it has no room for.
    """
    dense, bare = (next(memory.blocks(len(view), bytes_of_one(view, sizes, dense))).stop for dense in (True, False))
    return max(dense, min(FEW, bare))


def portion_of(view: View, sizes: Mapping[str, int]) -> View:
    """A view, or as many of its observations, chosen at random, as its share of the budget of memory holds."""
    return view.subset(number_held(view, sizes), _SEED)


def portion(problem: Problem) -> Problem:
    """The same of all views of a problem."""
    sizes = {s: prod(source.real_shape) for s, source in problem.sources.items()}
    views = {name: portion_of(view, sizes) for name, view in problem.views.items()}
    if all(view is problem.views[name] for name, view in views.items()):
        return problem
    return Problem(problem.sources, views, problem.title)

"""Who answers for a view: the cheapest exact route there is, and where the sizes stand at which one ends.

Four routes. `Systems`: every observation its own small system, in compiled code. In dense algebra on the host,
`Groups`, of observations that share operators, noise and mask; `Factors`, of those that differ by entrywise factors,
noise, masks or amplitudes say.
`MatrixFree`, where dense matrices are out of the question: posterior draws, of Gaussian sources.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dichroic import memory
from dichroic.closed.evidence import Evidence
from dichroic.closed.factors import Factors, factor_operations
from dichroic.closed.groups import Groups, group_operations
from dichroic.closed.matrix_free import MatrixFree
from dichroic.closed.systems import Systems, system_operations
from dichroic.problem import View
from dichroic.white.layout import group_alike, shared_cores

__all__ = ["NoRoute", "bind_components", "bind_dense", "bind_view", "bind_views", "has_room"]

# for sources of one Gaussian
SMALL = 16  # systems up to this size can be solved one per observation, in compiled code
DENSE = 4096  # above this many unknowns or data, no dense matrix
BUDGET = 2e12  # floating-point operations per lap that the dense routes may cost
GROUP = 3e7  # the same, for what a group or compiled code costs whatever its size

# for sources of several components: every combination of them has a system of its own
SMALL_OF_MANY = 8  # beyond it, compiled systems are slower than those of groups, and their programs long to compile
DENSE_OF_MANY = 1024  # above this many unknowns or data, no dense matrix per component
BUDGET_OF_MANY = 3e11  # floating-point operations of a lap that two components may cost
GROUP_OF_MANY, CODE_OF_MANY = 1e6, 1e7  # operations: what a group, and compiled code, cost whatever their size


class NoRoute(ValueError):
    """No exact route leads through a view at a bearable cost. Says why."""


Routes = Mapping[str, tuple[float, Callable[[], Any]]]  # floating-point operations of a lap, and how it is bound


def bind_views(views: Sequence[View], shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int) -> list[Evidence]:
    """Chooses a route for every view of sources of one Gaussian. Draws do not pool with moments: where one view needs
    draws, all give them, of `subset` observations.
    """
    bound = [bind_view(view, shapes, subset, seed + i) for i, view in enumerate(views)]
    if any(view.draws_only for view in bound):
        return [MatrixFree(view, shapes, subset, seed + i) for i, view in enumerate(views)]
    return bound


def bind_view(view: View, shapes: Mapping[str, tuple[int, ...]], subset: int, seed: int) -> Evidence:
    """Chooses the route for a view by itself, the one that costs least."""
    unknowns, data = sum(_sizes(view, shapes)), view.data_size
    routes = {name: route for name, route in dense_routes(view, shapes).items() if route[0] <= BUDGET}
    if min(data, unknowns) <= SMALL and max(data, unknowns) <= 4 * SMALL:
        each = 10.0 * (data**3 + 12 * data**2) + 2.0 * data * unknowns * (data + unknowns)
        routes["systems"] = GROUP + len(view) * each, lambda: Systems(view, shapes)
    return cheapest(routes) or MatrixFree(view, shapes, subset, seed)


def bind_dense(view: View, shapes: Mapping[str, tuple[int, ...]], budget: float) -> Evidence | None:
    """The cheaper of the routes that factorise systems on the host, for sources of one Gaussian; None where it costs
    more than `budget` operations or its matrices are too large.
    """
    return cheapest({name: route for name, route in dense_routes(view, shapes).items() if route[0] <= budget})


def dense_routes(view: View, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[float, Callable[[], Any]]]:
    """The routes that factorise systems on the host."""
    unknowns, data = sum(_sizes(view, shapes)), view.data_size
    if not memory.dense(max(data, unknowns), DENSE):
        return {}
    groups = group_alike(view)
    together = len(groups) * (2.0 * data**2 * unknowns + 2.0 * unknowns**2 * data + GROUP)
    routes: dict[str, tuple[float, Callable[[], Any]]] = {"groups": (together, lambda: Groups(view, shapes, groups))}
    if shared_cores(view) is not None:
        routes["factors"] = factor_operations(view.counts, 1), lambda: Factors(view, shapes)
    return routes


def cheapest(routes: Routes) -> Any:
    """The view bound by the route that costs least, None where there is none."""
    return min(routes.values(), key=lambda route: route[0])[1]() if routes else None


def bind_components(view: View, shapes: Mapping[str, tuple[int, ...]]) -> Evidence:
    """Chooses the route of a view of sources of several components that costs least.

    **Raises:** `NoRoute` where there is no exact one at a bearable cost.
    """
    sizes, data = _sizes(view, shapes), view.data_size
    small = data <= SMALL_OF_MANY and sum(sizes) <= 8 * SMALL_OF_MANY
    numbers = max(data, *sizes)
    if not small and numbers > DENSE_OF_MANY:
        raise NoRoute(f"{numbers} numbers in a source or an observation, for matrices of at most {DENSE_OF_MANY}")
    if not has_room(view, shapes):
        raise NoRoute(f"{numbers} numbers in a source or an observation, too many for matrices in the budget of memory")
    groups = group_alike(view)
    together = sum(GROUP_OF_MANY + group_operations(len(members), data, sum(sizes)) for members in groups)
    routes: dict[str, tuple[float, Callable[[], Any]]] = {"groups": (together, lambda: Groups(view, shapes, groups))}
    if small:
        routes["systems"] = CODE_OF_MANY + system_operations(len(view), data), lambda: Systems(view, shapes)
    if shared_cores(view) is not None:
        routes["factors"] = factor_operations(view.counts, 1), lambda: Factors(view, shapes)
    least = min(cost for cost, _ in routes.values())
    if least > BUDGET_OF_MANY:
        raise NoRoute(
            f"{len(groups)} of {len(view)} observations of {data} values have operators, noise or gaps of their own: "
            f"{least:.1g} floating-point operations a lap, where {BUDGET_OF_MANY:.1g} are bearable; fewer observations "
            "would do, or fewer kinds of them"
        )
    return cheapest(routes)


def has_room(view: View, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether there is room for matrices of any source and of the data, without which there is no dense route."""
    return memory.dense(max(view.data_size, *_sizes(view, shapes)), DENSE)


def _sizes(view: View, shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    return [int(np.prod(shapes[s])) for s in view.mixing]

r"""What one view says about sources of several components, by the cheapest exact route there is.

An observation of such sources is itself a mixture, over all combinations :math:`c = (k_1, \ldots, k_S)` of
their components,

.. math:: p(y) = \sum_c \prod_s w_{s k_s}\; \mathcal N\Big(y;\; \sum_s A_s \mu_{s k_s},\;
    C_c = I + \sum_s A_s S_{s k_s} A_s^\top\Big) .

Two routes: every observation its own small system, in compiled code (`systems`); observations that share
operators, noise and mask in dense algebra on the host (`group_systems`). Where both apply the one of fewer operations
is taken, where neither does there is no components stage.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from math import prod

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float
from scipy.special import logsumexp

from dichroic.algebra import Components, matheron
from dichroic.closed.components_view import ComponentStatistics, ComponentsView
from dichroic.closed.group_systems import GroupSystems
from dichroic.closed.systems import SystemView, system_operations
from dichroic.problem import View
from dichroic.white.view import chi_square_of_groups, group_alike, grouped

__all__ = ["GroupedView", "bind_components_view"]

_SMALL = 8  # observations up to this size can be solved one by one, in compiled code
_DENSE = 1024  # above this many unknowns or data, no dense matrix per component
_GROUPS = 8  # kinds of observation above which the dense route costs too much where it is the only one
_CALL, _START = 1e6, 1e7  # floating-point operations: what a group, and compiled code, cost whatever their size


def bind_components_view(view: View, shapes: Mapping[str, tuple[int, ...]]) -> ComponentsView | None:
    """Chooses the route of a view that costs least; None where there is no exact one at a bearable cost."""
    sizes, data = [prod(shapes[s]) for s in view.mixing], view.data_size
    small = data <= _SMALL and sum(sizes) <= 8 * _SMALL
    if not small and max(data, *sizes) > _DENSE:
        return None
    groups = group_alike(view)
    together = sum(_CALL + operations(len(members), data, sum(sizes)) for members in groups)
    if small and _START + system_operations(len(view), data) < together:
        return SystemView(view, shapes)
    return GroupedView(view, shapes, groups) if small or len(groups) <= _GROUPS else None


def operations(n: int, m: int, d: int) -> float:
    """Of one combination of components of a group of `n` observations of `m` data, with `d` unknowns."""
    return 4.0 * m**3 + 2.0 * m * d * (m + d) + 6.0 * n * m**2


class GroupedView(ComponentsView):
    """Observations that share operators, noise and mask, in dense algebra on the host."""

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]], indices: list[np.ndarray] | None = None):
        super().__init__(view, shapes)
        self.groups, self.data_size = grouped(view, shapes, indices), view.data_size

    def log_likelihood(self, components: Mapping[str, Components]) -> Float[np.ndarray, " n"]:
        out = np.empty(self.n)
        for systems in self._systems(components):
            out[systems.group.members] = logsumexp(systems.log_joint(), axis=0)
        return out

    def statistics(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        total, found = 0.0, {}
        for systems in self._systems(components):
            value, derivatives = systems.derivatives()
            total += value
            for s, parts in derivatives.items():
                found[s] = found[s] + ComponentStatistics(*parts) if s in found else ComponentStatistics(*parts)
        return total, found

    def draw(self, components: Mapping[str, Components], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        d = self.groups[0].A.shape[1]
        uniform, white, noise = (np.asarray(a, float) for a in _randomness(keys, d, self.data_size))
        out = np.empty((self.n, d))
        roots = {s: [_root(S) for S in components[s].covariances] for s in self.blocks}
        for systems in self._systems(components):
            group, log_joint = systems.group, systems.log_joint()
            share = np.exp(log_joint - logsumexp(log_joint, axis=0))
            chosen = (np.cumsum(share, 0) < uniform[group.members] * share.sum(0)).sum(0)
            for number in np.unique(chosen):
                combination, rows = systems.combinations[number], group.members[chosen == number]
                x = np.concatenate(
                    [
                        components[s].means[k] + white[rows, self.blocks[s]] @ roots[s][k].T
                        for s, k in combination.items()
                    ],
                    axis=1,
                )

                def pull(r: np.ndarray, number=int(number), combination=combination, group=group, systems=systems):
                    v = scipy.linalg.cho_solve((systems.factor(number), True), r.T, check_finite=False)
                    parts = combination.items()
                    moved = [components[s].covariances[k] @ (group.A[:, self.blocks[s]].T @ v) for s, k in parts]
                    return np.concatenate(moved).T, None

                y, n = group.y[chosen == number], noise[np.ix_(rows, group.values)]
                out[rows], _ = matheron(x, y, n, lambda x, A=group.A: x @ A.T, pull)
        return self.cut(out)

    def _systems(self, components: Mapping[str, Components]) -> Iterator[GroupSystems]:
        for group in self.groups:
            yield from GroupSystems(group, components, self.blocks).parts()

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        return chi_square_of_groups(self.groups, self.stack(samples))

    def cost(self, components: Mapping[str, Components]) -> float:
        combinations = prod(len(components[s]) for s in self.sources)
        return combinations * sum(operations(len(group.y), *group.A.shape) for group in self.groups)


@partial(jax.jit, static_argnums=(1, 2))
def _randomness(keys, d: int, m: int):
    """A uniform number, `d` and `m` standard normal ones for every key: equal keys draw alike in any company."""

    def one(key):
        first, second, third = jax.random.split(key, 3)
        return jax.random.uniform(first), jax.random.normal(second, (d,)), jax.random.normal(third, (m,))

    return jax.vmap(one)(keys)


def _root(S: np.ndarray) -> np.ndarray:
    values, basis = np.linalg.eigh(S)
    return basis * np.sqrt(np.maximum(values, 0))

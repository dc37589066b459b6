r"""What one view says about sources of several components, by the cheapest exact route there is.

An observation of such sources is itself a mixture, over all combinations :math:`c = (k_1, \ldots, k_S)` of
their components,

.. math:: p(y) = \sum_c \prod_s w_{s k_s}\; \mathcal N\Big(y;\; \sum_s A_s \mu_{s k_s},\;
    C_c = I + \sum_s A_s S_{s k_s} A_s^\top\Big) .

Two routes: every observation its own small system, in compiled code (`systems`); observations that share
operators, noise and mask in dense algebra on the host. Where neither applies there is no components stage.
"""

from collections.abc import Mapping
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
from dichroic.closed.systems import SystemView
from dichroic.problem import View
from dichroic.white.view import chi_square_of_groups, group_alike, grouped

__all__ = ["GroupedView", "bind_components_view"]

_SMALL = 8  # observations up to this size are solved one by one, in compiled code
_DENSE = 1024  # above this many unknowns or data, no dense matrix per component
_GROUPS = 8  # kinds of observation above which the dense route costs too much


def bind_components_view(view: View, shapes: Mapping[str, tuple[int, ...]]) -> ComponentsView | None:
    """Chooses the route of a view; None where there is no exact one at a bearable cost."""
    unknowns, data = sum(prod(shapes[s]) for s in view.mixing), view.data_size
    if data <= _SMALL and unknowns <= 8 * _SMALL:
        return SystemView(view, shapes)
    if max(data, max(prod(shapes[s]) for s in view.mixing)) <= _DENSE and len(group_alike(view)) <= _GROUPS:
        return GroupedView(view, shapes)
    return None


class GroupedView(ComponentsView):
    """Observations that share operators, noise and mask, in dense algebra on the host."""

    def __init__(self, view: View, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(view, shapes)
        self.groups, self.data_size = grouped(view, shapes), view.data_size

    def log_likelihood(self, components: Mapping[str, Components]) -> Float[np.ndarray, " n"]:
        out = np.empty(self.n)
        for group in self.groups:
            out[group.members] = logsumexp(GroupSystems(group, components, self.blocks).log_joint(), axis=0)
        return out

    def statistics(self, components: Mapping[str, Components]) -> tuple[float, dict[str, ComponentStatistics]]:
        total, found = 0.0, {}
        for group in self.groups:
            value, derivatives = GroupSystems(group, components, self.blocks).derivatives()
            total += value
            for s, parts in derivatives.items():
                found[s] = found[s] + ComponentStatistics(*parts) if s in found else ComponentStatistics(*parts)
        return total, found

    def draw(self, components: Mapping[str, Components], keys: Array) -> dict[str, Float[np.ndarray, "n ..."]]:
        d = self.groups[0].A.shape[1]
        uniform, white, noise = (np.asarray(a, float) for a in _randomness(keys, d, self.data_size))
        out = np.empty((self.n, d))
        roots = {s: [_root(S) for S in components[s].covariances] for s in self.blocks}
        for group in self.groups:
            systems = GroupSystems(group, components, self.blocks)
            log_joint = systems.log_joint()
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

    def chi_square(self, samples: Mapping[str, np.ndarray]) -> Float[np.ndarray, " n"]:
        return chi_square_of_groups(self.groups, self.stack(samples))

    def cost(self, components: Mapping[str, Components]) -> float:
        combinations = prod(len(components[s]) for s in self.sources)
        operations = 0.0
        for group in self.groups:
            m, d = group.A.shape
            operations += 4.0 * m**3 + 2.0 * m * d * (m + d) + 6.0 * len(group.members) * m**2
        return combinations * operations


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

r"""Which combinations of components matter to an observation, found from coarse to fine.

Sources of :math:`K_s` components have :math:`\prod_s K_s` combinations, of which a few explain an observation and the
others nothing. The components of every source are put into a tree, near ones together, whose branches are Gaussians
with the moments of what they hold. From its roots on, the likeliest combinations of branches are kept, and each
replaced by the combinations of their halves. The cost grows with :math:`\sum_s \log K_s` in place of
:math:`\prod_s K_s`, and what is left out makes the likelihood a lower bound (EM with truncated posteriors: Lücke and
Eggert 2010, JMLR 11, 2855).
"""

from collections.abc import Sequence
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dichroic.algebra import Components
from dichroic.algebra.small import cholesky, solve_lower

__all__ = ["Branches", "Part", "component_tree", "gaussians", "likeliest"]

# log-weights (K,), means (K, d) and covariances (K, d, d) of one source; K and d differ between sources
Part = tuple[Float[Array, " _"], Float[Array, "_ _"], Float[Array, "_ _ _"]]
# levels of a tree from the coarsest on, and the component that each of the last level's branches is, -1 for none
Branches = tuple[list[Part], Int[Array, " _"]]

NOTHING = -1e30  # log-weight of what is not there; minus infinity would turn derivatives into NaN


def gaussians(
    parts: Sequence[Part], A: Sequence[Float[Array, "m _"]], y: Float[Array, " m"], chosen: Int[Array, "T S"]
) -> tuple[Float[Array, " T"], Float[Array, "T m m"]]:
    """Log-density of `y` with every chosen combination (without the factors of two pi), and factors of covariances.

    A combination with a component that is not there (-1) has next to no weight.
    """
    m = len(y)
    log_w, mean, C = jnp.zeros(len(chosen)), jnp.zeros((len(chosen), m)), jnp.eye(m)
    for number, (part, a) in enumerate(zip(parts, A, strict=True)):
        of_source = jnp.maximum(chosen[:, number], 0)
        log_w = log_w + jnp.where(chosen[:, number] >= 0, part[0][of_source], NOTHING)
        mean = mean + (part[1] @ a.T)[of_source]
        C = C + jnp.einsum("ai,kij,bj->kab", a, part[2], a)[of_source]
    L = jax.vmap(cholesky)(C)
    z = jax.vmap(solve_lower)(L, y - mean)
    return log_w - 0.5 * jnp.sum(z**2, 1) - jnp.sum(jnp.log(jnp.diagonal(L, axis1=1, axis2=2)), 1), L


def likeliest(
    trees: Sequence[Branches], A: Sequence[Float[Array, "m _"]], y: Float[Array, " m"], most: int
) -> Int[Array, "T S"]:
    """The likeliest combinations of components for one observation, -1 where there are none left."""
    depth = max(len(levels) for levels, _ in trees)
    spread = 2 ** len(trees)  # a combination of branches has up to so many combinations of halves
    chosen = None
    for level in range(depth):
        parts = [levels[min(level, len(levels) - 1)] for levels, _ in trees]
        sizes = [len(part[0]) for part in parts]
        if chosen is None or np.prod(sizes) <= most * spread:
            chosen = jnp.asarray(list(product(*map(range, sizes))))
            if level + 1 < depth and np.prod(_sizes(trees, level + 1)) <= most * spread:
                continue
        else:
            split = [range(2) if level < len(levels) else range(1) for levels, _ in trees]
            halves = jnp.asarray(list(product(*split)))
            factor = jnp.asarray([len(r) for r in split])
            chosen = (chosen[:, None] * factor + halves).reshape(-1, len(trees))
        log_p, _ = gaussians(parts, A, y, chosen)
        log_p, kept = jax.lax.top_k(log_p, min(most, len(chosen)))
        chosen = jnp.where((log_p > NOTHING / 2)[:, None] | (level + 1 < depth), chosen[kept], -1)
    assert chosen is not None
    members = [jnp.where(c >= 0, leaf[jnp.maximum(c, 0)], -1) for (_, leaf), c in zip(trees, chosen.T, strict=True)]
    return jnp.stack(members, 1)


def _sizes(trees: Sequence[Branches], level: int) -> list[int]:
    return [len(levels[min(level, len(levels) - 1)][0]) for levels, _ in trees]


def component_tree(components: Components) -> Branches:
    """The components of a mixture in a balanced tree, bisected along the principal axis of their means."""
    depth = int(np.ceil(np.log2(max(len(components), 1))))
    leaf = _bisected(components, np.arange(len(components)), depth)
    there, filled = leaf >= 0, np.maximum(leaf, 0)
    level = np.where(there, components.weights[filled], 0.0), components.means[filled], components.covariances[filled]
    levels = [level]
    for _ in range(depth):
        level = _merged(*level)
        levels.append(level)
    found = [(jnp.maximum(jnp.log(w), NOTHING), jnp.asarray(m), jnp.asarray(S)) for w, m, S in reversed(levels)]
    return found, jnp.asarray(leaf)


def _bisected(components: Components, members: np.ndarray, depth: int) -> np.ndarray:
    """Members in the order of the leaves of a tree, -1 for leaves left empty."""
    if depth == 0:
        return members if len(members) else np.array([-1])
    if len(members) > 1:
        means = components.means[members] - components.means[members].mean(0)
        axis = np.linalg.svd(means, full_matrices=False)[2][0]
        members = members[np.argsort(means @ axis, kind="stable")]
    half = -(-len(members) // 2)
    return np.concatenate([_bisected(components, part, depth - 1) for part in (members[:half], members[half:])])


def _merged(weights: np.ndarray, means: np.ndarray, S: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours as one Gaussian each, with the same weight, mean and covariance together."""
    pair = weights.reshape(-1, 2)
    total = pair.sum(1)
    share = np.where(total[:, None] > 0, pair / np.where(total > 0, total, 1)[:, None], 0.5)
    means, S = means.reshape(len(pair), 2, -1), S.reshape(len(pair), 2, *S.shape[1:])
    mean = np.einsum("kp,kpi->ki", share, means)
    away = means - mean[:, None]
    return total, mean, np.einsum("kp,kpij->kij", share, S + away[..., :, None] * away[..., None, :])

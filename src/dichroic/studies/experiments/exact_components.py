r"""Sources whose joint posterior is known in closed form, to measure posterior samplers with.

For independent sources :math:`p_s(x_s) = \sum_k w_{sk}\, \mathcal N(x_s; \mu_{sk}, C_{sk})` and one observation
:math:`y = \sum_s A_s x_s + n`, :math:`n \sim \mathcal N(0, \Sigma)`, the posterior is a mixture over all tuples
:math:`\kappa = (k_1, \dots, k_S)` of components. With :math:`A = [A_1 \cdots A_S]`, :math:`\mu_\kappa` the stacked
means and :math:`C_\kappa` the block-diagonal covariance,

.. math::

    p(x \mid y) &= \sum_\kappa \omega_\kappa\, \mathcal N(x; m_\kappa, P_\kappa), \qquad
    \omega_\kappa \propto \prod_s w_{s k_s}\; \mathcal N\big(y; A \mu_\kappa, S_\kappa\big), \qquad
    S_\kappa = \Sigma + A C_\kappa A^\top, \\
    m_\kappa &= \mathrm E[x \mid y, \kappa], \qquad P_\kappa = \mathrm{Cov}[x \mid y, \kappa] .

It is NumPy in double precision, for one observation at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from dichroic.algebra import Components, conditional, root
from dichroic.diffusion import ComponentsDenoiser, DenoiserPrior, Prior, Scaling, Schedule
from dichroic.problem import View
from dichroic.studies.experiments.manifolds import Manifold, _rng, _view, manifolds

__all__ = ["ComponentsPosterior", "components_along", "components_along_manifolds", "components_view", "exact_prior"]

_MOST_TUPLES = 2_000_000


@dataclass(frozen=True)
class ComponentsPosterior:
    """The joint posterior of the sources behind one observation.

    **Arguments:** `weights`, of all tuples, shape `(n,)`; `indices`, their components, `(n, S)`; `sources`, `A`, `y`
    and `noise`, the covariance of the noise, what it is the posterior of. Built by :meth:`of`.
    """

    sources: Mapping[str, Components]
    A: Mapping[str, np.ndarray]
    y: np.ndarray
    noise: np.ndarray
    weights: np.ndarray
    indices: np.ndarray

    @classmethod
    def of(
        cls, sources: Mapping[str, Components], A: Mapping[str, np.ndarray], y: np.ndarray, noise: np.ndarray
    ) -> "ComponentsPosterior":
        """From the matrix `(m, d)` of every source that enters, the data `(m,)` and the noise covariance `(m, m)`.

        **Raises:** `ValueError` when there are more tuples than fit in memory.
        """
        sources = {s: sources[s] for s in A}
        sizes = [len(source.weights) for source in sources.values()]
        if np.prod(sizes) > _MOST_TUPLES:
            raise ValueError(f"{' x '.join(map(str, sizes))} tuples of components; at most {_MOST_TUPLES} are weighed")
        matrices = {s: np.asarray(a, float) for s, a in A.items()}
        grid = np.stack([index.ravel() for index in np.indices(sizes)], axis=1)
        residual, S, log_weights = np.asarray(y, float), np.asarray(noise, float), np.zeros(())
        for column, (name, source) in zip(grid.T, sources.items(), strict=True):
            a = matrices[name]
            residual = residual - (source.means @ a.T)[column]
            S = S + (a @ source.covariances @ a.T)[column]
            log_weights = log_weights + np.log(source.weights)[column]
        L = np.linalg.cholesky(S)
        white = np.linalg.solve(L, residual[..., None])[..., 0]
        log_weights = log_weights - 0.5 * (white**2).sum(-1) - np.log(np.diagonal(L, axis1=1, axis2=2)).sum(-1)
        weights = np.exp(log_weights - logsumexp(log_weights))
        return cls(sources, matrices, np.asarray(y, float), np.asarray(noise, float), weights, grid)

    def components(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means `(n, D)` and covariances `(n, D, D)` of some tuples, the sources stacked in the order of `A`."""
        columns = dict(zip(self.sources, self.indices[chosen].T, strict=True))
        mu = np.concatenate([self.sources[s].means[k] for s, k in columns.items()], axis=1)
        A = np.concatenate(list(self.A.values()), axis=1)
        C, begin = np.zeros((len(chosen), mu.shape[1], mu.shape[1])), 0
        for s, k in columns.items():
            end = begin + self.A[s].shape[1]
            C[:, begin:end, begin:end] = self.sources[s].covariances[k]
            begin = end
        L = np.linalg.cholesky(self.noise)
        R = root(C)
        gain, T = conditional(R, np.linalg.solve(L, A) @ R)
        white = np.linalg.solve(L, (self.y - mu @ A.T).T).T
        return mu + np.einsum("nij,nj->ni", gain, white), T @ np.swapaxes(T, 1, 2)

    def sample(self, rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
        """Independent draws of every source, shape `(n, d)` each."""
        chosen = rng.choice(len(self.weights), size=n, p=self.weights)
        mean, covariance = self.components(chosen)
        return self._split(mean + np.einsum("nij,nj->ni", root(covariance), rng.standard_normal(mean.shape)))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean `(D,)` and covariance `(D, D)` of the stacked sources, without tuples of weight below 1e-15."""
        chosen = np.flatnonzero(self.weights > 1e-15)
        weights = self.weights[chosen] / self.weights[chosen].sum()
        return Components(weights, *self.components(chosen)).moments()

    def _split(self, x: np.ndarray) -> dict[str, np.ndarray]:
        ends = np.cumsum([a.shape[1] for a in self.A.values()])
        return dict(zip(self.A, np.split(x, ends[:-1], axis=1), strict=True))


def components_along(manifold: Manifold, components: int = 256, sd: float = 0.03) -> Components:
    """Round components of standard deviation `sd` at equal steps of a manifold's coordinate."""
    means = manifold((np.arange(components) + 0.5) / components)
    weights = np.full(components, 1 / components)
    return Components(weights, means, np.tile(sd**2 * np.eye(means.shape[1]), (components, 1, 1)))


def exact_prior(components: Components, schedule: Schedule | None = None, scale: float = 1.25) -> Prior:
    """The prior with the exact denoiser; the default scale is that of a random manifold."""
    denoiser = ComponentsDenoiser.from_covariances(
        components.weights, components.means / scale, components.covariances / scale**2
    )
    return DenoiserPrior(denoiser, schedule or Schedule(), Scaling(0.0, scale))


def components_along_manifolds(
    count: int = 2, seed: int = 0, components: int = 256, sd: float = 0.03
) -> dict[str, Components]:
    """The random manifolds `source1`, `source2`, ... of a seed, made Gaussian components."""
    return {name: components_along(manifold, components, sd) for name, manifold in manifolds(count, seed).items()}


def components_view(
    sources: Mapping[str, Components],
    n: int,
    seed: int = 0,
    *,
    observed: int = 3,
    noise: float = 0.01,
    shared: bool = False,
) -> tuple[View, list[ComponentsPosterior]]:
    """A view of `n` observations of all sources, each through a random matrix of its own with rows of unit length, and
    the posterior of every observation. If `shared`, one matrix per source serves all observations.
    """
    view = _view(_rng(seed, 3), sources, dict.fromkeys(sources, 1.0), n, observed, noise, False, shared)
    view = view.bind({s: source.means.shape[1:] for s, source in sources.items()})
    matrices = {
        s: np.broadcast_to(np.asarray(getattr(operator, "value", operator).matrix, float), (n, observed, d))
        for (s, operator), d in zip(view.mixing.items(), (m.means.shape[1] for m in sources.values()), strict=True)
    }
    covariance = float(np.float32(noise)) ** 2 * np.eye(observed)
    posteriors = [
        ComponentsPosterior.of(
            sources, {s: a[i] for s, a in matrices.items()}, np.asarray(view.y[i], float), covariance
        )
        for i in range(n)
    ]
    return view, posteriors

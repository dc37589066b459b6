r"""Candidates weighed by their joint likelihood, for sources of few dimensions.

Moment matching replaces :math:`p(x_0 \mid x_t)` by one Gaussian, which at intermediate noise it is not: a manifold
passes the same place twice, and the Gaussian covers what lies between. Here every source is a mixture
:math:`\sum_k w_k \mathcal N(\mu_k, C_k)` (:func:`dichroic.diffusion.components_of`), so that given :math:`x_t` it is a
mixture again, with responsibilities :math:`r_k` and components :math:`\mathcal N(\mu'_k, C'_k)`. `K` candidate
components of each source are drawn; every tuple :math:`\kappa` of them, one per source, has the weight

.. math:: W_\kappa = \prod_s \frac{r_{s\kappa_s}}{q_{s\kappa_s}}\;
    \mathcal N\Big(y;\; \sum_s A_s \mu'_{s\kappa_s},\; I + \sum_s A_s C'_{s\kappa_s} A_s^\top\Big)

for whitened data, one tuple is drawn by weight, and its Gaussian conditional, given the data, is drawn from. The
candidates are those with the largest perturbed :math:`\log r_k + \text{Gumbel noise}`; `q` is the probability that the
perturbed value exceeds the largest one left out. This is sampling without replacement whose weighted sums are unbiased
(Kool, van Hoof and Welling, arXiv 1903.06059), and with all components as candidates the draw is exact for the mixture,
at any noise level. No network is evaluated.
"""

from collections.abc import Mapping
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import PositiveInt

from dichroic.algebra import Info, matheron
from dichroic.algebra.small import cholesky, solve_lower, solve_spd, solve_upper
from dichroic.diffusion import (
    COMPONENTS_LEVEL,
    ComponentsDenoiser,
    Cost,
    Decoupled,
    Denoiser,
    MomentTarget,
    components_cost,
    components_of,
    noise_like,
    own_share,
    pure_noise,
)
from dichroic.posterior.annealed import Stepped, leg
from dichroic.posterior.linearised import linearised
from dichroic.posterior.method import Task
from dichroic.posterior.sampler import Build
from dichroic.white.observation import WhitenedObservation

__all__ = ["CandidatePosterior", "Candidates"]

_TUPLES = 4096  # weighed per draw, unless told otherwise
_SHARED = 2**32 - 1  # folded into the key for what all observations share: no observation has this index


class CandidatePosterior(MomentTarget):
    """The joint posterior of one observation; the state is a dict of the sources that enter it.

    `draw` takes random candidates. `mean` takes the most responsible ones, for it has nothing random; where there are
    more components than candidates it is good only at noise levels at which few of them matter.
    """

    mixtures: dict[str, ComponentsDenoiser]
    observation: WhitenedObservation
    matrices: dict[str, Float[Array, "m d"]]
    y: Float[Array, " m"]
    counts: dict[str, int] = eqx.field(static=True)

    @classmethod
    def create(
        cls, denoisers: Mapping[str, Denoiser], observation: WhitenedObservation, tuples: int = _TUPLES
    ) -> "CandidatePosterior":
        """Forms the small matrices once, for all noise levels.

        **Arguments:** `denoisers`, of which the components are known (`Denoiser.components`);
        `tuples`, how many combinations of candidates are weighed at most.

        **Raises:** `ValueError` for a denoiser without a mixture.
        """
        mixtures = {s: denoisers[s].components() for s in observation.shapes}
        bare = [s for s, mixture in mixtures.items() if mixture is None]
        if bare:
            raise ValueError(
                f"posterior 'candidates' needs a mixture for source {bare[0]!r}, and its denoiser, a "
                f"{type(denoisers[bare[0]]).__name__}, has none; see dichroic.diffusion.components_of"
            )
        sizes = {s: len(mixture.log_weights) for s, mixture in mixtures.items()}  # pyright: ignore
        return cls(mixtures, observation, observation.matrices(), observation.y, _counts(sizes, tuples))  # pyright: ignore

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        candidate_key, tuple_key, latent_key, noise_key = jax.random.split(key, 4)
        keys = dict(zip(self.mixtures, jax.random.split(candidate_key, len(self.mixtures)), strict=True))
        chosen = {s: self._candidates(s, x_t[s], sigma, keys[s]) for s in self.mixtures}
        log_weights, _, _ = self._weigh(chosen)
        index = jnp.argmax(log_weights + jax.random.gumbel(tuple_key, log_weights.shape, log_weights.dtype))
        parts = dict(zip(chosen, jnp.unravel_index(index.reshape(-1), log_weights.shape), strict=True))
        n = jax.random.normal(noise_key, self.y.shape, self.y.dtype)
        epsilon = noise_like(latent_key, x_t)
        drawn, columns, C = {}, {}, jnp.eye(len(self.y), dtype=self.y.dtype)
        for s, c in chosen.items():
            mu, root = c.means[parts[s][0]], c.roots[parts[s][0]]
            U = self.matrices[s] @ root
            drawn[s], columns[s], C = mu + root @ epsilon[s].reshape(-1), root @ U.T, C + U @ U.T

        def pull(r: Array) -> tuple[dict[str, Array], Info]:
            v = solve_spd(C, r)
            return {s: G @ v for s, G in columns.items()}, Info.none()

        def forward(x: dict[str, Array]) -> Array:
            return sum((self.matrices[s] @ x[s] for s in x), jnp.zeros_like(self.y))

        x, info = matheron(drawn, self.y, n, forward, pull)
        return {s: a.reshape(x_t[s].shape) for s, a in x.items()}, info

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        chosen = {s: self._candidates(s, x_t[s], sigma, None) for s in self.mixtures}
        log_weights, L, white = self._weigh(chosen)
        weights = jax.nn.softmax(log_weights.reshape(-1)).reshape(log_weights.shape)
        v = jax.vmap(solve_upper, (-1, -1), 0)(L, white).reshape(*weights.shape, -1)
        out = {}
        for axis, (s, c) in enumerate(chosen.items()):
            others = tuple(k for k in range(weights.ndim) if k != axis)
            share = weights.sum(others)
            pull = (weights[..., None] * v).sum(others) @ self.matrices[s]
            moved = jnp.einsum("kij,klj,kl->i", c.roots, c.roots, pull)
            out[s] = (share @ c.means + moved).reshape(x_t[s].shape)
        return out, Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, self.observation.shapes, sigma, self.y.dtype)

    @property
    def mean_cost(self) -> Cost:
        return Cost()

    @property
    def draw_cost(self) -> Cost:
        return Cost()

    def _candidates(self, source: str, x_t: Array, sigma: Array, key: PRNGKeyArray | None) -> "_Candidates":
        """Components of one source given `x_t`; the most responsible ones where there is no key."""
        mixture, count = self.mixtures[source], self.counts[source]
        log_weights, means, bases, values = (
            jnp.asarray(a, x_t.dtype) for a in (mixture.log_weights, mixture.means, mixture.bases, mixture.values)
        )
        B, d = values.shape
        means = means.reshape(B, d)
        # one product with all bases at once, and their own part, which no observation changes
        coordinates = (x_t.reshape(-1) @ jnp.moveaxis(bases, 1, 0).reshape(d, B * d)).reshape(B, d)
        coordinates = coordinates - jnp.einsum("kij,ki->kj", bases, means)
        noisy = values + sigma**2
        log_r = jax.nn.log_softmax(log_weights - 0.5 * jnp.sum(coordinates**2 / noisy + jnp.log(noisy), axis=1))
        perturbed = log_r if key is None else log_r + jax.random.gumbel(key, log_r.shape, log_r.dtype)
        if count == B:
            index, log_w = jnp.arange(B), log_r
        else:
            top, index = jax.lax.top_k(perturbed, count + 1)
            index, log_w = index[:count], log_r[index[:count]]
            if key is not None:
                # log of 1 - exp(-exp(log r - threshold)), the chance of being among the candidates
                log_w = log_w - jnp.log(-jnp.expm1(-jnp.exp(log_w - top[count])))
        shrunk = values[index] / noisy[index]
        mu = means[index] + jnp.einsum("kij,kj->ki", bases[index], shrunk * coordinates[index])
        return _Candidates(log_w, mu, bases[index] * jnp.sqrt(shrunk * sigma**2)[:, None])

    def _weigh(self, chosen: Mapping[str, "_Candidates"]) -> tuple[Array, Array, Array]:
        """Log-weights of all tuples, one axis per source; of the tuples in a row, the Cholesky factors `(m, m, T)` of
        their data covariances and the white residuals `(m, T)`.
        """
        S, m = len(chosen), len(self.y)
        log_weights, residual = jnp.zeros((), self.y.dtype), self.y[:, None]
        C = jnp.eye(m, dtype=self.y.dtype)[..., None]
        for axis, (s, c) in enumerate(chosen.items()):
            shape = [1] * S
            shape[axis] = len(c.log_weights)
            log_weights = log_weights + c.log_weights.reshape(shape)
            residual = residual.reshape(m, *log_weights.shape[:axis], *[1] * (S - axis))
            residual = residual - (self.matrices[s] @ c.means.T).reshape(m, *shape)
            U = self.matrices[s] @ c.roots
            P = jnp.moveaxis(U @ jnp.swapaxes(U, 1, 2), 0, -1)
            C = C.reshape(m, m, *log_weights.shape[:axis], *[1] * (S - axis)) + P.reshape(m, m, *shape)
        # the tuples are the last axis: entry by entry, factorisation and solution run over contiguous arrays
        L = jax.vmap(cholesky, -1, -1)(C.reshape(m, m, -1))
        white = jax.vmap(solve_lower, (-1, -1), -1)(L, residual.reshape(m, -1))
        fit = -0.5 * jnp.sum(white**2, axis=0) - jnp.log(jnp.diagonal(L)).sum(-1)
        log_weights = log_weights + fit.reshape(log_weights.shape)
        return log_weights, L, white


class _Candidates(eqx.Module):
    """Components of one source given `x_t`: log-weights `(K,)`, means `(K, d)`, roots of covariances `(K, d, d)`."""

    log_weights: Float[Array, " K"]
    means: Float[Array, "K d"]
    roots: Float[Array, "K d d"]


def _counts(sizes: Mapping[str, int], tuples: int) -> dict[str, int]:
    """As many candidates of every source as the number of tuples allows; small mixtures leave their share to others."""
    counts: dict[str, int] = {}
    left = tuples
    for number, s in enumerate(sorted(sizes, key=lambda s: sizes[s])):
        share = int(left ** (1 / (len(sizes) - number)) + 1e-9)
        counts[s] = max(1, min(sizes[s], share))
        left //= counts[s]
    return {s: counts[s] for s in sizes}


class Candidates(Stepped):
    """Components of every prior, weighed by their joint likelihood; for few sources of few numbers.

    A mixture of `components` Gaussians is made of every prior that is none already, once for all draws. Draws anneal
    with it in `steps` steps, weighing `tuples` combinations at each of them; more steps than the usual ones gain
    nothing. They end where the source is made of Gaussians, in a draw of one.
    """

    any_likelihood = True

    kind: Literal["candidates"] = "candidates"
    components: PositiveInt = 512
    """Gaussians that are made of every prior."""
    tuples: PositiveInt = _TUPLES
    """Combinations weighed at every step."""
    steps: PositiveInt = 8
    """Steps of a draw from pure noise."""

    def legs(self, task, high=None, low=None, *, afresh=False):
        mixtures, shared, _ = self.mixtures(task)
        way = leg(
            _Weighed(mixtures, self.tuples),
            Decoupled(),
            self,
            task.schedule,
            task.size,
            high,
            low,
            afresh=afresh,
            bottom=COMPONENTS_LEVEL,
        )
        return way, shared

    def mixtures(self, task: Task) -> tuple[dict[str, ComponentsDenoiser], Cost, float]:
        """Every source as a mixture; the largest cost of one; the largest share of what a component covers that no
        other does.

        **Raises:** `ValueError` for a source that is too large.
        """
        made = ("mixtures", self.components)
        if made in task.made:
            return task.made[made]
        found: dict[str, ComponentsDenoiser] = {}
        cost, largest = Cost(), 0.0
        for number, (s, denoiser) in enumerate(task.denoisers(self.kind).items()):
            mixture = denoiser.components()
            if mixture is None:
                key = jax.random.fold_in(jax.random.fold_in(task.key, _SHARED), number)
                mixture = components_of(denoiser, task.schedule, key=key, size=self.components)
                cost = max(cost, components_cost(denoiser, self.components), key=lambda c: c.total)
                largest = max(largest, float(own_share(mixture, COMPONENTS_LEVEL)))
            found[s] = mixture
        task.made[made] = found, cost, largest
        return task.made[made]


class _Weighed(Build):
    """Candidates of the mixtures of all sources."""

    mixtures: dict[str, ComponentsDenoiser]
    tuples: int = eqx.field(static=True)

    def __call__(self, observation, alike):
        if (found := linearised(self, observation)) is not None:
            return found
        return CandidatePosterior.create(self.mixtures, observation, self.tuples)

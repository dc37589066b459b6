r"""Log-density of a candidate source under a prior, by the probability-flow ODE.

With :math:`u = \log\sigma` the flow that carries the densities :math:`p_\sigma` of :math:`x_0 + \sigma z` into each
other, and the density along it, are

.. math:: \frac{\mathrm dx}{\mathrm du} = x - D(x, \sigma), \qquad
    \log p_{\sigma_{\min}}(x) = \log p_{\sigma_{\max}}(x_{\sigma_{\max}})
    + \int_{\log\sigma_{\min}}^{\log\sigma_{\max}} \Big(d - \mathrm{tr}\,\frac{\partial D}{\partial x}\Big)\,\mathrm du

(Song et al. 2021, arXiv 2011.13456, section 4.3, for the variance exploding diffusion). At :math:`\sigma_{\max}` the
population still counts: :math:`p_{\sigma_{\max}} \approx \mathcal N(\mu, C + \sigma_{\max}^2 I)` with its moments.

The flow ends at :math:`\sigma_{\min}`, so the density is that of the source under noise of :math:`\sigma_{\min}`
standard deviations. This makes it finite for sources that fill fewer dimensions than they have; where the source
varies by :math:`s \gg \sigma_{\min}` it is off by :math:`\sigma_{\min}^2 / 2 s^2` per dimension, about. Far outside
the source, where the density is below :math:`e^{-100}` of its peak, what is not Gaussian at :math:`\sigma_{\max}` adds
an error of a thousandth of the logarithm.
"""

from collections.abc import Callable
from math import prod
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.denoiser import Denoiser, GaussianDenoiser
from dichroic.diffusion.prior import Prior, denoisers_of

__all__ = ["LogDensity", "Ranking", "log_density", "rank_candidates"]

EXACT_TRACE = 64  # entries of a source up to which the trace is taken in full
_STEPS = 2048  # of the solver, at most: reached only where the flow is stiff, between two narrow modes


class LogDensity(NamedTuple):
    """Log-densities of `n` candidates of `size` entries each.

    `value`, shape `(n,)`, in nats per unit volume of the user's units, NaN where the solver failed; `error`, shape
    `(n,)`, standard error from the random trace, 0 where the trace is exact; `evaluations`, shape `(n,)`, of the
    denoiser, each with the transposed products of the trace; `solved`, shape `(n,)`, whether the solver reached its
    tolerance; `size`, to divide by for nats per dimension.
    """

    value: np.ndarray
    error: np.ndarray
    evaluations: np.ndarray
    solved: np.ndarray
    size: int


class Ranking(NamedTuple):
    """Candidates among the prior's own draws.

    `candidates` and `draws`, the log-densities of both; `quantile`, shape `(n,)`, the share of the draws that are less
    dense than the candidate (ties count half, failed draws not at all): near 0 for a candidate unlike the prior.
    """

    candidates: LogDensity
    draws: LogDensity
    quantile: np.ndarray


def log_density(
    prior: Prior,
    x: ArrayLike,
    *,
    key: PRNGKeyArray | None = None,
    trace: Literal["auto", "exact", "hutchinson"] = "auto",
    probes: int = 8,
    tolerance: float = 1e-5,
    batch: int | None = None,
    population: GaussianDenoiser | None = None,
    report: Callable[[int, int], None] | None = None,
) -> LogDensity:
    r"""Log-density of candidates under a prior, in nats, in the user's units: :math:`\log p(z) - d \log\text{scale}`
    with :math:`z = (x - \text{shift}) / \text{scale}`.

    **Arguments:** `x`, shape `(n, ...)`, in the user's units; `trace`, "exact" with one transposed product for each of
    the `d` entries, "hutchinson" with :math:`\epsilon^\top (\partial D / \partial x)\, \epsilon` for `probes` random
    signs :math:`\epsilon` (at least two, for their standard error), or "auto": exact up to 64 entries; `key`, for the
    random signs, folded with the position of the candidate; `tolerance` of the solver, relative and absolute; `batch`,
    candidates side by side (None: by size); `population`, a Gaussian with the moments of the source in the denoiser's
    units (None: from the denoiser; the Gaussian base of a network, and unit variance where it has none);
    `report(done, n)` is called now and then.

    The trace of the Gaussian population is known, and subtracted from the random one: what is left to chance is the
    difference of the two.

    **Raises:** `ValueError` for candidates of another shape, not finite, or a random trace without a key or with less
    than two probes; `TypeError` for a denoiser of unknown moments, without `population`.
    """
    x, d = _checked(prior, x), prod(prior.shape)
    denoiser = denoisers_of({"x": prior}, "log_density")["x"]
    if trace not in ("auto", "exact", "hutchinson"):
        raise ValueError(f"log_density: expected trace 'auto', 'exact' or 'hutchinson', got {trace!r}")
    exact = {"exact": True, "hutchinson": False}.get(trace, d <= EXACT_TRACE)
    if not exact and (key is None or probes < 2):
        raise ValueError(
            f"log_density: the random trace of {d} entries needs a key and at least two probes, got "
            f"{'no' if key is None else 'a'} key and {probes}"
        )
    key = jax.random.key(0) if key is None else key  # of no consequence
    population = _population(denoiser) if population is None else population
    batch = min(batch or max(1, min(256, 2**16 // (d * (d if exact else probes)))), max(len(x), 1))
    z = np.asarray(jnp.asarray(prior.scaling.to_scaled(x.astype(float))))
    ends = np.log([prior.schedule.sigma_min, prior.schedule.sigma_max])
    found: list[tuple[np.ndarray, ...]] = []
    for begin in range(0, len(x), batch):
        chosen = np.arange(begin, min(begin + batch, len(x)))
        padded = np.resize(chosen, batch)  # one shape, one program
        solved = _solve(
            denoiser, population, ends, z[padded], padded, key, jnp.asarray(tolerance), 0 if exact else probes
        )
        found.append(tuple(np.asarray(a)[: len(chosen)] for a in solved))
        if report is not None:
            report(int(chosen[-1]) + 1, len(x))
    columns = zip(*found, strict=True) if found else ([np.zeros(0)],) * 4
    value, error, evaluations, solved = (np.concatenate(column) for column in columns)
    value = np.where(solved, value - d * np.log(prior.scaling.scale), np.nan)
    return LogDensity(value, error, evaluations.astype(int), solved.astype(bool), d)


def rank_candidates(
    prior: Prior,
    x: ArrayLike,
    *,
    key: PRNGKeyArray,
    draws: int = 256,
    steps: int = 64,
    trace: Literal["auto", "exact", "hutchinson"] = "auto",
    probes: int = 8,
    report: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Ranks candidates by their log-density, on the scale of the prior's own draws.

    Log-densities mean little by themselves. Beside those of the prior's draws they tell what is out of its range: a
    candidate less dense than 99 of 100 draws is unlike the source. The converse is not true: in many dimensions a
    candidate that is smoother than any draw is denser than all of them (Nalisnick et al. 2019, arXiv 1810.09136).

    **Arguments:** `x`, shape `(n, ...)`, in the user's units; `draws`, from the prior, and `steps`, of the sampler that
    makes them; the others as for :func:`log_density`.

    **Raises:** what :func:`log_density` raises, and `ValueError` when no draw of the prior has a log-density.
    """
    draw_key, key = jax.random.split(key)
    x = _checked(prior, x)
    own = np.asarray(prior.sample(draws, key=draw_key, steps=steps))
    found = log_density(prior, np.concatenate([x, own]), key=key, trace=trace, probes=probes, report=report)
    candidates, drawn = (
        found._replace(**{name: getattr(found, name)[part] for name in ("value", "error", "evaluations", "solved")})
        for part in (slice(len(x)), slice(len(x), None))
    )
    reference, value = drawn.value[drawn.solved], candidates.value[:, None]
    if not reference.size:
        raise ValueError(f"rank_candidates: none of the {draws} draws of the prior has a log-density")
    below = (reference < value).mean(1) + (reference == value).mean(1) / 2
    return Ranking(candidates, drawn, np.where(candidates.solved, below, np.nan))


def _checked(prior: Prior, x: ArrayLike) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 1 + len(prior.shape) or x.shape[1:] != prior.shape:
        wanted = ", ".join(["n", *map(str, prior.shape)])
        raise ValueError(f"log_density: expected candidates of shape ({wanted}), got {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(tuple(range(1, x.ndim))))
    if bad.size:
        raise ValueError(f"log_density: expected finite candidates, got NaN or infinity in those at {bad[:5].tolist()}")
    return x


def _population(denoiser: Denoiser) -> GaussianDenoiser:
    """The Gaussian with the moments of a prior, in the denoiser's units."""
    found = denoiser.gaussian()
    if found is None and denoiser.learned:
        found = GaussianDenoiser(
            np.zeros(denoiser.shape), np.zeros((prod(denoiser.shape), 0)), np.zeros(0), np.ones(())
        )
    if found is not None:
        return found
    raise TypeError(f"log_density: the moments of a {type(denoiser).__name__} are not known; give its population")


@eqx.filter_jit
def _solve(denoiser, population, ends, z, indices, key, tolerance, probes):
    """Value, error, evaluations and success of one batch, in scaled units; `probes` 0 takes the trace in full."""
    import diffrax

    z, ends = jnp.asarray(z), jnp.asarray(ends, z.dtype)
    term, solver = diffrax.ODETerm(_flow), diffrax.Tsit5()
    controller = diffrax.PIDController(rtol=tolerance, atol=tolerance)

    def one(x: Array, index: Array):
        signs = jax.random.rademacher(jax.random.fold_in(key, index), (max(probes, 1), *denoiser.shape), z.dtype)
        start = x, jnp.zeros(probes or 1, z.dtype)
        solution = diffrax.diffeqsolve(
            term,
            solver,
            *(ends[0], ends[1], None, start),
            args=(denoiser, population, signs if probes else None),
            stepsize_controller=controller,
            max_steps=_STEPS,
            throw=False,
        )
        x_end, integral = jax.tree.map(lambda a: a[-1], solution.ys)
        values = _log_normal(population, x_end, jnp.exp(ends[1])) + integral
        error = jnp.std(values, ddof=1) / jnp.sqrt(probes) if probes else jnp.zeros((), z.dtype)
        solved = (solution.result == diffrax.RESULTS.successful) & jnp.isfinite(values).all()
        # six new evaluations of Tsit5 in a step, and the first one
        return values.mean(), error, 6 * solution.stats["num_steps"] + 1, solved

    return jax.vmap(one)(z, jnp.asarray(indices))


def _flow(u, state: tuple[Array, Array], args: tuple[Denoiser, GaussianDenoiser, Array | None]) -> tuple[Array, Array]:
    """Slopes of the state and of the log-density; the latter once for every probe, or once in all without any."""
    (x, integral), (denoiser, population, signs) = state, args
    sigma = jnp.exp(jnp.asarray(u, x.dtype))
    D, transposed = jax.vjp(lambda a: denoiser(a, sigma), x)
    units = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape) if signs is None else signs
    products = jax.vmap(lambda e: jnp.sum(e * transposed(e)[0]))(units)
    if signs is None:
        return x - D, jnp.full_like(integral, x.size - jnp.sum(products))
    basis, values, rest = population.moments_given(sigma)
    rest, along = rest / sigma**2, (values - rest) / sigma**2  # of the Jacobian
    known = along.sum() + rest * x.size
    guess = (along * (signs.reshape(len(signs), -1) @ basis) ** 2).sum(1) + rest * x.size
    return x - D, x.size - (known + products - guess)


def _log_normal(population: GaussianDenoiser, x: Array, sigma: Array) -> Float[Array, ""]:
    r"""Log-density of :math:`\mathcal N(\mu, C + \sigma^2 I)`, where
    :math:`(C + \sigma^2 I)^{-1} (x - \mu) = (x - D) / \sigma^2`.
    """
    mean, values, rest = (jnp.asarray(a, x.dtype) for a in (population.mean, population.values, population.rest))
    quadratic = jnp.sum((x - mean) * (x - population(x, sigma))) / sigma**2
    determinant = jnp.log(values + sigma**2).sum() + (x.size - len(values)) * jnp.log(rest + sigma**2)
    return -0.5 * (quadratic + determinant + x.size * jnp.log(2 * jnp.pi))

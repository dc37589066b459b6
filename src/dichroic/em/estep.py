"""The E-step: posterior draws of every source of every observation of a view."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Denoiser, Prior, WithComponents, noise_like, run_sampler
from dichroic.em.config import SamplingConfig
from dichroic.em.method import Method, prepare
from dichroic.operators import take
from dichroic.posterior import Conditional, gibbs_rounds, joint_posterior
from dichroic.posterior.closed_form import closed_form_draws
from dichroic.problem import View
from dichroic.white import WhitenedObservation
from dichroic.white.layout import split_alike
from dichroic.white.parallel import side_by_side

__all__ = ["Draws", "draw_posterior"]

_FEW = 64  # observations of a kind, below which it does not pay to treat it by itself
_FAR = 10.0  # standard deviations of a source from its mean beyond which a draw has left it


@dataclass
class Draws:
    """Posterior draws of a view, one per observation, in the user's units, with what happened on the way.

    **Fields:** `samples`, `{source: (n, ...)}`; `chi_square`, residual per observed value of each draw, 1 on average
    for an exact posterior; `residual`, the largest relative residual of its linear solves; `stopped`, how many of them
    met non-positive curvature; `diverged`, true where a draw is not finite or far outside its population; `cost`,
    network evaluations per draw and source; `shared`, evaluations per source for all draws together.
    """

    samples: dict[str, Float[np.ndarray, "n ..."]]
    chi_square: Float[np.ndarray, " n"]
    residual: Float[np.ndarray, " n"]
    stopped: np.ndarray
    diverged: np.ndarray
    cost: Cost
    shared: Cost = field(default_factory=Cost)

    @property
    def summary(self) -> dict[str, float]:
        """Numbers for the record of a lap."""
        kept = self.chi_square[~self.diverged]
        return {
            "chi_square": float(kept.mean()) if kept.size else float("nan"),
            "diverged": float(self.diverged.mean()),
            "solver_residual": float(self.residual.mean()),
            "solver_stopped": float((self.stopped > 0).mean()),
            "evaluations": self.cost.total + self.shared.total / max(len(self.diverged), 1),
        }


def draw_posterior(
    view: View,
    priors: Mapping[str, Prior],
    sampling: SamplingConfig,
    *,
    key: PRNGKeyArray,
    start: Mapping[str, np.ndarray] | None = None,
    warm: np.ndarray | None = None,
    indices: np.ndarray | None = None,
    conditional: Conditional | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Draws:
    """Draws every source of every observation once from the joint posterior.

    The key of an observation is folded from `key` and its index alone: results depend on neither batch size nor order.
    Where every prior is a Gaussian or a mixture of them and the view is small enough, the draws are exact (unless the
    settings name a posterior, or rounds of Gibbs sampling).

    **Arguments:** `start`, the draws of a lap before, for warm starts (with rounds, the state that they start from),
    and `warm`, which observations use them (all when None); `indices`, the names of the observations for their keys
    (default: their positions); `conditional`, for the amortised posterior, what `amortise` has trained (default: it is
    trained here, on draws of the priors).

    **Raises:** `ValueError` for a posterior method that cannot be had for these sources.
    """
    n = len(view)
    indices = np.arange(n) if indices is None else indices
    rounds = sampling.rounds if len(view.mixing) > 1 else 0  # a source by itself has nothing to be given
    untrained = sampling.posterior == "amortised" and conditional is None
    if (sampling.posterior in ("auto", "best") or untrained) and not rounds:
        exact = _exact(view, priors, key, indices)
        if exact is not None:
            if report is not None:
                report(n, n)
            return exact
    warm = np.zeros(n, bool) if start is None else np.ones(n, bool) if warm is None else warm
    if sampling.gains_from_sharing(view):
        parts = split_alike(view, _FEW)
        if len(parts) > 1 or parts[0][1].shared:  # or else there are small groups only
            drawn, before = [], 0
            for i, part in parts:
                own = {"start": _rows(start, i), "warm": warm[i], "indices": indices[i]}
                counted = _after(before, n, report)
                drawn.append((i, draw_posterior(part, priors, sampling, key=key, report=counted, **own)))
                before += len(i)
            return _join(drawn)
    shapes = {s: priors[s].shape for s in view.mixing}
    samples = {s: np.empty((n, *shape), np.float32) for s, shape in shapes.items()}
    chi, residual, stopped = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.int32)
    batch, step, done = sampling.batch_size(shapes), sampling.make_step(), 0
    schedule = priors[next(iter(shapes))].schedule
    method = prepare(view, priors, sampling, key, conditional)
    longest = min(method.most, max(sampling.steps, sampling.warm_steps))

    def draw(job: tuple[bool, np.ndarray]) -> tuple[dict[str, Array], Info, Array]:
        is_warm, chosen = job
        steps = min(method.most, sampling.warm_steps if is_warm else sampling.steps)
        high = sampling.restart if is_warm and not sampling.rounds else method.high
        levels = np.full(longest + 1, method.low, np.float32)
        levels[: steps + 1] = schedule.levels(steps, high, method.low)
        # padded, with the number of steps and the kind of start as data: one program serves all batches of a view
        padded = np.concatenate([chosen, np.repeat(chosen[-1:], batch - len(chosen))])
        zeros = {s: np.zeros((batch, *shape), np.float32) for s, shape in shapes.items()}
        drawn = _draw_batch(
            method.denoisers,
            {s: priors[s].scaling for s in shapes},
            view.select(padded).observations,
            {s: start[s][padded] for s in shapes} if start is not None and is_warm else zeros,
            jnp.asarray(is_warm),
            indices[padded],
            levels,
            jnp.asarray(steps),
            method.first,
            step,
            key,
            (method.name, *sampling.options(view)),
            method.finish,
            rounds,
            method.conditional,
        )
        return jax.block_until_ready(drawn)

    jobs = [
        (is_warm, members[begin : begin + batch])
        for is_warm, members in ((False, np.flatnonzero(~warm)), (True, np.flatnonzero(warm)))
        for begin in range(0, len(members), batch)
    ]
    for (_, chosen), (out, info, chi_square) in side_by_side(draw, jobs, alike=True):
        for s in shapes:
            samples[s][chosen] = np.asarray(out[s])[: len(chosen)]
        chi[chosen] = np.asarray(chi_square)[: len(chosen)]
        residual[chosen] = np.asarray(info.residual)[: len(chosen)]
        stopped[chosen] = np.asarray(info.stopped)[: len(chosen)]
        done += len(chosen)
        if report is not None:
            report(done, n)
    cost = _cost(view, priors, method, sampling, sampling.warm_steps if warm.any() else sampling.steps, rounds)
    return Draws(samples, chi, residual, stopped, _diverged(samples, priors), cost, method.shared)


def _bare(denoisers: Mapping[str, Denoiser]) -> dict[str, Denoiser]:
    """Without mixtures: the networks themselves have the last word."""
    return {s: d.denoiser if isinstance(d, WithComponents) else d for s, d in denoisers.items()}


def _rows(samples: Mapping[str, np.ndarray] | None, indices: np.ndarray) -> dict[str, np.ndarray] | None:
    return None if samples is None else {s: x[indices] for s, x in samples.items()}


def _after(before: int, n: int, report: Callable[[int, int], None] | None) -> Callable[[int, int], None] | None:
    """How a part of `n` observations is to report when the ones `before` it are done: counted among all of them."""
    return None if report is None else lambda done, _: report(before + done, n)


def _join(parts: list[tuple[np.ndarray, Draws]]) -> Draws:
    """The draws of parts of a view, each with its indices, in the order of the view."""
    order = np.argsort(np.concatenate([indices for indices, _ in parts]))
    draws = [found for _, found in parts]

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(d, name) for d in draws])[order]

    samples = {s: np.concatenate([d.samples[s] for d in draws])[order] for s in draws[0].samples}
    largest = max(draws, key=lambda d: d.cost.total)
    return Draws(
        samples,
        join("chi_square"),
        join("residual"),
        join("stopped"),
        join("diverged"),
        largest.cost,
        largest.shared,
    )


def _exact(view: View, priors: Mapping[str, Prior], key: PRNGKeyArray, indices: np.ndarray) -> Draws | None:
    """Draws that need no sampling, where all priors have closed forms."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.asarray(indices))
    found = closed_form_draws(view, priors, keys)
    if found is None:
        return None
    samples, chi_square = found
    none = np.zeros(len(view))
    return Draws(samples, chi_square, none, none.astype(int), _diverged(samples, priors), Cost())


@eqx.filter_jit
def _draw_batch(
    denoisers,
    scalings,
    observations,
    previous,
    is_warm,
    indices,
    levels,
    steps,
    first,
    step,
    key,
    method,
    finish,
    rounds,
    conditional,
):
    shapes = {s: denoiser.shape for s, denoiser in denoisers.items()}

    def one(i, index) -> tuple[dict[str, Array], Info, Array]:
        whitened = WhitenedObservation.of(take(observations, i), scalings, shapes)
        start_key, run_key = jax.random.split(jax.random.fold_in(key, index))
        last = {s: scalings[s].to_scaled(jnp.asarray(x)[i]) for s, x in previous.items()}
        if rounds:
            last = jax.tree.map(lambda x: jnp.where(is_warm, x, 0), last)
            z, info = gibbs_rounds(
                whitened, lambda residual, k: draw(residual, *jax.random.split(k)), last, rounds, key=run_key
            )
        else:
            z, info = draw(whitened, start_key, run_key, last)
        return {s: scalings[s].to_user(x) for s, x in z.items()}, info, whitened.chi_square(z)

    def draw(whitened, start_key, run_key, last=None) -> tuple[dict[str, Array], Info]:
        """All sources that are seen, from pure noise, or from the noised `last` where the start is to be warm."""
        target = joint_posterior(denoisers, whitened, *method, conditional=conditional)
        start = target.start(levels[0], start_key)
        if last is not None:
            warm = jax.tree.map(lambda x, e: x + levels[0] * e, last, noise_like(start_key, last))
            start = jax.tree.map(partial(jnp.where, is_warm), warm, start)
        end = 0.0 if finish is None else finish[0]
        z, info = run_sampler(target, first, levels, key=run_key, start=start, steps=steps, end=end)
        if finish is not None:
            target = joint_posterior(_bare(denoisers), whitened, "auto", *method[1:])
            z, ended = run_sampler(target, step, finish, key=jax.random.fold_in(run_key, 1), start=z)
            info = info.merge(ended)
        return z, info

    return jax.vmap(one)(jnp.arange(len(indices)), indices)


def _cost(
    view: View, priors: Mapping[str, Prior], method: Method, sampling: SamplingConfig, steps: int, rounds: int
) -> Cost:
    """Network evaluations of one draw, from the shapes alone; of the dearest source, where they are drawn in turn."""
    names = list(view.mixing)

    def count():
        whitened = WhitenedObservation.of(
            take(view.select(np.zeros(1, int)).observations, 0),
            {s: priors[s].scaling for s in names},
            {s: priors[s].shape for s in names},
        )
        if not rounds:
            return costs.append(of(whitened))
        known = {s: jnp.zeros(priors[s].shape) for s in names}
        for s in names:
            costs.append(of(whitened.given({c: x for c, x in known.items() if c != s})) * rounds)

    def of(whitened: WhitenedObservation) -> Cost:
        options = sampling.options(view)
        target = joint_posterior(method.denoisers, whitened, method.name, *options, conditional=method.conditional)
        cost = method.first.cost(target, steps, method.finish is None)
        if method.finish is not None:
            target = joint_posterior(_bare(method.denoisers), whitened, "auto", *options)
            cost = cost + sampling.make_step().cost(target, sampling.finish_steps)
        return cost

    costs: list[Cost] = []
    jax.eval_shape(count)
    return max(costs, key=lambda cost: cost.total)


def _diverged(samples: Mapping[str, np.ndarray], priors: Mapping[str, Prior]) -> np.ndarray:
    far = [
        (~np.isfinite(x) | (np.abs(priors[s].scaling.to_scaled(x)) > _FAR)).reshape(len(x), -1).any(1)
        for s, x in samples.items()
    ]
    return np.any(far, axis=0)

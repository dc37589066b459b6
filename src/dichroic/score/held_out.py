r"""How far a score is off, as far as samples alone can tell.

The energy of the true score, :math:`S = \mathrm E\|s\|^2`, is not known, and so no relative error is. But the loss of
score matching is the error up to that constant, so that of two estimates the better one is known; and what an estimate
would be from other samples, two halves of them say.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

__all__ = ["Batched", "choose", "held_out_loss", "sampling_error"]

Batched = Callable[[ArrayLike], Float[np.ndarray, "m d"]]
"""A score as a function of a batch, `(m, d) -> (m, d)`."""

_STEP = 1e-4  # of a difference, in units of the samples' width


def held_out_loss(score: Batched, x: ArrayLike, *, seed: int = 0, probes: int = 4) -> Float[np.ndarray, " n"]:
    r""":math:`v^\top J_{\hat s}(x) v + \tfrac12 \|\hat s(x)\|^2` of every point, per entry, with random signs `v`.

    Its mean is half of the squared error, less a constant that is the same for all scores. Differences take the place
    of derivatives, so that any function will do, in double precision.
    """
    x = np.asarray(x, float)
    h = _STEP * x.std()
    rng = np.random.default_rng(seed)
    slope = np.zeros(len(x))
    for _ in range(probes):
        v = rng.choice([-1.0, 1.0], x.shape)
        slope += np.mean(v * (score(x + h * v) - score(x - h * v)), axis=1) / (2 * h * probes)
    return slope + np.mean(score(x) ** 2, axis=1) / 2


def choose(
    samples: ArrayLike, fits: Mapping[str, Callable[[ArrayLike], Batched]], *, share: float = 0.2, seed: int = 0
) -> tuple[str, Batched, dict[str, float]]:
    """The fit of the least held-out loss, made again from all samples.

    **Arguments:** `fits`, from samples to a score, by names; `share`, of the samples, which is held out.

    **Returns:** the name; the score; the mean loss of every fit.
    """
    x = np.random.default_rng(seed).permutation(np.asarray(samples, float))
    held = max(1, int(share * len(x)))
    losses = {name: float(held_out_loss(fit(x[held:]), x[:held], seed=seed).mean()) for name, fit in fits.items()}
    best = min(losses, key=losses.__getitem__)
    return best, fits[best](x), losses


def sampling_error(
    samples: ArrayLike, fit: Callable[[ArrayLike], Batched], *, share: float = 0.2, seed: int = 0
) -> float:
    r"""What chance does to an estimate: the share of its relative Fisher error that is variance.

    Two estimates from disjoint samples differ by two variances, and their product is what both have in common,

    .. math:: \frac{\mathrm E\|\hat s_1 - \hat s_2\|^2 / 2}{\mathrm E[\hat s_1 \cdot \hat s_2]} \cdot \frac{n}{N} ,

    at points that neither was made from, `n` of `N` samples being behind each: variances fall as one over the number. A
    bias that both have is not seen.
    """
    x = np.random.default_rng(seed).permutation(np.asarray(samples, float))
    held = max(1, int(share * len(x)))
    n = (len(x) - held) // 2
    f, g = (fit(part)(x[:held]) for part in (x[held : held + n], x[held + n : held + 2 * n]))
    return float(np.sum((f - g) ** 2) / (2 * np.sum(f * g)) * n / len(x))

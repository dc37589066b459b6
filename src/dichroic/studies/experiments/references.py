"""What can be had with the truth at hand, on the problems where it is known."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag

from dichroic.algebra import conditional, root
from dichroic.metrics.psnr import psnr
from dichroic.problem import Problem, blocks_of
from dichroic.white.arrays import grouped

__all__ = ["Reference", "oracle_wiener"]


class Reference(NamedTuple):
    """An estimate of one source for the observations of one view, shape `(n, ...)`, and its PSNR in dB."""

    estimate: np.ndarray
    psnr: float


def oracle_wiener(
    problem: Problem, held_out: Problem, source: str = "digit", view: str = "mix", peak: float = 1.0
) -> Reference:
    """The best affine estimate: the conditional mean of Gaussian sources with the means and covariances of the true
    ones of the training view.
    """
    observed = held_out.views[view]
    truth = {name: np.asarray(x, float).reshape(len(x), -1) for name, x in problem.views[view].truth.items()}
    if missing := set(observed.mixing) - set(truth):
        raise ValueError(f"oracle_wiener: view '{view}' has no truth for {sorted(missing)}")
    shapes = {name: problem.sources[name].real_shape for name in observed.mixing}
    mean = np.concatenate([truth[name].mean(0) for name in shapes])
    R, at = block_diag(*[root(np.cov(truth[name].T)) for name in shapes]), blocks_of(shapes)[source]
    out = np.empty((len(observed), *shapes[source]), np.float32)
    for group in grouped(observed, shapes):
        gain, _ = conditional(R, group.A @ R)
        x = mean + (group.y - mean @ group.A.T) @ gain.T
        out[group.members] = x[:, at].reshape(-1, *shapes[source])
    return Reference(out, psnr(out, observed.truth[source], peak))

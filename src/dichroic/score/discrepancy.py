r"""The kernel Stein discrepancy of draws from a law whose score is known.

With the inverse multiquadric :math:`k = \psi(q)`, :math:`q = \|z - z'\|^2`, and the scores `t`, `t'` of both points,

.. math:: u(z, z') = \psi\, t \cdot t' + 2 \psi' (t' - t) \cdot (z - z') - 2 r \psi' - 4 q \psi''

has mean zero over independent draws if, and (for a kernel like this, that decays slowly) only if, they are of that law.
The score needs no normalisation: a posterior's is that of the prior plus that of the likelihood. Source: Liu, Lee and
Jordan (arXiv 1602.03253); Gorham and Mackey (arXiv 1703.01717) for the kernel.

What is far apart it does not see: where a law has separate modes, draws of some of them, or of all in the wrong
proportions, have the right score.
"""

import numpy as np
from jaxtyping import Float

from dichroic.score.kernels import Kernel

__all__ = ["stein_discrepancies", "stein_test"]


def stein_discrepancies(
    z: Float[np.ndarray, "n K r"], t: Float[np.ndarray, "n K r"], bandwidth: float
) -> Float[np.ndarray, "n K K"]:
    """:math:`u` of all pairs of the `K` draws of each of `n` laws, whose scores at the draws are `t`.

    In fewer coordinates :math:`z = W^T x` than there are, :math:`t = W^T s(x)` with the score of the whole law.
    """
    r = z.shape[2]
    norm = np.sum(z**2, axis=2)
    q = np.maximum(norm[:, :, None] + norm[:, None] - 2 * z @ z.swapaxes(1, 2), 0)
    across = z @ t.swapaxes(1, 2)  # z_i . t_j
    own = np.einsum("nkk->nk", across)
    # (t_j - t_i) . (z_i - z_j)
    turned = across - own[:, None] - own[:, :, None] + across.swapaxes(1, 2)
    psi, first, second = Kernel("imq", bandwidth).radial(q.copy(), 0, 2)
    return psi * (t @ t.swapaxes(1, 2)) + 2 * first * turned - 2 * r * first - 4 * q * second


def stein_test(u: Float[np.ndarray, "n K K"], rng: np.random.Generator, repeats: int = 1999) -> tuple[float, float]:
    """Whether draws are of their laws, all `n` together.

    The null is made by random signs of the draws (the wild bootstrap of Chwialkowski et al., arXiv 1602.02964), which
    holds for any number of draws, for independent ones.

    **Returns:** the discrepancy as a share of what it would be of a single draw, without bias, and its p-value.
    """
    K = u.shape[1]
    apart = np.where(np.eye(K, dtype=bool), 0, u)
    single = np.einsum("nkk->", u) / K  # positive
    found = apart.sum()
    w = rng.choice([-1.0, 1.0], (len(u), repeats, K))
    null = np.sum((w @ apart) * w, axis=(0, 2))
    p = (1 + np.sum(null >= found)) / (repeats + 1)
    return float(found / (K * (K - 1)) / single), float(p)

r"""What is known of receivers in closed form, by section 9 of the description of the published study.

A bit of the matched filter is wrong with probability :math:`Q(\sqrt{h / \kappa^2})` in white circular interference of
power :math:`\kappa^2`, `h` the samples of a symbol. With :math:`C_x = H H^*` the best linear estimate
:math:`W = C_x (C_x + \kappa^2 C_n)^{-1}` leaves :math:`\mathrm{tr}(C_x - W C_x)` of the signal.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Complex, Float
from scipy.special import ndtr

from dichroic.diffusion import Prior, Pulse

__all__ = ["LinearReceiver", "complex_covariance", "linear_receiver", "matched_filter_error_rate"]

_RIDGE = 1e-9  # of the interference, where it leaves frequencies free


def matched_filter_error_rate(kappa: float, samples: int = 16) -> float:
    """Share of wrong bits of QPSK or BPSK, one part of it, in white interference of gain `kappa`."""
    return float(ndtr(-np.sqrt(samples) / kappa))


def complex_covariance(prior: Prior) -> Complex[np.ndarray, "t t"]:
    """E x x* of a complex source of mean zero.

    **Raises:** `ValueError` where the prior does not know it.
    """
    moments = prior.moments()
    if moments is None:
        raise ValueError("the prior does not say its covariance")
    S = moments[1].reshape(prior.shape * 2)
    return S[:, 0, :, 0] + S[:, 1, :, 1] + 1j * (S[:, 1, :, 0] - S[:, 0, :, 1])


class LinearReceiver(NamedTuple):
    """The best linear estimate, then the matched filter: symbols are `filter @ y`; `error`, the mean squared error of
    the estimate per sample.
    """

    filter: Complex[np.ndarray, "p t"]
    error: float

    def __call__(self, y: Complex[np.ndarray, "n t"]) -> Complex[np.ndarray, "n p"]:
        """Symbols, before they are decided."""
        return y @ self.filter.T


def linear_receiver(signal: Pulse, covariance: Complex[np.ndarray, "t t"], kappa: float) -> LinearReceiver:
    """Of a train of pulses of letters with unit power, under interference of this covariance."""
    H: Float[np.ndarray, "t p"] = np.asarray(signal.matrix, float)
    K = H @ H.T + kappa**2 * covariance
    K[np.diag_indices(len(K))] += _RIDGE * kappa**2
    B = scipy.linalg.solve(K, H, assume_a="pos", overwrite_a=True)
    gram = H.T @ H
    error = (np.trace(gram) - np.trace(gram @ (B.conj().T @ H)).real) / len(H)
    return LinearReceiver(gram @ B.conj().T / signal.gain, float(error))

r"""A source that is a train of pulses, or any other linear map of letters with orthogonal columns.

Source: T. Jayashankar, *Score Estimation for Generative Modeling*, MIT 2025, chapter 5 (equation 5.24 for the symbols).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.prior import Scaling
from dichroic.diffusion.schedule import Schedule
from dichroic.diffusion.symbols import Modulator, Symbols, checked, said_letters

__all__ = ["Pulse", "pulse_matrix", "root_raised_cosine"]

_ORTHOGONAL = 0.02  # share of their length by which columns may differ from orthogonal ones


def root_raised_cosine(span: int, samples: int, rolloff: float) -> Float[np.ndarray, " n"]:
    r"""The taps of a root raised cosine, `span` symbols of so many `samples` long, of unit energy:

    .. math:: h(\tau) = \frac{\sin(\pi \tau (1 - b)) + 4 b \tau \cos(\pi \tau (1 + b))}{\pi \tau (1 - (4 b \tau)^2)} .
    """
    b, tau = rolloff, np.arange(-span * samples // 2, span * samples // 2 + 1) / samples
    with np.errstate(divide="ignore", invalid="ignore"):
        taps = np.sin(np.pi * tau * (1 - b)) + 4 * b * tau * np.cos(np.pi * tau * (1 + b))
        taps /= np.pi * tau * (1 - (4 * b * tau) ** 2)
    taps[tau == 0] = 1 + b * (4 / np.pi - 1)
    if b:
        edge = (1 + 2 / np.pi) * np.sin(np.pi / (4 * b)) + (1 - 2 / np.pi) * np.cos(np.pi / (4 * b))
        taps[np.isclose(np.abs(tau), 1 / (4 * b))] = b / 2**0.5 * edge
    return taps / np.sqrt(np.sum(taps**2))


def pulse_matrix(taps: Float[np.ndarray, " n"], samples: int, length: int) -> Float[np.ndarray, "length p"]:
    r"""The columns of :math:`x = \sum_k a_k g(t - t_k)` for one symbol in every so many `samples`, the first of them
    half of that from the beginning; the pulse is scaled for symbols of unit power to make a signal of unit power.
    """
    half, centres = len(taps) // 2, np.arange(samples // 2, length, samples)
    H = np.zeros((length + 2 * half, len(centres)))
    for k, centre in enumerate(centres):
        H[centre : centre + len(taps), k] = np.sqrt(samples) * taps
    return H[half : half + length]


class _Matrix(Modulator):
    """A real matrix on real symbols or on both parts of complex ones."""

    matrix: ArrayLike
    length: float = eqx.field(static=True)
    parts: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        return (jnp.shape(self.matrix)[0], *self.parts)

    @property
    def symbols(self) -> tuple[int, ...]:
        return (jnp.shape(self.matrix)[1], *self.parts)

    @property
    def gain(self) -> float:
        return self.length

    def __call__(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.asarray(self.matrix, a.dtype) @ a

    def matched(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.asarray(self.matrix, x.dtype).T @ x / self.length


@dataclass(frozen=True)
class Pulse(Symbols):
    """Letters through a real matrix with orthogonal columns of one length: a train of pulses, as a rule.

    **Arguments:** `letters` and `weights` as in `Symbols`; `matrix`, shape `(n, p)`, from `p` symbols to `n` samples.

    **Raises:** `ValueError` where its columns are far from orthogonal: the denoiser would not be what it says.
    """

    kind: ClassVar[str] = "pulse"
    letters: np.ndarray
    weights: np.ndarray
    matrix: np.ndarray
    schedule: Schedule = field(default_factory=Schedule)
    scaling: Scaling = field(default_factory=Scaling)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        H = np.asarray(self.matrix, float)
        if H.ndim != 2 or H.size == 0 or not np.isfinite(H).all():
            raise ValueError(f"has a matrix of shape {H.shape}")
        away = np.abs(H.T @ H / (self.gain or 1) - np.eye(H.shape[1]))
        np.fill_diagonal(away, 0)  # pulses at the ends are cut off, which only makes them weaker
        if not self.gain or away.max(initial=0) > _ORTHOGONAL:
            raise ValueError(f"has columns that are not orthogonal: products of up to {away.max(initial=0):.2g}")

    @property
    def gain(self) -> float:
        """The square of the length of a column, as the median over all of them."""
        return float(np.median((np.asarray(self.matrix, float) ** 2).sum(0)))

    @classmethod
    def of_table(cls, table: Mapping[str, Any], shape: tuple[int, ...], pairs: bool) -> "Pulse":
        """`{ alphabet = "qpsk", pulse = "rrc", samples = 16, rolloff = 0.5, span = 4 }`, or a matrix as `pulse`."""
        letters, weights, scaling = said_letters(table, ("pulse", "samples", "rolloff", "span"), pairs)
        if len(shape) != 1 + pairs:
            raise ValueError(f"a train of pulses has one axis, the source has shape {shape[: len(shape) - pairs]}")
        if isinstance(table["pulse"], str) and table["pulse"] == "rrc":
            samples, span = (int(table.get(key, usual)) for key, usual in (("samples", 16), ("span", 4)))
            rolloff = float(table.get("rolloff", 0.5))
            if samples < 1 or span < 1 or not 0 <= rolloff <= 1:
                raise ValueError("expected samples and span of at least 1, and a rolloff between 0 and 1")
            matrix = pulse_matrix(root_raised_cosine(span, samples, rolloff), samples, shape[0])
        else:
            matrix = np.asarray(table["pulse"])
            if matrix.dtype.kind not in "iuf":
                raise ValueError(f"expected pulse = 'rrc', or a matrix of real numbers, got {table['pulse']!r}")
        return cls(letters, weights, matrix.astype(np.float32), scaling=scaling)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.modulator().shape

    @property
    def symbols(self) -> tuple[int, ...]:
        return self.modulator().symbols

    @property
    def power(self) -> float:
        symbols, samples = np.shape(self.matrix)[1], np.shape(self.matrix)[0]
        return float(np.trace(self.letter_moments()[1])) * self.gain * symbols / samples

    def modulator(self) -> _Matrix:
        return _Matrix(self.matrix, self.gain, (2,) if self.letters.shape[1] == 2 else ())

    def modulated(self, symbols: Float[Array, "n ..."], key: PRNGKeyArray) -> Float[Array, "n ..."]:
        return jnp.einsum("tp,np...->nt...", jnp.asarray(self.matrix), symbols)

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        entries, arrays = super().content()
        return entries, {**arrays, "matrix": np.ascontiguousarray(self.matrix)}

    @classmethod
    def from_content(
        cls, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scaling: Scaling, provenance: Mapping
    ) -> "Pulse":
        letters, weights, schedule = checked(entries, arrays, {"matrix"})
        return cls(letters, weights, arrays["matrix"], schedule, scaling, provenance)

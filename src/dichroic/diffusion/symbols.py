r"""Signals made of symbols: :math:`x = H a`, the `a` independent and each one of finitely many letters.

Under white noise, where the columns of `H` are orthogonal, :math:`H^* H = h I`, the symbols of a matched filter,
:math:`z = H^* x_t / h = a + (\sigma / \sqrt h) \epsilon`, say all there is to know, and the denoiser is exact:

.. math:: D(x_t, \sigma) = H \sum_k r_k L_k, \qquad r_k \propto w_k \exp(-|z - L_k|^2 h / 2 \sigma^2) .

Noise has unit variance in every real component; complex numbers are real pairs along a last axis.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.denoiser import Denoiser
from dichroic.diffusion.prior import PRIOR_STEPS, Prior, Scaling, as_weights
from dichroic.diffusion.sampler import Step
from dichroic.diffusion.schedule import Schedule
from dichroic.faults import require_known

__all__ = ["CONSTELLATIONS", "Modulator", "Symbols", "SymbolsDenoiser", "columns", "letters_of", "said_letters"]


def _psk(n: int, turn: float = 0.0) -> np.ndarray:
    return np.exp(1j * (2 * np.pi * np.arange(n) / n + turn))


def _qam(n: int) -> np.ndarray:
    axis = np.arange(1 - n, n, 2.0)
    found = (axis[:, None] + 1j * axis).ravel()
    return found / np.sqrt(np.mean(np.abs(found) ** 2))


# letters of unit mean power, by the names of their modulations
CONSTELLATIONS: dict[str, np.ndarray] = {
    "bpsk": np.array([1.0, -1.0]),
    "qpsk": _psk(4, np.pi / 4),
    "8psk": _psk(8),
    "16qam": _qam(4),
    "64qam": _qam(8),
}


class Modulator(eqx.Module):
    """A linear map from symbols to signals, with orthogonal columns of one length: :math:`H^* H = h I`."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of a signal."""

    @property
    @abstractmethod
    def symbols(self) -> tuple[int, ...]:
        """Shape of its symbols."""

    @property
    @abstractmethod
    def gain(self) -> float:
        """The `h`."""

    @abstractmethod
    def __call__(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        """The signal, :math:`H a`."""

    @abstractmethod
    def matched(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """The symbols that a matched filter finds, :math:`H^* x / h`."""


class SymbolsDenoiser(Denoiser):
    """The denoiser of modulated symbols, see the module.

    **Arguments:** `letters`, shape `(K, 1)` of real and `(K, 2)` of complex ones; `log_weights`, `(K,)`; `modulator`.
    """

    discrete: ClassVar[bool] = True

    letters: ArrayLike
    log_weights: ArrayLike
    modulator: Modulator

    @property
    def shape(self) -> tuple[int, ...]:
        return self.modulator.shape

    def __call__(self, x_t: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
        letters, z = jnp.asarray(self.letters, x_t.dtype), self.modulator.matched(x_t)
        log_w = jnp.asarray(self.log_weights, x_t.dtype)[:, None]
        log_r = log_w - self._distances(z) * self.modulator.gain / (2 * sigma**2)
        return self.modulator((jax.nn.softmax(log_r, axis=0).T @ letters).reshape(z.shape))

    def nearest(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        z = self.modulator.matched(x)
        return self.modulator(jnp.asarray(self.letters, x.dtype)[jnp.argmin(self._distances(z), 0)].reshape(z.shape))

    def _distances(self, z: Array) -> Float[Array, "K p"]:
        """Squares, letter by letter: along a last axis of few letters nothing is fast."""
        letters = jnp.asarray(self.letters, z.dtype)
        z = z.reshape(-1, letters.shape[1])
        return sum((z[:, c] - letters[:, c, None]) ** 2 for c in range(letters.shape[1]))  # pyright: ignore


class Symbols(Prior):
    """A signal of symbols. Subclasses say how symbols make a signal.

    **Fields:** `letters`, shape `(K, 1)` of real and `(K, 2)` of complex ones, in the user's units; `weights`, `(K,)`.
    """

    letters: np.ndarray
    weights: np.ndarray

    @abstractmethod
    def modulator(self) -> Modulator | None:
        """From symbols to signals; None where that has no orthogonal columns, and the denoiser no closed form."""

    @abstractmethod
    def modulated(self, symbols: Float[Array, "n ..."], key: PRNGKeyArray) -> Float[Array, "n ..."]:
        """Signals of some symbols, and of all else that is random."""

    @property
    @abstractmethod
    def symbols(self) -> tuple[int, ...]:
        """Shape of the symbols of one sample, complex ones as real pairs."""

    @property
    @abstractmethod
    def power(self) -> float:
        """Mean power of a sample, away from the ends."""

    def sample(
        self, n: int, *, key: PRNGKeyArray, step: Step | None = None, steps: int = PRIOR_STEPS
    ) -> Float[Array, "n ..."]:
        symbol_key, other_key = jax.random.split(key)
        with np.errstate(divide="ignore"):
            a = _drawn(self.letters, np.log(self.weights), symbol_key, (n, *self.symbols))
        return self.modulated(a, other_key)

    def denoiser(self) -> SymbolsDenoiser | None:
        modulator = self.modulator()
        if modulator is None:
            return None
        letters = np.asarray(self.scaling.to_scaled(self.letters), np.float32)
        with np.errstate(divide="ignore"):
            return SymbolsDenoiser(letters, np.log(self.weights).astype(np.float32), modulator)

    def moments(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]] | None:
        modulator = self.modulator()
        if modulator is None:
            return None
        H, (mean, second) = columns(modulator), self.letter_moments()
        centre = np.tile(mean, H.shape[1] // len(mean))
        spread = (H.reshape(-1, len(mean)) @ (second - np.outer(mean, mean))).reshape(H.shape)
        return H @ centre, spread @ H.T

    def letter_moments(self) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, "c c"]]:
        """Mean and second moments of one letter, as a real number or a pair."""
        letters, w = np.asarray(self.letters, float), np.asarray(self.weights, float)
        return w @ letters, (w * letters.T) @ letters

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        schedule = [self.schedule.sigma_min, self.schedule.sigma_max]
        return {"schedule": schedule}, {"letters": self.letters, "weights": self.weights}


def columns(modulator: Modulator) -> Float[np.ndarray, "d p"]:
    """The matrix of a modulator, of real numbers."""
    p = int(np.prod(modulator.symbols))
    units = np.eye(p, dtype=np.float32).reshape(p, *modulator.symbols)
    return np.asarray(_modulated(modulator, units), float).reshape(p, -1).T


@eqx.filter_jit
def _modulated(modulator: Any, symbols: Any) -> Array:
    return jax.vmap(modulator)(symbols)


@eqx.filter_jit
def _drawn(letters: Any, log_weights: Any, key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    letters = jnp.asarray(letters)
    leading = shape[:-1] if letters.shape[1] == 2 else shape
    chosen = jax.random.categorical(key, jnp.asarray(log_weights, jnp.float32), shape=leading)
    return letters[chosen].reshape(shape)


def letters_of(said: Any, pairs: bool) -> np.ndarray:
    """Letters from the name of a constellation or from numbers, complex ones as pairs where the source is complex.

    **Returns:** shape `(K, 1)` of a real source, `(K, 2)` of a complex one.

    **Raises:** `ValueError` for what are none.
    """
    if isinstance(said, str):
        if said.lower() not in CONSTELLATIONS:
            raise ValueError(f"unknown alphabet '{said}'; known: {', '.join(CONSTELLATIONS)}, or numbers")
        said = CONSTELLATIONS[said.lower()]
    letters = np.asarray(said)
    if letters.dtype.kind not in "iufc" or letters.ndim not in (1, 2) or len(letters) < 2:
        raise ValueError(f"expected the name of an alphabet, or a list of at least two numbers, got {said!r}")
    if np.iscomplexobj(letters) and not pairs:
        raise ValueError("an alphabet of complex numbers is for a complex source: say dtype = 'complex'")
    if letters.ndim == 1:
        letters = np.stack([np.real(letters), np.imag(letters)], -1) if pairs else letters[:, None]
    if letters.shape[1] != 1 + pairs or not np.isfinite(letters).all():
        raise ValueError(f"expected {'pairs of' if pairs else ''} finite numbers as letters, got {said!r}")
    return letters.astype(np.float32)


def said_letters(
    table: Mapping[str, Any], known: tuple[str, ...], pairs: bool
) -> tuple[np.ndarray, np.ndarray, Scaling]:
    """Letters, weights and scaling of a table of a problem file, whose other keys are `known`.

    The unit is the root of the mean power of a letter, so that noise levels mean the same for all alphabets.
    """
    require_known(table, ("alphabet", "weights", *known))
    letters = letters_of(table.get("alphabet", "qpsk" if pairs else "bpsk"), pairs)
    weights = as_weights(table.get("weights"), len(letters))
    return letters, weights, Scaling(0.0, float(np.sqrt(weights @ (letters.astype(float) ** 2).sum(1))) or 1.0)


def checked(
    entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], names: set[str]
) -> tuple[np.ndarray, np.ndarray, Schedule]:
    """Letters, weights and schedule of a file, which may be forged.

    **Raises:** `ValueError`.
    """
    if set(arrays) != {"letters", "weights", *names}:
        raise ValueError(f"lacks or has unexpected arrays: {sorted(set(arrays) ^ {'letters', 'weights', *names})}")
    letters = arrays["letters"]
    if letters.ndim != 2 or letters.shape[1] not in (1, 2) or len(letters) < 2 or not np.isfinite(letters).all():
        raise ValueError(f"has letters of shape {letters.shape}")
    as_weights(arrays["weights"], len(letters))
    return letters, arrays["weights"], Schedule.of(entries.get("schedule"))


def checked_shape(entries: Mapping[str, Any], key: str = "shape") -> tuple[int, ...]:
    """A shape of a file.

    **Raises:** `ValueError`.
    """
    shape = entries.get(key)
    if not (isinstance(shape, list) and shape and all(type(n) is int and 0 < n < 2**31 for n in shape)):
        raise ValueError(f"has a {key} that is none: {shape!r}")
    return tuple(shape)

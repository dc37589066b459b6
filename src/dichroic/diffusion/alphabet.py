"""A source every number of which is a letter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.algebra import Components
from dichroic.diffusion.denoiser import EXACT_SIZE
from dichroic.diffusion.prior import Scaling
from dichroic.diffusion.schedule import Schedule
from dichroic.diffusion.symbols import Modulator, Symbols, checked, checked_shape, said_letters

__all__ = ["Alphabet"]

_MOST = 4096  # samples that are listed


class _Entries(Modulator):
    """Symbols as they are."""

    size: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size

    symbols = shape

    @property
    def gain(self) -> float:
        return 1.0

    def __call__(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        return a

    def matched(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return x


@dataclass(frozen=True)
class Alphabet(Symbols):
    """Independent letters, one for every number of a sample (for every pair, where letters are complex).

    **Arguments:** `letters` and `weights` as in `Symbols`; `shape`, of a sample in real numbers.
    """

    kind: ClassVar[str] = "alphabet"
    letters: np.ndarray
    weights: np.ndarray
    size: tuple[int, ...]
    schedule: Schedule = field(default_factory=Schedule)
    scaling: Scaling = field(default_factory=Scaling)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if self.letters.shape[1] == 2 and self.size[-1] != 2:
            raise ValueError(f"has complex letters, and samples of shape {self.size} that are no pairs")

    @classmethod
    def of_table(cls, table: Mapping[str, Any], shape: tuple[int, ...], pairs: bool) -> "Alphabet":
        """`{ alphabet = "qpsk" }`, or `{ alphabet = [0, 1, 3], weights = [2, 1, 1] }`."""
        letters, weights, scaling = said_letters(table, (), pairs)
        if not pairs:
            mean = float(weights @ letters[:, 0])
            scaling = Scaling(mean, float(np.sqrt(weights @ (letters[:, 0] - mean) ** 2)) or 1.0)
        return cls(letters, weights, shape, scaling=scaling)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.size

    @property
    def symbols(self) -> tuple[int, ...]:
        return self.size

    @property
    def power(self) -> float:
        return float(np.trace(self.letter_moments()[1]))

    def modulator(self) -> _Entries:
        return _Entries(self.size)

    def modulated(self, symbols: Float[Array, "n ..."], key: PRNGKeyArray) -> Float[Array, "n ..."]:
        return symbols

    def components(self) -> Components | None:
        """Every sample that there is, without extent, where these are few."""
        every, d = self.alphabet(), prod(self.size)
        if every is None or d > EXACT_SIZE:
            return None
        weights = np.array([np.prod(w) for w in product(self.weights.astype(float), repeat=self._number)])
        return Components(weights / weights.sum(), every.reshape(-1, d).astype(float), np.zeros((len(every), d, d)))

    def alphabet(self) -> Float[np.ndarray, "K ..."] | None:
        if self._number * np.log(len(self.letters)) > np.log(_MOST) + 1e-9:
            return None
        return np.array(list(product(self.letters, repeat=self._number))).reshape(-1, *self.size)

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        entries, arrays = super().content()
        return {**entries, "shape": list(self.size)}, arrays

    @classmethod
    def from_content(
        cls, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scaling: Scaling, provenance: Mapping
    ) -> "Alphabet":
        letters, weights, schedule = checked(entries, arrays, set())
        return cls(letters, weights, checked_shape(entries), schedule, scaling, provenance)

    @property
    def _number(self) -> int:
        return prod(self.size) // self.letters.shape[1]

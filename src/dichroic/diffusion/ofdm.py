r"""A source that is an OFDM signal: blocks of letters on carriers, :math:`n = F c` with a unitary `F`.

Source: T. Jayashankar, *Score Estimation for Generative Modeling*, MIT 2025, section 5.6 (grid of its release).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dichroic.diffusion.prior import Scaling
from dichroic.diffusion.schedule import Schedule
from dichroic.diffusion.symbols import Modulator, Symbols, checked, columns, said_letters

__all__ = ["OFDM", "WIFI"]

WIFI = (*range(-28, 0), *range(1, 29))
"""The carriers of 64 that are used between guards and without the one in the middle."""


class _Carriers(Modulator):
    """One block after the other, each a unitary inverse Fourier transform of the letters on its active carriers."""

    blocks: int = eqx.field(static=True)
    fft: int = eqx.field(static=True)
    active: tuple[int, ...] = eqx.field(static=True)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.blocks * self.fft, 2)

    @property
    def symbols(self) -> tuple[int, ...]:
        return (self.blocks, len(self.active), 2)

    @property
    def gain(self) -> float:
        return 1.0

    def __call__(self, a: Float[Array, "..."]) -> Float[Array, "..."]:
        grid = jnp.zeros((self.blocks, self.fft), jnp.result_type(a.dtype, 1j))
        grid = grid.at[:, np.array(self.active) % self.fft].set(jax.lax.complex(a[..., 0], a[..., 1]))
        x = jnp.fft.ifft(grid, norm="ortho").reshape(-1)
        return jnp.stack([x.real, x.imag], -1)

    def matched(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        grid = jnp.fft.fft(jax.lax.complex(x[:, 0], x[:, 1]).reshape(self.blocks, self.fft), norm="ortho")
        grid = grid[:, np.array(self.active) % self.fft]
        return jnp.stack([grid.real, grid.imag], -1)


@dataclass(frozen=True)
class OFDM(Symbols):
    """Letters on carriers, block after block, complex.

    With a cyclic prefix the last samples of a block stand before it, too: columns are then not orthogonal, and neither
    are those of a window that begins anywhere (`offset`) or of a signal of unknown phase (`phase`). Such signals are
    drawn from, and have no denoiser in closed form.

    **Arguments:** `letters` and `weights` as in `Symbols`; `length`, samples; `fft`, carriers; `active`, those with
    letters, negative ones counted from the end; `prefix`, samples; `offset` and `phase`, whether these are random.
    """

    kind: ClassVar[str] = "ofdm"
    letters: np.ndarray
    weights: np.ndarray
    length: int
    fft: int = 64
    active: tuple[int, ...] = tuple(range(64))
    prefix: int = 0
    offset: bool = False
    phase: bool = False
    schedule: Schedule = field(default_factory=Schedule)
    scaling: Scaling = field(default_factory=Scaling)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        numbers = (self.length, self.fft, self.prefix, *self.active)
        if not all(type(n) is int and abs(n) < 2**31 for n in numbers) or min(self.length, self.fft) < 1:
            raise ValueError("expected whole numbers as length, number of carriers, carriers and prefix")
        if not 0 <= self.prefix <= self.fft:
            raise ValueError(f"expected a prefix of 0 to {self.fft} samples, got {self.prefix}")
        if not self.active or len({a % self.fft for a in self.active}) < len(self.active):
            raise ValueError("expected some carriers, each of them once")
        if min(self.active) < -self.fft or max(self.active) >= self.fft:
            raise ValueError(f"expected carriers from {-self.fft} to {self.fft - 1}")
        if self.letters.shape[1] != 2:
            raise ValueError("has letters that are no pairs; OFDM is complex")
        if not self.offset and self.length % (self.fft + self.prefix):
            raise ValueError(f"expected whole blocks of {self.fft + self.prefix} samples, got {self.length}")

    @classmethod
    def of_table(cls, table: Mapping[str, Any], shape: tuple[int, ...], pairs: bool) -> "OFDM":
        """`{ alphabet = "bpsk", ofdm = 64, carriers = "all", prefix = 16, offset = true, phase = true }`; `carriers`
        may be "wifi" (56 of 64) or a list.
        """
        letters, weights, scaling = said_letters(table, ("ofdm", "carriers", "prefix", "offset", "phase"), pairs)
        if not pairs or len(shape) != 2:
            raise ValueError("OFDM is of a complex source with one axis: say dtype = 'complex'")
        fft, carriers = table["ofdm"], table.get("carriers", "all")
        if type(fft) is not int or fft < 1:
            raise ValueError(f"ofdm: expected the number of carriers, got {fft!r}")
        named = {"all": tuple(range(fft)), "wifi": WIFI}
        if isinstance(carriers, str) and carriers not in named:
            raise ValueError(f"carriers: expected 'all', 'wifi' or a list of numbers, got {carriers!r}")
        active = named[carriers] if isinstance(carriers, str) else tuple(np.asarray(carriers).tolist())
        offset, phase = (bool(table.get(key, False)) for key in ("offset", "phase"))
        return cls(letters, weights, shape[0], fft, active, table.get("prefix", 0), offset, phase, scaling=scaling)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length, 2)

    @property
    def symbols(self) -> tuple[int, ...]:
        return (self._blocks, len(self.active), 2)

    @property
    def power(self) -> float:
        return float(np.trace(self.letter_moments()[1])) * len(self.active) / self.fft

    def modulator(self) -> _Carriers | None:
        if self.prefix or self.offset or self.phase:
            return None
        return _Carriers(self._blocks, self.fft, self.active)

    def modulated(self, symbols: Float[Array, "n ..."], key: PRNGKeyArray) -> Float[Array, "n ..."]:
        grid = _Carriers(self._blocks, self.fft, self.active)
        return _windows(grid, self.prefix, self.length, self.offset, self.phase, symbols, key)

    def moments(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]] | None:
        """None for windows that begin anywhere or signals of unknown phase whose letters have a mean."""
        mean, second = self.letter_moments()
        if (self.offset or self.phase) and np.abs(mean).max() > 1e-6 * np.sqrt(np.trace(second)):
            return None
        if self.phase:
            second = np.trace(second) / 2 * np.eye(2)
        block = columns(_Carriers(1, self.fft, self.active)).reshape(self.fft, 2, -1)
        block = np.concatenate([block[self.fft - self.prefix :], block])
        size, (centre, spread) = len(block), (mean, second - np.outer(mean, mean))
        spread = (block.reshape(-1, 2) @ spread).reshape(2 * size, -1) @ block.reshape(2 * size, -1).T
        own = block.reshape(2 * size, -1) @ np.tile(centre, len(self.active))
        whole, covariance = np.zeros((self.length, 2)), np.zeros((self.length, 2, self.length, 2))
        begins = range(size) if self.offset else (0,)
        for begin in begins:
            for at in range(-begin, self.length, size):
                low, high = max(at, 0), min(at + size, self.length)
                part = slice(low - at, high - at)
                whole[low:high] += own.reshape(size, 2)[part] / len(begins)
                covariance[low:high, :, low:high] += spread.reshape(size, 2, size, 2)[part, :, part] / len(begins)
        return whole.reshape(-1), covariance.reshape(2 * self.length, -1)

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        entries, arrays = super().content()
        numbers = {key: getattr(self, key) for key in ("length", "fft", "prefix", "offset", "phase")}
        return {**entries, **numbers, "active": list(self.active)}, arrays

    @classmethod
    def from_content(
        cls, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scaling: Scaling, provenance: Mapping
    ) -> "OFDM":
        letters, weights, schedule = checked(entries, arrays, set())
        length, fft, prefix, active = (entries.get(key) for key in ("length", "fft", "prefix", "active"))
        if not isinstance(active, list) or not all(type(n) is int for n in (length, fft, prefix, *active)):
            raise ValueError("has sizes that are no whole numbers")
        flags = {key: entries.get(key) is True for key in ("offset", "phase")}
        sizes = length, fft, tuple(active), prefix
        return cls(letters, weights, *sizes, **flags, schedule=schedule, scaling=scaling, provenance=provenance)  # pyright: ignore

    @property
    def _blocks(self) -> int:
        """Blocks behind a sample; a window that begins in the midst of one reaches into others."""
        size = self.fft + self.prefix
        return -(-self.length // size) + (5 if self.offset else 0)


@eqx.filter_jit
def _windows(grid, prefix, length, offset, phase, symbols, key):
    keys = jax.random.split(key, len(symbols))

    def one(a, key):
        offset_key, phase_key = jax.random.split(key)
        x = grid(a).reshape(grid.blocks, grid.fft, 2)
        x = jnp.concatenate([x[:, grid.fft - prefix :], x], axis=1).reshape(-1, 2)
        if offset:
            begin = jax.random.randint(offset_key, (), 0, 5 * (grid.fft + prefix))
            x = jax.lax.dynamic_slice_in_dim(x, begin, length)
        if phase:
            angle = jax.random.uniform(phase_key, maxval=2 * jnp.pi)
            c, s = jnp.cos(angle), jnp.sin(angle)
            x = x @ jnp.array([[c, s], [-s, c]])
        return x[:length]

    return jax.vmap(one)(symbols, keys)

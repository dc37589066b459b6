"""Laws in the plane with known answers: a ring and a grid of Gaussians, and a Swiss roll.

Source: Jayashankar's thesis, chapter 8, whose Swiss roll is drawn and not measured; ring and grid, with the distances
of all three, are those of the known answers that go with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore

from dichroic.diffusion import ComponentsDenoiser
from dichroic.metrics import energy_distance

__all__ = ["LAWS", "Law"]

_WITHIN = 3.0  # standard deviations of a mode, or of the noise about a curve
_CURVE = 4001  # points of the roll that samples are held against
_CELLS = 40


@dataclass(frozen=True)
class Law:
    """A law in the plane.

    **Fields:** `draw(rng, n)`; `centres`, of its modes, or points along its curve, shape `(k, 2)`; `sd`, about them;
    `cells`, which of the parts to be hit each of them belongs to; `teacher`, its denoiser where that is known.
    """

    draw: Callable[[np.random.Generator, int], Float[np.ndarray, "n 2"]]
    centres: Float[np.ndarray, "k 2"]
    sd: float
    cells: np.ndarray
    teacher: ComponentsDenoiser | None

    def scores(self, x: Float[np.ndarray, "n 2"], fresh: Float[np.ndarray, "m 2"]) -> dict[str, float]:
        """The share of samples within three standard deviations; parts that have half of their share; the smallest
        share of one over what it should be; the energy distance to fresh draws.
        """
        d, nearest = cKDTree(self.centres).query(x)
        inside, count = d <= _WITHIN * self.sd, int(self.cells.max()) + 1
        shares = np.bincount(self.cells[nearest][inside], minlength=count) / len(x) * count
        distance = float(energy_distance(x, fresh))
        return {
            "within": float(inside.mean()),
            "hit": int((shares >= 0.5).sum()),
            "parts": count,
            "smallest": float(shares.min()),
            "energy": distance,
        }


def _modes(centres: np.ndarray, sd: float) -> Law:
    k = len(centres)
    teacher = ComponentsDenoiser.from_covariances(np.full(k, 1 / k), centres, np.tile(sd**2 * np.eye(2), (k, 1, 1)))

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return centres[rng.integers(k, size=n)] + sd * rng.standard_normal((n, 2))

    return Law(draw, centres, sd, np.arange(k), teacher)


def _ring() -> Law:
    angle = 2 * np.pi * np.arange(8) / 8
    return _modes(np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1), 0.05)


def _grid() -> Law:
    side = (np.arange(5) - 2) / np.sqrt(2)
    return _modes(np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2), 0.035)


def _roll() -> Law:
    def curve(u: np.ndarray) -> np.ndarray:
        angle = 1.5 * np.pi * (1 + 2 * u)
        return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 7.5

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return curve(rng.random(n)) + 0.03 * rng.standard_normal((n, 2))

    u = np.linspace(0, 1, _CURVE)
    return Law(draw, curve(u), 0.03, np.minimum((u * _CELLS).astype(int), _CELLS - 1), None)


LAWS: dict[str, Callable[[], Law]] = {"ring": _ring, "roll": _roll, "grid": _grid}

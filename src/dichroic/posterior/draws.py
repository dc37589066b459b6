"""What is drawn: one joint posterior draw of every observation, with what happened on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from dichroic.diffusion import Cost, Prior
from dichroic.hosts import gathered

__all__ = ["Draws", "far_off", "join", "of_all"]

_FAR = 10.0  # standard deviations of a source from its mean beyond which a draw has left it


@dataclass
class Draws:
    """Posterior draws of a view, one per observation, in the user's units.

    **Fields:** `samples`, `{source: (n, ...)}`; `chi_square`, residual per observed value of each draw, 1 on average
    for an exact posterior; `residual`, the largest relative residual of its linear solves; `stopped`, how many of them
    met non-positive curvature; `diverged`, true where a draw is not finite or far outside its population; `cost`,
    network evaluations per draw and source; `shared`, evaluations per source before the first draw, for all of them
    together; `effective`, the smallest share of particles that counted behind each draw, 1 where there are none;
    `instrument`, `{name: (n, ...)}`, the unknowns of the view that each was drawn with.
    """

    samples: dict[str, Float[np.ndarray, "n ..."]]
    chi_square: Float[np.ndarray, " n"]
    residual: Float[np.ndarray, " n"]
    stopped: np.ndarray
    diverged: np.ndarray
    cost: Cost
    shared: Cost = field(default_factory=Cost)
    effective: Float[np.ndarray, " n"] | None = None
    instrument: Mapping[str, np.ndarray] = field(default_factory=dict)

    def evaluations(self, times: int = 1) -> float:
        """Network evaluations per draw and source, where every observation is drawn so many times in all."""
        return self.cost.total + self.shared.total / max(times * len(self.diverged), 1)

    @property
    def summary(self) -> dict[str, float]:
        """Numbers for the record of a lap."""
        kept = self.chi_square[~self.diverged]
        return {
            "chi_square": float(kept.mean()) if kept.size else float("nan"),
            "diverged": float(self.diverged.mean()),
            "solver_residual": float(self.residual.mean()),
            "solver_stopped": float((self.stopped > 0).mean()),
            "evaluations": self.evaluations(),
            **(
                {} if (share := self.effective) is None or not (share < 1).any() else {"effective": float(share.mean())}
            ),
        }


def join(parts: Sequence[tuple[np.ndarray, Draws]]) -> Draws:
    """The draws of parts of a view, each with its indices, in the order of the view."""
    order = np.argsort(np.concatenate([indices for indices, _ in parts]))
    draws = [found for _, found in parts]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(d, name) for d in draws])[order]

    samples = {s: np.concatenate([d.samples[s] for d in draws])[order] for s in draws[0].samples}
    largest = max(draws, key=lambda d: d.cost.total)
    chi_square, residual, stopped, diverged = map(joined, ("chi_square", "residual", "stopped", "diverged"))
    effective = None if draws[0].effective is None else joined("effective")
    return Draws(samples, chi_square, residual, stopped, diverged, largest.cost, largest.shared, effective)


def of_all(own: Draws, n: int) -> Draws:
    """The `n` draws of which each process has made its share."""
    names = ("chi_square", "residual", "stopped", "diverged", "effective")
    found = {name: gathered(x, n) for name in names if (x := getattr(own, name)) is not None}
    return replace(own, samples={s: gathered(x, n) for s, x in own.samples.items()}, **found)


def far_off(samples: Mapping[str, np.ndarray], priors: Mapping[str, Prior]) -> np.ndarray:
    """Which draws are not finite, or far outside their population."""
    far = [
        (~np.isfinite(x) | (np.abs(priors[s].scaling.to_scaled(x)) > _FAR)).reshape(len(x), -1).any(1)
        for s, x in samples.items()
    ]
    return np.any(far, axis=0)

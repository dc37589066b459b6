"""A fast posterior of a view: kept in a file, bound to observations like those it was trained for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt

from dichroic.diffusion import AnyNetwork, Cost, Decoupled, GaussianDenoiser, Prior, Scaling
from dichroic.diffusion.leaves import filled, named_arrays
from dichroic.operators import take
from dichroic.posterior.amortised import Conditional, Conditioned
from dichroic.posterior.auto import Auto
from dichroic.posterior.batched import batched
from dichroic.posterior.method import Bound
from dichroic.posterior.sampler import Chain, Leg
from dichroic.problem import View
from dichroic.store import Format, load_arrays, reading, save_arrays
from dichroic.white import WhitenedObservation

__all__ = ["FastPosterior"]

_FORMAT = Format("dichroic fast posterior", 1)
_OPERATORS = "operators"
_SAME = 1e-4  # operators of two observations that differ by less, relatively, are the same


@dataclass(frozen=True)
class FastPosterior:
    """Draws of a view in as many evaluations as there are noise levels but one.

    **Fields:** `conditional`, stochastic; `levels`, falling, of which the last one is drawn at by the Gaussian alone;
    `scalings` and `fingerprints`, of the priors it was trained for; `operators`, white, shape `(m, d)`, where all
    observations share them; `refused`, why it may not stand in for the method of the run, in words, None where nobody
    has asked.
    """

    conditional: Conditional
    levels: tuple[float, ...]
    scalings: Mapping[str, Scaling]
    fingerprints: Mapping[str, str]
    operators: Float[np.ndarray, "m d"] | None = None
    refused: tuple[str, ...] | None = None

    @property
    def sampler(self) -> Chain:
        """How one observation is drawn from."""
        *learned, last = self.levels
        closed = replace(self.conditional, network=None, stochastic=False)

        def leg(conditional: Conditional, levels: list[float], end: float) -> Leg:
            run = np.asarray(levels, np.float32)
            return Leg.create(Conditioned(conditional), Decoupled(), run, run, end)

        return Chain((leg(self.conditional, learned, last), leg(closed, [last], 0.0)), afresh=True)

    def check(self, view: View, priors: Mapping[str, Prior]) -> None:
        """Whether it is for the observations of a view.

        **Raises:** `ValueError` where it was trained for other sources, priors, operators or noise, in words.
        """
        if set(view.mixing) != set(self.scalings):
            raise ValueError(f"it is for observations of {sorted(self.scalings)}, these show {sorted(view.mixing)}")
        if other := [s for s, known in self.fingerprints.items() if priors[s].fingerprint() != known]:
            raise ValueError(f"the prior of '{other[0]}' is another one than it was trained for")
        if not view.is_gaussian:
            raise ValueError("it is for Gaussian noise")
        if self.operators is None:
            return
        shapes = self.conditional.shapes
        first = WhitenedObservation.of(take(view.observations, 0), self.scalings, shapes).matrices()
        A = np.concatenate([first[s] for s in shapes], axis=1) if view.shared else np.zeros((0, 0))
        size = np.abs(self.operators).max()
        if A.shape != self.operators.shape or np.abs(A - self.operators).max() > _SAME * size:
            raise ValueError("operators, noise or missing entries are others than those it was trained for")

    def bind(self, view: View, priors: Mapping[str, Prior], *, key: PRNGKeyArray) -> Bound:
        """For the observations of a view like the one that it was trained for.

        **Raises:** `ValueError` as `check` does.
        """
        self.check(view, priors)
        known = {s: priors[s] for s in view.mixing}
        batch = Auto().batch_size(self.conditional.shapes, len(view))
        return batched(view.noisy, known, self.sampler, Cost(), batch)

    def save(self, path: str | Path) -> None:
        """Writes it, whole or not at all."""
        c = self.conditional
        network: Any = c.network
        arrays = named_arrays(c) | ({} if self.operators is None else {_OPERATORS: self.operators})
        content = {
            "shapes": {s: list(shape) for s, shape in c.shapes.items()},
            "network": network.config.model_dump(),
            "levels": list(self.levels),
            "scalings": {s: [float(a.shift), float(a.scale)] for s, a in self.scalings.items()},
            "fingerprints": dict(self.fingerprints),
            "refused": None if self.refused is None else list(self.refused),
        }
        save_arrays(Path(path), arrays, content, _FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> "FastPosterior":
        """Reads what `save` wrote.

        **Raises:** `StoreError` for anything else.
        """
        with reading(Path(path)):
            arrays, content = load_arrays(Path(path), _FORMAT)
            said = _Entries.model_validate(content)
            operators = arrays.pop(_OPERATORS, None)
            populations = {s: _unknown(shape) for s, shape in said.shapes.items()}

            def fresh(key: PRNGKeyArray) -> Conditional:
                return Conditional.create(
                    populations, said.network, key=key, sees_operators=operators is None, stochastic=True
                )

            conditional = filled(eqx.filter_eval_shape(fresh, jax.random.key(0)), arrays, same_shapes=True)
            scalings = {s: Scaling(*ends) for s, ends in said.scalings.items()}
            return cls(conditional, said.levels, scalings, said.fingerprints, operators, said.refused)


class _Entries(BaseModel):
    """The header of the file."""

    model_config = ConfigDict(extra="forbid")

    shapes: dict[str, tuple[PositiveInt, ...]]
    network: AnyNetwork
    levels: tuple[PositiveFloat, ...]
    scalings: dict[str, tuple[float, PositiveFloat]]
    fingerprints: dict[str, str]
    refused: tuple[str, ...] | None


def _unknown(shape: tuple[int, ...]) -> GaussianDenoiser:
    d = prod(shape)
    return GaussianDenoiser(np.zeros(shape), np.zeros((d, d)), np.zeros(d), np.zeros(()))

"""The posterior of a view that was learned with the law of its mixtures: kept with a run, and drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from dichroic.diffusion import Cost, Prior, Scaling
from dichroic.diffusion.leaves import filled, named_arrays
from dichroic.law.conditional import Known, ViewDenoiser, evidence
from dichroic.law.config import MixturesConfig
from dichroic.law.contrast import Contrast
from dichroic.law.redrawn import Redrawn
from dichroic.law.regression import Regression
from dichroic.law.rounds import Rounds, draw_all
from dichroic.operators import Identity
from dichroic.posterior import Auto, Bound, Draws, Method
from dichroic.posterior.method import Wanted
from dichroic.problem import View
from dichroic.store import Format, load_arrays, save_arrays

__all__ = ["LearnedPosterior", "load_rounds", "save_rounds"]

_FORMAT = Format("dichroic posterior of a view", 1)
_ROUNDS = Format("dichroic rounds of a law", 1)
_BACKGROUNDS = 1024  # of a kind, kept
_MEANS = 4  # regressions that a posterior mean is the average of
_FIXED = ("source", "view", "alone")


@dataclass(frozen=True)
class LearnedPosterior:
    """Draws one source from its conditional denoiser, and then the others given it, from their priors.

    What the source leaves of the data is an observation of the others alone: their method is `Auto`, exact for priors
    in closed form. Bound to a view it is a `Bound` like that of any method.
    """

    contrast: Contrast
    regression: Regression
    denoiser: ViewDenoiser
    config: MixturesConfig

    @classmethod
    def of(cls, contrast: Contrast, state: Rounds, config: MixturesConfig) -> "LearnedPosterior":
        """Of what has been learned."""
        return cls(contrast.few(_BACKGROUNDS), state.regression, state.denoiser, config)

    def bind(
        self, view: View, priors: Mapping[str, Prior], *, key: PRNGKeyArray, others: Method | None = None
    ) -> Bound:
        """For the observations of a view like the one that it was learned from.

        **Raises:** `ValueError` where it is for other operators, noise or missing entries, in words.
        """
        return _Learned(self, view, {s: priors[s] for s in view.mixing}, key, others or Auto())

    def check(self, view: View, priors: Mapping[str, Prior]) -> None:
        """Whether it is for the observations of a view.

        **Raises:** `ValueError` as `bind` does.
        """
        self.contrast.of(view)

    def save(self, path: str | Path) -> None:
        """Writes it, whole or not at all."""
        c = self.contrast
        content = {
            **{name: getattr(c, name) for name in _FIXED},
            "shape": list(c.shape),
            "event": list(c.y.shape[1:]),
            "scaling": [float(c.scaling.shift), float(c.scaling.scale)],
            "turns": c.turns,
            "marks": list(c.marks),
            "kinds": len(c.count),
            "redrawn": None if c.redrawn is None else list(c.redrawn.draws),
            "masked": c.seen is not None,
            "precise": self.regression.precise,
            "config": self.config.model_dump(mode="json"),
        }
        save_arrays(Path(path), named_arrays(self._parts), content, _FORMAT)

    @classmethod
    def load(cls, path: str | Path) -> "LearnedPosterior":
        """Reads what `save` wrote.

        **Raises:** `StoreError` for anything else.
        """
        arrays, content = load_arrays(Path(path), _FORMAT)
        config = MixturesConfig.model_validate(content["config"])
        event, kinds = tuple(content["event"]), content.get("kinds", len(content["marks"]))
        zero, redrawn = jnp.zeros(()), content.get("redrawn")
        contrast = Contrast(
            y=jnp.zeros((1, *event)),
            kind=jnp.zeros(1, int),
            seen=jnp.ones((1, *event)) if content["masked"] else None,
            background=jnp.zeros((1, *event)),
            begin=jnp.zeros(kinds, int),
            count=jnp.zeros(kinds, int),
            operator=Identity(tuple(content["shape"])),
            scaling=Scaling(*map(float, content["scaling"])),
            centre=zero,
            unit=zero,
            low=zero,
            high=zero,
            **{name: content[name] for name in _FIXED},
            shape=tuple(content["shape"]),
            turns=bool(content["turns"]),
            marks=tuple(content["marks"]),
            redrawn=None if redrawn is None else Redrawn({s: jnp.zeros(1) for s in redrawn}, {}, None),
        )
        empty = cls(contrast, *_fresh(contrast, config, bool(content["precise"])), config)
        found = filled(empty._parts, arrays)
        contrast = replace(contrast, **found["contrast"])
        if redrawn is not None:
            contrast = replace(contrast, redrawn=Redrawn(found["redrawn"], {}, None))
        return cls(contrast, found["regression"], found["denoiser"], config)

    @property
    def _parts(self) -> dict[str, Any]:
        c = self.contrast
        names = ("background", "begin", "count", "centre", "unit", "low", "high")
        return {
            "contrast": {name: getattr(c, name) for name in names},
            "regression": self.regression,
            "denoiser": self.denoiser,
            **({} if c.redrawn is None else {"redrawn": c.redrawn.draws}),
        }


class _Learned(Bound):
    """A view drawn by the denoiser of one of its sources."""

    def __init__(
        self, posterior: LearnedPosterior, view: View, priors: dict[str, Prior], key: PRNGKeyArray, others: Method
    ):
        self.posterior, self.view, self.priors, self.key, self.others = posterior, view, priors, key, others
        self.contrast = posterior.contrast.of(view)
        self.cost = Cost(posterior.config.draw_steps + posterior.config.backgrounds)
        self.shared = Cost()
        self.rest: Bound | None = None
        self.known: Known | None = None

    def on(self, view: View) -> Bound:
        return _Learned(self.posterior, view, self.priors, self.key, self.others)

    def mean(self) -> dict[str, np.ndarray] | None:
        """By regression: what the denoiser says where :math:`x_t` is all but noise, and the others given that; None
        where the others have no exact mean.
        """
        every, known = np.arange(len(self.view)), self._evidence()
        keys = jax.random.split(jax.random.fold_in(self.key, 1), _MEANS)
        x = np.mean([draw_all(self.posterior.denoiser, known, 1, key)[1] for key in keys], axis=0)
        others = self._beside(x, every).mean()
        return None if others is None else self._ordered(x, others)

    def drawn(self, wanted: Wanted) -> Draws:
        p, n = self.posterior, len(wanted.rows)
        known = jax.tree.map(lambda a: a[wanted.rows], self._evidence())
        x, _ = draw_all(p.denoiser, known, p.config.draw_steps, wanted.keys, lambda done, n: wanted.report(done, n + 1))
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(wanted.keys)
        found = self._beside(x, wanted.rows).draw(keys)
        wanted.report(n, n)
        kept = (found.chi_square, found.residual, found.stopped, found.diverged)
        return Draws(self._ordered(x, found.samples), *kept, self.cost + found.cost, found.shared)

    def _evidence(self) -> Known:
        if self.known is None:
            p, every = self.posterior, np.arange(len(self.view))
            times, y = p.config.backgrounds, self.contrast.y
            self.known = evidence(self.contrast, p.regression, y, every, times=times, key=self.key)
        return self.known

    def _beside(self, x: np.ndarray, rows: np.ndarray) -> Bound:
        """The other sources, bound to what a source in scaled units leaves of the data of some rows."""
        signal = _signals(self.contrast, x, rows) * float(self.contrast.unit)
        part = self.view.select(rows)
        beside = {s: operator for s, operator in part.mixing.items() if s != self.contrast.source}
        rest = replace(part, y=part.y - signal.astype(part.y.dtype), mixing=beside, truth={})
        priors = {s: self.priors[s] for s in beside}
        self.rest = self.others.bind(rest, priors, key=self.key) if self.rest is None else self.rest.on(rest)
        return self.rest

    def _ordered(self, x: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {self.contrast.source: np.asarray(self.contrast.scaling.to_user(x), np.float32), **others}
        return {s: found[s] for s in self.view.mixing}


def _signals(contrast: Contrast, x: np.ndarray, rows: np.ndarray) -> Float[np.ndarray, "n ..."]:
    return np.asarray(jax.vmap(contrast.signal)(jnp.asarray(x), jnp.asarray(rows)))


def _fresh(contrast: Contrast, config: MixturesConfig, precise: bool) -> tuple[Regression, ViewDenoiser]:
    key = jax.random.key(0)
    return (
        Regression.create(contrast, config.network, precise=precise, key=key),
        ViewDenoiser.create(contrast, config.network, precise=precise, key=key),
    )


def save_rounds(state: Rounds, path: Path) -> None:
    """Keeps the state after a round."""
    parts = {"pool": state.pool, "regression": state.regression, "denoiser": state.denoiser}
    save_arrays(path, named_arrays(parts), {"records": state.records}, _ROUNDS)


def load_rounds(path: Path, contrast: Contrast, config: MixturesConfig) -> Rounds:
    """Reads what `save_rounds` wrote.

    **Raises:** `StoreError` for anything else.
    """
    arrays, content = load_arrays(path, _ROUNDS)
    regression, denoiser = _fresh(contrast, config, _precise(content))
    tree = {"pool": np.zeros(()), "regression": regression, "denoiser": denoiser}
    found = filled(tree, arrays)
    return Rounds(np.asarray(found["pool"]), found["regression"], found["denoiser"], content["records"])


def _precise(content: Mapping[str, Any]) -> bool:
    return bool(content["records"][0].get("precise", False))

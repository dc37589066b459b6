"""How one observation is drawn from: annealing through noise levels, with one target after the other."""

from abc import abstractmethod
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from dichroic.algebra import Info
from dichroic.diffusion import Cost, Step, Target, noise_like, run_sampler
from dichroic.white import WhitenedObservation

__all__ = ["Build", "Chain", "Leg", "Posterior", "Sampler"]


class Build(eqx.Module):
    """Makes the target of one observation: what all observations share is in it.

    `alike` says that all observations of a batch share operators, noise and mask.
    """

    @abstractmethod
    def __call__(self, observation: WhitenedObservation, alike: bool) -> Target:
        """The joint posterior of the sources that the observation shows."""

    @property
    def gains(self) -> bool:
        """Whether its target costs less where observations are alike."""
        return False


class Sampler(eqx.Module):
    """Posterior draws of one observation, in scaled units."""

    @abstractmethod
    def draw(
        self,
        observation: WhitenedObservation,
        last: dict[str, Array],
        warm: Array | bool,
        alike: bool,
        *,
        key: PRNGKeyArray,
    ) -> tuple[dict[str, Array], Info]:
        """One draw, from pure noise or, where `warm`, from the draw `last`, and what happened on the way."""

    @abstractmethod
    def cost(self, observation: WhitenedObservation, warm: bool, alike: bool) -> Cost:
        """Network evaluations of a draw, per source."""

    @property
    @abstractmethod
    def gains(self) -> bool:
        """Whether draws cost less where observations are alike."""


class Leg(eqx.Module):
    """Annealing with one target: `levels`, falling, and `steps` between them, of a cold and of a warm run; `end`, the
    noise level to end at, zero for the sample itself.

    Both runs have as many levels, the shorter one its last level again and again: one program serves them.
    """

    build: Build
    step: Step
    levels: Float[np.ndarray, "2 n"]
    steps: Int[np.ndarray, " 2"]
    end: float = eqx.field(static=True, default=0.0)

    @classmethod
    def create(
        cls,
        build: Build,
        step: Step,
        cold: Float[np.ndarray, " m"],
        warm: Float[np.ndarray, " k"],
        end: float | None = None,
    ) -> "Leg":
        """From the levels of a cold and of a warm run."""
        longest = max(len(cold), len(warm))
        levels = [np.append(run, np.full(longest - len(run), run[-1])) for run in (cold, warm)]
        steps = np.array([len(cold) - 1, len(warm) - 1], np.int32)
        return cls(build, step, np.asarray(levels, np.float32), steps, end or 0.0)


class Chain(Sampler):
    """One leg after the other, each from where the one before has ended; `afresh`, warm runs start from noise, too."""

    legs: tuple[Leg, ...]
    afresh: bool = eqx.field(static=True, default=False)

    def draw(self, observation, last, warm, alike, *, key):
        start_key, run_key = jax.random.split(key)
        warm, x, info = jnp.asarray(warm), None, Info.none()
        for number, leg in enumerate(self.legs):
            target = leg.build(observation, alike)
            levels, steps = (jnp.where(warm, a[1], a[0]) for a in (leg.levels, leg.steps))
            if x is None:
                x = target.start(levels[0], start_key)
            if number == 0 and not self.afresh:
                noise = jax.tree.map(partial(jnp.multiply, levels[0]), noise_like(start_key, last))
                noised = jax.tree.map(jnp.add, last, noise)
                x = jax.tree.map(partial(jnp.where, warm), noised, x)
            run = run_key if number == 0 else jax.random.fold_in(run_key, number)
            x, new = run_sampler(target, leg.step, levels, key=run, start=x, steps=steps, end=leg.end)
            info = info.merge(new)
        return x, info

    def cost(self, observation, warm, alike):
        costs = [
            leg.step.cost(leg.build(observation, alike), int(leg.steps[int(warm)]), leg.end == 0) for leg in self.legs
        ]
        return sum(costs, Cost())

    @property
    def gains(self):
        return any(leg.build.gains for leg in self.legs)


class Posterior(eqx.Module):
    """The joint posterior of the sources of one observation, in scaled units."""

    sampler: Sampler
    observation: WhitenedObservation

    def sample(self, key: PRNGKeyArray, start: dict[str, Array] | None = None) -> tuple[dict[str, Array], Info]:
        """One draw, from pure noise or from another draw, and what happened on the way."""
        zeros = {s: jnp.zeros(shape, self.observation.dtype) for s, shape in self.observation.shapes.items()}
        return self.sampler.draw(self.observation, start or zeros, start is not None, False, key=key)

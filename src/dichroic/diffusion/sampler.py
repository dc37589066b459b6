r"""One sampling loop for priors and posteriors alike.

A *target* is what can be denoised: a prior, or a joint posterior over a dict of sources. A *step* takes the state from
one noise level to the next. The loop knows neither observations nor networks.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from dichroic.algebra import Info, lanczos_root
from dichroic.diffusion.denoiser import EXACT_SIZE, Denoiser, exact_moments

__all__ = ["Cost", "MomentTarget", "PriorTarget", "Step", "Target", "noise_like", "pure_noise", "run_sampler"]

_SETTLED = 2**32 - 1  # folded into the key of a step, for what follows it
_LANCZOS = 4  # products of a root of the covariance of a draw


class Cost(eqx.Module):
    """Network evaluations for one sample: forward passes and (transposed) Jacobian products, per source."""

    forward: int = eqx.field(static=True, default=0)
    products: int = eqx.field(static=True, default=0)

    @property
    def total(self) -> int:
        """Evaluations, a product counting as one more."""
        return self.forward + self.products

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.forward + other.forward, self.products + other.products)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.forward * times, self.products * times)


class Target(eqx.Module):
    """What the loop samples: anything with a mean given a noisy state."""

    @abstractmethod
    def mean(self, x_t: PyTree, sigma: Float[Array, ""]) -> tuple[PyTree, Info]:
        r"""The denoised state :math:`\mathrm E[x_0 \mid x_t]` (given the observation, for a posterior)."""

    @abstractmethod
    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> PyTree:
        """A state at a noise level so high that nothing else matters."""

    @property
    @abstractmethod
    def mean_cost(self) -> Cost:
        """Cost of one `mean`."""

    def settled(self, x_s: PyTree, sigma_s: Float[Array, ""], key: PRNGKeyArray) -> PyTree:
        """What a state becomes that a step has arrived at: itself, unless data replace a part of it at every level.

        **Arguments:** `key`, of what is random in it.
        """
        return x_s


class MomentTarget(Target):
    """A target that knows a covariance beside its mean, and so can be drawn from."""

    @abstractmethod
    def draw(self, x_t: PyTree, sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[PyTree, Info]:
        """A draw of `x_0` from the Gaussian with the moments of `p(x_0 | x_t)`."""

    @property
    @abstractmethod
    def draw_cost(self) -> Cost:
        """Cost of one `draw`."""


class Step(eqx.Module):
    """How the state gets from noise level `sigma_t` to `sigma_s`; at `sigma_s = 0` it gets to the sample itself.

    One with `draws` asks its target for draws, and so for a `MomentTarget`; the others are content with a mean.
    """

    draws: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, target: Target, x_t: PyTree, sigma_t: Float[Array, ""], sigma_s: Float[Array, ""], key: PRNGKeyArray
    ) -> tuple[PyTree, Info]:
        """The state at `sigma_s`."""

    @abstractmethod
    def cost(self, target: Target, steps: int, to_zero: bool = True) -> Cost:
        """Cost of a run of `steps` steps between levels, and of the last one to zero or to where the run ends."""


def noise_like(key: PRNGKeyArray, x: PyTree) -> PyTree:
    """Independent unit normals with the structure of `x`."""
    leaves, treedef = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


def pure_noise(
    key: PRNGKeyArray, shapes: Mapping[str, tuple[int, ...]], sigma: Float[Array, ""], dtype: Any = None
) -> dict[str, Array]:
    """Where sampling starts: every source nothing but noise of standard deviation `sigma`."""
    zeros = {s: jnp.zeros(shape, dtype) for s, shape in shapes.items()}
    return jax.tree.map(lambda e: (sigma * e).astype(e.dtype), noise_like(key, zeros))


class PriorTarget(MomentTarget):
    """Independent sources, each with its own denoiser; the state is a dict of them."""

    denoisers: dict[str, Denoiser]

    def mean(self, x_t: dict[str, Array], sigma: Float[Array, ""]) -> tuple[dict[str, Array], Info]:
        return {s: denoiser(x_t[s], sigma) for s, denoiser in self.denoisers.items()}, Info.none()

    def draw(self, x_t: dict[str, Array], sigma: Float[Array, ""], key: PRNGKeyArray) -> tuple[dict[str, Array], Info]:
        epsilon = noise_like(key, x_t)
        return {s: _draw(denoiser, x_t[s], sigma, epsilon[s]) for s, denoiser in self.denoisers.items()}, Info.none()

    def start(self, sigma: Float[Array, ""], key: PRNGKeyArray) -> dict[str, Array]:
        return pure_noise(key, {s: denoiser.shape for s, denoiser in self.denoisers.items()}, sigma)

    @property
    def mean_cost(self) -> Cost:
        return Cost(forward=1)

    @property
    def draw_cost(self) -> Cost:
        sizes = [jnp.zeros(denoiser.shape).size for denoiser in self.denoisers.values()]
        return Cost(1, max(size if size <= EXACT_SIZE else _LANCZOS for size in sizes))


def _draw(denoiser: Denoiser, x_t: Array, sigma: Array, epsilon: Array) -> Array:
    if x_t.size <= EXACT_SIZE:
        mean, _, R = exact_moments(denoiser, x_t, sigma)
        return mean + (R @ epsilon.reshape(-1)).reshape(mean.shape)
    mean, transposed = jax.vjp(lambda x: denoiser(x, sigma), x_t)

    def product(v: Array) -> Array:
        return sigma**2 * transposed(v.reshape(x_t.shape))[0].reshape(-1)

    return mean + lanczos_root(product, epsilon.reshape(-1), _LANCZOS).reshape(mean.shape)


def run_sampler(
    target: Target,
    step: Step,
    levels: Float[Any, " n"],
    *,
    key: PRNGKeyArray,
    start: PyTree | None = None,
    steps: Int[Array, ""] | int | None = None,
    end: Float[Array, ""] | float = 0.0,
) -> tuple[PyTree, Info]:
    """Samples one target, through falling noise levels and from the last of them to zero.

    **Arguments:** `levels`, the noise levels; `start`, the state at the first of them, drawn from the target's `start`
    when None; `steps`, how many steps between levels to take when fewer than there are levels for: cold and warm runs
    can then share one compiled program; `end`, the noise level to end at, for another target to go on from.

    **Returns:** the sample, or the noisy state at `end`, with the structure of the state, and what happened on the way.
    """
    start_key, step_key = jax.random.split(key)
    levels = jnp.asarray(levels)
    steps = len(levels) - 1 if steps is None else steps
    x = target.start(levels[0], start_key) if start is None else start
    levels = jnp.append(levels, end).astype(jax.tree.leaves(x)[0].dtype)

    def body(k, carry):
        x, info = carry
        sigma_s = jnp.where(k < steps, levels[k + 1], levels[-1])
        key = jax.random.fold_in(step_key, k)
        x, new = step(target, x, levels[k], sigma_s, key)
        return target.settled(x, sigma_s, jax.random.fold_in(key, _SETTLED)), info.merge(new)

    return jax.lax.fori_loop(0, steps + 1, body, (x, Info.none()))

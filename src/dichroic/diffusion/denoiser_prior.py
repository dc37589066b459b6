"""A prior that is a denoiser: learned, or in closed form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from dichroic.algebra import Components, Gaussian
from dichroic.diffusion.denoiser import (
    ComponentsDenoiser,
    Denoiser,
    GaussianDenoiser,
    LowRankGaussianDenoiser,
)
from dichroic.diffusion.leaves import filled, named_arrays
from dichroic.diffusion.network import NetworkDenoiser
from dichroic.diffusion.networks import AnyNetwork
from dichroic.diffusion.prior import PRIOR_STEPS, Prior, Scaling
from dichroic.diffusion.sampler import PriorTarget, Step, run_sampler
from dichroic.diffusion.schedule import Schedule
from dichroic.diffusion.spread import Spread
from dichroic.diffusion.steps import Heun

__all__ = ["DenoiserPrior"]

# sizes of the arrays of a closed form: "..." is the shape of a sample and `d` the numbers in it; other letters are what
# they are where they first occur
_CLOSED_FORM: dict[str, tuple[type[Denoiser], dict[str, str]]] = {
    "gaussian": (GaussianDenoiser, {"mean": "...", "basis": "d r", "values": "r", "rest": ""}),
    "low_rank_gaussian": (LowRankGaussianDenoiser, {"mean": "...", "diagonal": "d", "factor": "d r"}),
    "gaussian_mixture": (
        ComponentsDenoiser,
        {"log_weights": "K", "means": "K ...", "bases": "K d d", "values": "K d"},
    ),
}
_SPREAD = {"basis": "d r", "log_sigma": "L", "values": "L r", "rest": "L"}


@dataclass(frozen=True)
class DenoiserPrior(Prior):
    """The population of one source as a denoiser with its schedule and its scaling.

    **Arguments:** `known`, the denoiser, in scaled units; `schedule`, the noise levels it is good for; `scaling`;
    `provenance`, anything that JSON can hold.
    """

    kind: ClassVar[str] = "denoiser"
    known: Denoiser
    schedule: Schedule = field(default_factory=Schedule)
    scaling: Scaling = field(default_factory=Scaling)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.known.shape

    @classmethod
    def of(
        cls,
        population: Gaussian | Components,
        shape: tuple[int, ...],
        schedule: Schedule,
        scaling: Scaling,
        provenance: Mapping[str, Any],
    ) -> "DenoiserPrior":
        """Of a law that is known in closed form, in the user's units."""
        kind = {Gaussian: GaussianDenoiser, Components: ComponentsDenoiser}[type(population)]
        scaled = population.scaled(-scaling.shift / scaling.scale, 1 / scaling.scale)
        return cls(kind.of(scaled, shape), schedule, scaling, provenance)  # pyright: ignore

    def denoiser(self) -> Denoiser:
        return self.known

    def components(self) -> Components | None:
        population, scaling = self.known.population(), self.scaling
        return None if population is None else Components.of(population).scaled(scaling.shift, scaling.scale)

    def sample(
        self, n: int, *, key: PRNGKeyArray, step: Step | None = None, steps: int = PRIOR_STEPS
    ) -> Float[Array, "n ..."]:
        """Draws `n` samples, in the user's units.

        **Arguments:** `step`, how the state gets from one noise level to the next (default: `Heun`); `steps`, between
        levels. Draws are to have the variance of what was learned, for they are compared with posteriors and data: with
        the default it is within 1 % for a Gaussian source, where 64 ancestral steps leave 88 % of it.
        """
        target = PriorTarget({"x": self.known})
        levels = self.schedule.levels(steps)
        z = _sample_prior(target, step or Heun(), levels, jax.random.split(key, n))
        return self.scaling.to_user(z)

    def fingerprint(self) -> str:
        # written out: what prints a module leaves out what is a default
        (low, high), (shift, scale) = (
            (self.schedule.sigma_min, self.schedule.sigma_max),
            (self.scaling.shift, self.scaling.scale),
        )
        said = f"(Schedule(sigma_min={low}, sigma_max={high}), Scaling(shift={shift}, scale={scale}))"
        digest = sha256(said.encode())
        for leaf in jax.tree.leaves(self.known):
            digest.update(np.asarray(leaf).tobytes())
        return digest.hexdigest()

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        schedule = [self.schedule.sigma_min, self.schedule.sigma_max]
        return {"denoiser": _describe(self.known), "schedule": schedule}, named_arrays(self.known)

    @classmethod
    def from_content(
        cls, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scaling: Scaling, provenance: Mapping
    ) -> "DenoiserPrior":
        described = _Entries.model_validate(entries)
        skeleton = _skeleton(described.denoiser)
        leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(skeleton)}
        if set(leaves) != set(arrays):
            raise ValueError(f"lacks or has unexpected arrays: {sorted(set(leaves) ^ set(arrays))}")
        for name, leaf in leaves.items():  # of closed forms the sizes are looked at below
            if not isinstance(leaf, float) and leaf.shape != arrays[name].shape:
                raise ValueError(f"has an array {name} of shape {arrays[name].shape} instead of {leaf.shape}")
        known = filled(skeleton, arrays)
        _check_sizes(known, None)
        return cls(known, Schedule(*described.schedule), scaling, provenance)


@eqx.filter_jit
def _sample_prior(target, step, levels, keys):
    return jax.vmap(lambda key: run_sampler(target, step, levels, key=key)[0]["x"])(keys)


Level = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _ClosedForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["gaussian", "low_rank_gaussian", "gaussian_mixture"]


class _Network(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["network"]
    shape: tuple[PositiveInt, ...]
    network: AnyNetwork
    precision: Literal["float32", "bfloat16"]
    base: "Annotated[_ClosedForm | _Network, Field(discriminator='kind')] | None"
    spread: bool


class _Entries(BaseModel):
    """The entries of the header that are of this kind."""

    denoiser: _ClosedForm | _Network = Field(discriminator="kind")
    schedule: tuple[Level, Level]


def _describe(denoiser: Denoiser) -> dict[str, Any]:
    if isinstance(denoiser, NetworkDenoiser):
        return {
            "kind": "network",
            "shape": list(denoiser.shape),
            "network": denoiser.network.config.model_dump(),  # pyright: ignore
            "precision": denoiser.precision,
            "base": None if denoiser.base is None else _describe(denoiser.base),
            "spread": denoiser.spread is not None,
        }
    for kind, (cls, _) in _CLOSED_FORM.items():
        if isinstance(denoiser, cls):
            return {"kind": kind}
    raise TypeError(f"a prior with a {type(denoiser).__name__} cannot be saved; known: {list(_CLOSED_FORM)}, network")


def _skeleton(described: _ClosedForm | _Network) -> Any:
    """A denoiser of the described structure: shapes for the arrays of a network, 0.0 for those of unknown shape."""
    if isinstance(described, _ClosedForm):
        cls, sizes = _CLOSED_FORM[described.kind]
        return cls(**dict.fromkeys(sizes, 0.0))
    try:
        network = eqx.filter_eval_shape(
            lambda key: NetworkDenoiser.create(described.shape, described.network, key=key).network, jax.random.key(0)
        )
    except Exception as error:  # whatever JAX says of sizes that no network has
        raise ValueError(f"describes a network that cannot be built: {error}") from error
    base = None if described.base is None else _skeleton(described.base)
    spread = Spread(0.0, 0.0, 0.0, 0.0) if described.spread else None
    return NetworkDenoiser(network, base, described.precision, spread)


def _check_sizes(denoiser: Denoiser, shape: tuple[int, ...] | None) -> None:
    """Whether the arrays of the closed forms in a denoiser belong together, and are of samples of a given shape."""
    if isinstance(denoiser, NetworkDenoiser):
        if denoiser.base is not None:
            _check_sizes(denoiser.base, denoiser.shape)
        if denoiser.spread is not None:
            _check_fields(denoiser.spread, _SPREAD, denoiser.shape)
        return
    _check_fields(denoiser, next(sizes for cls, sizes in _CLOSED_FORM.values() if isinstance(denoiser, cls)), shape)


def _check_fields(module: Any, sizes: Mapping[str, str], shape: tuple[int, ...] | None) -> None:
    known = {} if shape is None else {"d": prod(shape)}
    for name, letters in sizes.items():
        found, expected = jnp.shape(getattr(module, name)), letters.split()
        if "..." in expected and len(found) >= len(expected) - 1:
            event = found[len(expected) - 1 :]
            shape = event if shape is None else shape
            known["d"], expected = prod(shape), expected[:-1] + [str(n) for n in shape]
        wanted = tuple(int(e) if e.isdigit() else known.setdefault(e, n) for e, n in zip(expected, found, strict=False))
        if len(found) != len(expected) or wanted != found:
            raise ValueError(f"has an array {name} of shape {found}, which does not fit its other arrays")

"""A prior: what is known about one source, as an object and as one portable file."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from dichroic.algebra import Components
from dichroic.diffusion.denoiser import Denoiser
from dichroic.diffusion.sampler import Step
from dichroic.diffusion.schedule import Schedule
from dichroic.store import write

__all__ = [
    "DESCRIBED",
    "FORMAT_VERSION",
    "PRIORS",
    "PRIOR_STEPS",
    "Prior",
    "Scaling",
    "as_weights",
    "denoisers_of",
    "describe_prior",
    "real_pairs",
]

FORMAT_VERSION = 2
PRIOR_STEPS = 64  # behind a draw of a prior
_MARK = "dichroic prior"


class Scaling(eqx.Module):
    """Between the user's units and the denoiser's, in which a source has unit variance: `x = shift + scale z`."""

    shift: float = eqx.field(static=True, default=0.0)
    scale: float = eqx.field(static=True, default=1.0)

    @classmethod
    def of(cls, x: np.ndarray) -> "Scaling":
        """That in which samples have mean zero and unit variance."""
        x = np.asarray(x, float)
        return cls(float(x.mean()), float(x.std()) or 1.0)

    def to_user(self, z: Any) -> Any:
        """From the denoiser's units."""
        return self.shift + self.scale * z

    def to_scaled(self, x: Any) -> Any:
        """To the denoiser's units."""
        return (x - self.shift) / self.scale


class Prior(ABC):
    """The population of one source. A new kind is a subclass and an entry in `PRIORS`.

    What can be done with a prior beyond drawing from it is what it says of itself: each of `denoiser`, `components` and
    so on is None where it has no such thing, and a method that needs it refuses the prior in words.

    **Fields:** `kind`, its name in `PRIORS` and in files; `scaling`, of the units in which networks see the source;
    `schedule`, the noise levels that a denoiser is good for; `provenance`, where it came from, anything that JSON can
    hold.
    """

    kind: ClassVar[str]
    schedule: Schedule = Schedule()
    scaling: Scaling = Scaling()
    provenance: Mapping[str, Any] = MappingProxyType({})

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @abstractmethod
    def sample(
        self, n: int, *, key: PRNGKeyArray, step: Step | None = None, steps: int = PRIOR_STEPS
    ) -> Float[Array, "n ..."]:
        """Draws `n` samples, in the user's units.

        **Arguments:** `step` and `steps`, how the state gets from one noise level to the next, and how often, where
        there are noise levels.
        """

    @abstractmethod
    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What a file holds besides scaling and provenance: entries of the header, and arrays by their names."""

    @classmethod
    @abstractmethod
    def from_content(
        cls, entries: Mapping[str, Any], arrays: Mapping[str, np.ndarray], scaling: Scaling, provenance: Mapping
    ) -> "Prior":
        """The prior again. What it is given may be forged.

        **Raises:** `ValueError`, a sentence without its subject, for what is no prior of this kind.
        """

    def denoiser(self) -> Denoiser | None:
        """The denoiser of the source, in scaled units."""
        return None

    def components(self) -> Components | None:
        """The source as a mixture of Gaussians, or as a single one, in the user's units, where its law is known so."""
        return None

    def moments(self) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]] | None:
        """Mean and covariance of a sample, in the user's units and double precision, where they are known exactly."""
        law = self.components()
        return None if law is None else law.moments()

    def alphabet(self) -> Float[np.ndarray, "K ..."] | None:
        """Everything that a sample can be, in the user's units, where that is finite."""
        return None

    def fingerprint(self) -> str:
        """The same for the same prior, whatever its provenance."""
        entries, arrays = self.content()
        digest = sha256(f"{self.kind} {self.scaling.shift} {self.scaling.scale} {sorted(entries.items())}".encode())
        digest.update(_digest(arrays).encode())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes one `.safetensors` file: the arrays, and everything else as JSON in its header."""
        from safetensors.numpy import save

        entries, arrays = self.content()
        header = {
            "format": _MARK,
            "version": FORMAT_VERSION,
            "kind": self.kind,
            "sha256": _digest(arrays),
            **entries,
            "scaling": [self.scaling.shift, self.scaling.scale],
            "provenance": dict(self.provenance),
        }
        # written here, for safetensors makes files that nobody else may read
        write(path, save(arrays, metadata={"dichroic": json.dumps(header)}))

    @staticmethod
    def load(path: str | Path) -> "Prior":
        """Reads what `save` wrote, whatever the kind.

        **Raises:** `FileNotFoundError`; `ValueError` when the file is not a prior, damaged, or newer than this version
        reads.
        """
        from safetensors import safe_open

        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no prior at {path}")
        try:
            with safe_open(str(path), framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise ValueError(f"{path} is not a prior file: {error}") from error
        try:
            entries = json.loads(metadata.get("dichroic", "{}"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a prior file: its header is no JSON ({error})") from error
        if not isinstance(entries, dict) or entries.get("format") != _MARK:
            raise ValueError(f"{path} is a safetensors file, but not a prior written by dichroic")
        try:
            header = _Header.model_validate(entries)
            if header.version > FORMAT_VERSION:
                raise ValueError(f"has prior format {header.version}; this version reads up to {FORMAT_VERSION}")
            if header.kind not in PRIORS:
                raise ValueError(f"is a prior of kind '{header.kind}'; known: {', '.join(PRIORS)}")
            if header.sha256 not in (None, _digest(arrays)):
                raise ValueError("is damaged: its arrays are not those that were written")
            if broken := [name for name, a in arrays.items() if not (a.dtype.kind == "f" and np.all(a < np.inf))]:
                raise ValueError(f"has arrays with what are no real numbers: {', '.join(broken)}")
            return PRIORS[header.kind].from_content(entries, arrays, Scaling(*header.scaling), header.provenance)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise ValueError(
                f"{path} has a header that cannot be understood: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error


# every kind of prior, by the name it has in files
PRIORS: dict[str, type[Prior]] = {}

# what a table `prior = { KEY = ... }` of a problem file describes, by the key that names it: (table, shape of a sample
# in real numbers, whether its last axis is that of real pairs) -> prior. Of several keys the later one counts
DESCRIBED: dict[str, Callable[[Mapping[str, Any], tuple[int, ...], bool], Prior]] = {}


def describe_prior(table: Mapping[str, Any], shape: tuple[int, ...], pairs: bool = False) -> Prior:
    """The prior that a table stands for, whose arrays have been read.

    **Arguments:** `shape`, of a sample in real numbers; `pairs`, whether its last axis is real and imaginary part.

    **Raises:** `ValueError`, a sentence without its subject.
    """
    named = [key for key in DESCRIBED if key in table]
    if not named:
        raise ValueError(f"expected a file, or a table with one of {', '.join(DESCRIBED)}; got {', '.join(table)}")
    found = DESCRIBED[named[-1]](table, tuple(shape), pairs)
    if found.shape != tuple(shape):
        raise ValueError(f"is of shape {found.shape}, the source of shape {tuple(shape)}")
    return found


def as_weights(weights: Any, n: int) -> Float[np.ndarray, " n"]:
    """Probabilities of `n` things, all alike where nothing is said.

    **Raises:** `ValueError` where these are none.
    """
    found = np.ones(n) if weights is None else np.asarray(weights, float)
    if n == 0:
        raise ValueError("expected at least one of what is weighted, got none")
    if found.shape != (n,) or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise ValueError(f"expected {n} weights, none of them negative and not all of them zero")
    found = found / found.max()  # of which there is a sum
    return (found / found.sum()).astype(np.float32)


def real_pairs(x: Any, pairs: bool) -> np.ndarray:
    """Numbers of a source as real ones: complex ones, where the source is, as pairs along a last axis.

    **Raises:** `ValueError` for complex numbers of a real source, and for what single precision does not hold.
    """
    x = np.asarray(x)
    if np.iscomplexobj(x):
        if not pairs:
            raise ValueError("has complex numbers, and the source is real")
        x = np.stack([x.real, x.imag], -1)
    with np.errstate(over="ignore"):
        x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        raise ValueError("has values that are not finite in single precision")
    return x


class _Header(BaseModel):
    """What the header of every kind has. Files of version 1 have denoisers, and no checksum."""

    version: int
    kind: str = "denoiser"
    sha256: str | None = None
    scaling: tuple[FiniteFloat, Annotated[FiniteFloat, Field(gt=0)]]
    provenance: dict[str, Any]


def denoisers_of(priors: Mapping[str, Prior], needed_by: str) -> dict[str, Denoiser]:
    """The denoisers of the sources.

    **Raises:** `ValueError`, naming the source, when one of the priors has none.
    """
    found = {s: prior.denoiser() for s, prior in priors.items()}
    if lacking := [s for s, denoiser in found.items() if denoiser is None]:
        kinds = ", ".join(f"'{s}' (a prior of kind '{priors[s].kind}')" for s in lacking)
        raise ValueError(f"{needed_by} needs a denoiser of every source; there is none of {kinds}")
    return {s: denoiser for s, denoiser in found.items() if denoiser is not None}


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()

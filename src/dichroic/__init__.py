"""dichroic: learn what each source looks like from mixtures alone, and separate them with uncertainty.

The public names are imported on first use, so that ``import dichroic`` (and ``dichroic --help``) does not
pay for JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Convolve": "operators",
    "GaussianBlur": "operators",
    "Dense": "operators",
    "DenseNoise": "operators",
    "DiagonalNoise": "operators",
    "Downsample": "operators",
    "FourierSample": "operators",
    "Identity": "operators",
    "LinearFunction": "operators",
    "Mask": "operators",
    "Operator": "operators",
    "PerSample": "operators",
    "Response": "operators",
    "Scale": "operators",
    "Unknown": "operators",
    "Problem": "problem",
    "ProblemError": "problem",
    "Source": "problem",
    "View": "problem",
    "load_problem": "problem",
    "save_problem": "problem",
    "windowed": "problem",
    "GaussianDenoiser": "diffusion",
    "ComponentsDenoiser": "diffusion",
    "NetworkDenoiser": "diffusion",
    "DenoiserPrior": "diffusion",
    "Prior": "diffusion",
    "Schedule": "diffusion",
    "Auto": "posterior",
    "Method": "posterior",
    "MomentMatching": "posterior",
    "gaussian_em": "closed",
    "FitConfig": "settings",
    "Run": "run",
    "fit": "run",
    "resume": "run",
}

__all__ = [*sorted(_HOME), "__version__"]

if TYPE_CHECKING:
    from dichroic.closed import gaussian_em
    from dichroic.diffusion import (
        ComponentsDenoiser,
        DenoiserPrior,
        GaussianDenoiser,
        NetworkDenoiser,
        Prior,
        Schedule,
    )
    from dichroic.operators import (
        Convolve,
        Dense,
        DenseNoise,
        DiagonalNoise,
        Downsample,
        FourierSample,
        GaussianBlur,
        Identity,
        LinearFunction,
        Mask,
        Operator,
        PerSample,
        Response,
        Scale,
        Unknown,
    )
    from dichroic.posterior import Auto, Method, MomentMatching
    from dichroic.problem import Problem, ProblemError, Source, View, load_problem, save_problem, windowed
    from dichroic.run import Run, fit, resume
    from dichroic.settings import FitConfig


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dichroic' has no attribute {name!r}")
    return getattr(import_module(f"dichroic.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__

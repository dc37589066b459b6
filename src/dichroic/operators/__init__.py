"""Linear maps of one observation, and likelihoods: how its data scatter."""

from collections.abc import Callable

from dichroic.operators.base import Adjoint, Blocks, Composition, Operator, PerSample, Sum, Waves
from dichroic.operators.blur import GaussianBlur
from dichroic.operators.censored import Censored
from dichroic.operators.dense import Dense
from dichroic.operators.downsample import BlockProject, Downsample
from dichroic.operators.fourier import AsComplex, Convolve, ConvolveChannels, FourierSample
from dichroic.operators.function import LinearFunction
from dichroic.operators.joint import Joint, Tangent, joints, mixture, tangents
from dichroic.operators.laplace import Laplace
from dichroic.operators.likelihood import GaussianNoise, Likelihood, ScaledNoise
from dichroic.operators.mask import Mask
from dichroic.operators.noise import DenseNoise, DiagonalNoise
from dichroic.operators.per_sample import count_samples, cut, select, take
from dichroic.operators.poisson import Poisson
from dichroic.operators.response import Response
from dichroic.operators.scale import Identity, Scale
from dichroic.operators.student_t import StudentT
from dichroic.operators.unknown import LEARN, Unknown

# every operator a problem file can name, by that name; the laws in tests/ run on each of them
OPERATORS: dict[str, type[Operator]] = {
    "identity": Identity,
    "scale": Scale,
    "mask": Mask,
    "downsample": Downsample,
    "block_project": BlockProject,
    "convolve": Convolve,
    "gaussian_blur": GaussianBlur,
    "convolve_channels": ConvolveChannels,
    "fourier_sample": FourierSample,
    "as_complex": AsComplex,
    "dense": Dense,
}

# every likelihood that the noise of a problem file can be, by the key that names it in `noise = { KEY = ... }`: what is
# under the key is the first argument, or a table of all of them; the others stand beside the key
LIKELIHOODS: dict[str, Callable[..., Likelihood]] = {
    "std": DiagonalNoise,
    "variance": DiagonalNoise.from_variance,
    "ivar": DiagonalNoise.from_weight,
    "weight": DiagonalNoise.from_weight,
    "covariance": DenseNoise.from_covariance,
    "factor": DenseNoise,
    "student_t": StudentT,
    "laplace": Laplace,
    "poisson": Poisson,
    "clipped": Censored,
    "step": Censored,
}

__all__ = [
    "LEARN",
    "LIKELIHOODS",
    "OPERATORS",
    "Adjoint",
    "AsComplex",
    "BlockProject",
    "Blocks",
    "Censored",
    "Composition",
    "Convolve",
    "ConvolveChannels",
    "Dense",
    "DenseNoise",
    "DiagonalNoise",
    "Downsample",
    "FourierSample",
    "GaussianBlur",
    "GaussianNoise",
    "Identity",
    "Joint",
    "Laplace",
    "Likelihood",
    "LinearFunction",
    "Mask",
    "Operator",
    "PerSample",
    "Poisson",
    "Response",
    "Scale",
    "ScaledNoise",
    "StudentT",
    "Sum",
    "Tangent",
    "Unknown",
    "Waves",
    "count_samples",
    "cut",
    "joints",
    "mixture",
    "select",
    "take",
    "tangents",
]

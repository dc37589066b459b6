"""Linear maps and noise covariances of one observation."""

from dichroic.operators.base import Adjoint, Blocks, Composition, Operator, PerSample, Sum, Waves
from dichroic.operators.dense import Dense
from dichroic.operators.downsample import BlockProject, Downsample
from dichroic.operators.fourier import AsComplex, Convolve, FourierSample
from dichroic.operators.function import LinearFunction
from dichroic.operators.mask import Mask
from dichroic.operators.noise import DenseNoise, DiagonalNoise, Noise
from dichroic.operators.per_sample import count_samples, select, take
from dichroic.operators.scale import Identity, Scale

# every operator a problem file can name, by that name; the laws in tests/ run on each of them
OPERATORS: dict[str, type[Operator]] = {
    "identity": Identity,
    "scale": Scale,
    "mask": Mask,
    "downsample": Downsample,
    "block_project": BlockProject,
    "convolve": Convolve,
    "fourier_sample": FourierSample,
    "as_complex": AsComplex,
    "dense": Dense,
}

__all__ = [
    "OPERATORS",
    "Adjoint",
    "AsComplex",
    "BlockProject",
    "Blocks",
    "Composition",
    "Convolve",
    "Dense",
    "DenseNoise",
    "DiagonalNoise",
    "Downsample",
    "FourierSample",
    "Identity",
    "LinearFunction",
    "Mask",
    "Noise",
    "Operator",
    "PerSample",
    "Scale",
    "Sum",
    "Waves",
    "count_samples",
    "select",
    "take",
]

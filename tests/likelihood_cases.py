"""One example, or several, of every likelihood that a problem file can name; the laws run over all of them."""

import numpy as np

from dichroic.operators import DenseNoise, DiagonalNoise, Likelihood, ScaledNoise

RNG = np.random.default_rng(11)
_ROOT = RNG.normal(size=(6, 6))
COVARIANCE = _ROOT @ _ROOT.T + 0.1 * np.eye(6)
SHAPE = (2, 3)  # of the observations of all examples

# by registry name, the argument that stands for it; a new entry needs an example here, or a test fails
REGISTERED: dict[str, list] = {
    "std": [0.3, RNG.uniform(0.1, 2, SHAPE)],
    "variance": [0.09, RNG.uniform(0.1, 2, SHAPE)],
    "ivar": [RNG.uniform(0.5, 4, SHAPE)],
    "weight": [11.0],
    "covariance": [COVARIANCE],
    "factor": [{"factor": np.linalg.cholesky(COVARIANCE), "whitener": np.linalg.inv(np.linalg.cholesky(COVARIANCE))}],
}

# likelihoods of one number, for integrals
IN_ONE_DIMENSION: dict[str, Likelihood] = {
    "number": DiagonalNoise(0.4),
    "array": DiagonalNoise(np.array([1.7])),
    "dense": DenseNoise.from_covariance(np.array([[0.3]])),
    "scaled": ScaledNoise(DiagonalNoise(0.4), 3.0),
}

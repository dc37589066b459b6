"""One example, or several, of every likelihood that a problem file can name; the laws run over all of them."""

import numpy as np

from dichroic.operators import (
    Censored,
    DenseNoise,
    DiagonalNoise,
    Laplace,
    Likelihood,
    Poisson,
    Response,
    ScaledNoise,
    StudentT,
)

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
    "student_t": [{"scale": 0.3, "freedom": 4}, {"scale": RNG.uniform(0.1, 2, SHAPE), "freedom": np.inf}],
    "laplace": [0.3, RNG.uniform(0.1, 2, SHAPE)],
    "poisson": [{"gain": 0.01, "read": 0.5}, {"gain": RNG.uniform(0.001, 0.02, SHAPE), "read": 0.5}],
    "clipped": [{"std": 0.7, "clipped": (-0.5, 0.5)}, {"std": RNG.uniform(0.5, 2, SHAPE), "clipped": (-np.inf, 0)}],
    "step": [{"std": 0.7, "step": 0.5}, {"std": 0.2, "step": 1.0, "clipped": (-1, 1)}],
}

# likelihoods of one number, for integrals
IN_ONE_DIMENSION: dict[str, Likelihood] = {
    "number": DiagonalNoise(0.4),
    "array": DiagonalNoise(np.array([1.7])),
    "dense": DenseNoise.from_covariance(np.array([[0.3]])),
    "scaled": ScaledNoise(DiagonalNoise(0.4), 3.0),
}


def saturating(m):
    """A response that levels off at 3."""
    return m / (1 + (m / 3) ** 2) ** 0.5


def identity(m):
    return m


# those that are not Gaussian; what their data are is a list of values, where they are no continuum
OTHERS: dict[str, tuple[Likelihood, np.ndarray | None]] = {
    "student_t": (StudentT(0.4, 3), None),
    "infinite freedom": (StudentT(0.4, np.inf), None),
    "laplace": (Laplace(0.4), None),
    "counts": (Poisson(1.0), np.arange(60.0)),
    "counts with a gain": (Poisson(0.25), np.arange(200) * 0.25),
    "behind a response": (Response(0.4, saturating), None),
    "clipped": (Censored(0.5, (0.0, 1.0)), None),
    "rounded": (Censored(0.5, step=0.5), np.arange(-20, 20) * 0.5),
    "clipped and rounded": (Censored(0.5, (-1, 1), 0.5), np.arange(-1, 1.25, 0.5)),
}

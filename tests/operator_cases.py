"""One example, or several, of every operator; the laws run over all of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.operators import (
    AsComplex,
    BlockProject,
    Convolve,
    ConvolveChannels,
    Dense,
    Downsample,
    FourierSample,
    GaussianBlur,
    Identity,
    LinearFunction,
    Mask,
    Operator,
    PerSample,
    Scale,
    take,
)

RNG = np.random.default_rng(7)


def _complex(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


SAMPLING = (RNG.random((6, 4)) < 0.5).astype(float)
KERNEL = RNG.random((3, 5))

# by registry name; a new registry entry needs an example here, or a test fails
REGISTERED: dict[str, list[Operator]] = {
    "identity": [Identity((4, 6, 2))],
    "scale": [Scale(-0.7, (5,)), Scale(0.3 - 1.2j, (4, 2))],
    "mask": [Mask((RNG.random((4, 6)) < 0.5).astype(float)), Mask(RNG.random((3, 2)) < 0.5)],
    "downsample": [Downsample(2, (4, 6)), Downsample(3, (6, 9, 2))],
    "block_project": [BlockProject(2, (1, 2, 4), (8, 4, 3))],
    "convolve": [
        Convolve(KERNEL, (7, 6)),
        Convolve(KERNEL, (7, 6, 2), "wrap"),
        Convolve(RNG.normal(size=5), (9,)),
        Convolve(RNG.normal(size=(7, 7)), (4, 5), "wrap"),
    ],
    "convolve_channels": [
        ConvolveChannels(np.stack([KERNEL, KERNEL**2], -1), (7, 6, 2)),
        ConvolveChannels(np.stack([KERNEL[0], KERNEL[1], KERNEL[2]], -1), (9, 3), "wrap"),
    ],
    "gaussian_blur": [GaussianBlur(1.3, (7, 6)), GaussianBlur(0.8, (6, 4, 2), "wrap"), GaussianBlur(2.5, (9, 1))],
    "fourier_sample": [FourierSample(SAMPLING, (6, 4)), FourierSample(SAMPLING[:, 0], (6, 3))],
    "as_complex": [AsComplex((4, 3, 2))],
    "dense": [Dense(RNG.normal(size=(3, 5))), Dense(RNG.normal(size=(2, 6)), (3, 2)), Dense(_complex(4, 3))],
}

_difference = LinearFunction(lambda x, p: p["gain"] * (x[1:] - x[:-1]), (5, 3), {"gain": np.array(1.7)})
_image = (6, 4)

COMPOSED: dict[str, Operator] = {
    "function": _difference,
    "complex function": LinearFunction(lambda x, p: jnp.exp(1j * p) * x, (4,), np.arange(4.0)),
    "composition": Downsample(2, _image) @ Mask(RNG.normal(size=_image)),
    "composition of three": Dense(RNG.normal(size=(5, 6)))
    @ LinearFunction(lambda x, p: x.reshape(-1), (3, 2))
    @ Downsample(2, (6, 4)),
    "blurred complex source": Convolve(KERNEL, (6, 4)) @ AsComplex((6, 4, 2)),
    "sampled complex source": FourierSample(SAMPLING, _image) @ AsComplex((*_image, 2)),
    "complex amplitude of a complex source": Scale(0.4 - 0.8j, (3,)) @ AsComplex((3, 2)),
    "normal": FourierSample(SAMPLING, _image).T @ FourierSample(SAMPLING, _image),
    "adjoint first": FourierSample(SAMPLING, _image) @ FourierSample(SAMPLING, _image).T,
    "sum": Mask(RNG.normal(size=_image)) + Scale(0.4, _image) + Convolve(KERNEL, _image),
    "complex sum": FourierSample(SAMPLING, _image) + Scale(0.4 - 2j, _image),
    "sum in composition": Downsample(2, _image) @ (Identity(_image) + Convolve(KERNEL, _image, "wrap")),
}

# the operator of every sample, five samples
PER_SAMPLE = {
    "dense": PerSample(Dense(RNG.normal(size=(5, 3, 4)))),
    "mask": PerSample(Mask((RNG.random((5, 4, 6)) < 0.5).astype(float))),
    "scale": PerSample(Scale(RNG.normal(size=5), (3,))),
    "complex scale": PerSample(Scale(_complex(5), (3,))),
    "block_project": PerSample(BlockProject(np.array([1, 2, 4, 2, 1]), (1, 2, 4), (4, 8))),
    "convolve": PerSample(Convolve(RNG.normal(size=(5, 3, 3)), (6, 4))),
    "fourier_sample": PerSample(FourierSample((RNG.random((5, 6)) < 0.5).astype(float), (6, 2))),
    "parameters": LinearFunction(lambda x, p: p["w"] * x, (3,), {"w": PerSample(RNG.normal(size=(5, 3)))}),
    "per sample after shared": PerSample(Mask(RNG.normal(size=(5, 3, 2)))) @ Downsample(2, (6, 4)),
    "shared after per sample": Downsample(2, (6, 4)) @ PerSample(Mask(RNG.normal(size=(5, 6, 4)))),
    "per sample twice": PerSample(Dense(RNG.normal(size=(5, 3, 4)))) @ PerSample(Mask(RNG.normal(size=(5, 4)))),
    "per sample plus shared": PerSample(Mask(RNG.normal(size=(5, 4)))) + Scale(0.3, (4,)),
    "shared plus per sample": Scale(0.3, (4,)) + PerSample(Mask(RNG.normal(size=(5, 4)))),
}

ONE_SAMPLE: dict[str, Operator] = {
    **{f"{name}-{i}": op for name, ops in REGISTERED.items() for i, op in enumerate(ops)},
    **COMPOSED,
    **{f"per sample: {name}": take(op, 3) for name, op in PER_SAMPLE.items()},
}


def draw(rng: np.random.Generator, struct: jax.ShapeDtypeStruct) -> np.ndarray:
    """Unit normals of a shape and data type, real or complex."""
    x = rng.normal(size=struct.shape)
    return x + 1j * rng.normal(size=struct.shape) if np.issubdtype(struct.dtype, np.complexfloating) else x


def draw_input(rng: np.random.Generator, operator: Operator) -> np.ndarray:
    return draw(rng, jax.ShapeDtypeStruct(operator.in_shape, operator.in_dtype))


_compiled: dict[tuple[int, bool], Callable] = {}


def apply(operator: Operator, x) -> np.ndarray:
    """The operator, compiled once per data type."""
    key = (id(operator), np.iscomplexobj(x))
    if key not in _compiled:
        _compiled[key] = jax.jit(operator.__call__)
    return np.asarray(_compiled[key](jnp.asarray(x)))


def adjoint(operator: Operator, u) -> np.ndarray:
    """The adjoint of the operator, compiled once."""
    key = (-id(operator), np.iscomplexobj(u))
    if key not in _compiled:
        _compiled[key] = jax.jit(operator.T.__call__)
    return np.asarray(_compiled[key](jnp.asarray(u)))


def matrix_of(operator: Operator) -> np.ndarray:
    """The matrix of an operator on a real input, column by column, in double precision."""
    with jax.enable_x64(True):
        units = np.eye(int(np.prod(operator.in_shape))).reshape(-1, *operator.in_shape)
        return np.stack([apply(operator, e).reshape(-1) for e in units], axis=1)

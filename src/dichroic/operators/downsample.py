"""Averaging blocks of pixels."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from dichroic.operators.base import Blocks, Operator

__all__ = ["BlockProject", "Downsample"]


def _block_mean(x: Array, factor: int) -> Array:
    height, width, *rest = x.shape
    blocks = x.reshape(height // factor, factor, width // factor, factor, *rest)
    return blocks.mean((1, 3))


def _check_divides(name: str, factor: int, shape: tuple[int, ...]) -> None:
    if len(shape) < 2 or factor < 1 or shape[0] % factor or shape[1] % factor:
        raise ValueError(f"{name}: a factor of {factor} does not divide the first two sides of {shape}")


class Downsample(Operator):
    """The mean of every `factor` x `factor` block of an image `(H, W, ...)`: a coarser image."""

    factor: int = eqx.field(static=True)
    in_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        _check_divides("Downsample", self.factor, self.in_shape)

    def __call__(self, x: Array) -> Array:
        return _block_mean(x, self.factor)

    def modes(self) -> Blocks:
        return Blocks(self.factor, 1 / self.factor)


class BlockProject(Operator):
    """Block means written back on the fine grid, with a block size that may differ from sample to sample.

    This is the resolution model of the DDPRISM "downsampled" experiments (arXiv 2510.05205, appendix D): an
    orthogonal projection of rank `H W / factor**2`.

    **Arguments:** `factor`, the block size of this sample, one of `factors`; `factors`, all that occur, each dividing
    both sides of `in_shape`.
    """

    factor: ArrayLike
    factors: tuple[int, ...] = eqx.field(static=True)
    in_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        for factor in self.factors:
            _check_divides("BlockProject", factor, self.in_shape)
        if isinstance(self.factor, int | np.integer | np.ndarray):  # traced values are beyond checking
            unknown = sorted({int(f) for f in np.unique(self.factor)} - set(self.factors))
            if unknown:
                raise ValueError(f"BlockProject: factor {unknown[0]} is not one of {list(self.factors)}")

    def __call__(self, x: Array) -> Array:
        def project(factor: int) -> Array:
            return _block_mean(x, factor).repeat(factor, 0).repeat(factor, 1) if factor > 1 else x

        chosen = [(jnp.asarray(self.factor) == f).astype(x.real.dtype) for f in self.factors]
        return sum(c * project(f) for c, f in zip(chosen, self.factors, strict=True))  # pyright: ignore

    def modes(self) -> Blocks:
        return Blocks(int(np.asarray(self.factor)), 1.0)

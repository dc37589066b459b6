r"""Fourier sampling and convolution, by discrete Fourier matrices along each axis.

A transform along an axis of `n` pixels is one product with an `n x n` matrix. Up to some hundreds of pixels this
costs little beside a network, it differentiates into the same kind of product, and on the CPU it keeps clear of
XLA's batched FFT, which can wait for its own thread pool for ever.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from dichroic.operators.base import Operator, Waves

__all__ = ["AsComplex", "Convolve", "ConvolveChannels", "FourierSample"]


def _dft(n: int, sign: int) -> np.ndarray:
    k = np.arange(n)
    return np.exp(sign * 2j * np.pi * np.outer(k, k) / n) / np.sqrt(n)


def _transform(x: Array, axes: int, sign: int = -1) -> Array:
    """Orthonormal Fourier transform of the first `axes` axes (`sign` +1: the inverse)."""
    x = x.astype(jnp.result_type(x.real.dtype, 1j))
    for axis in range(axes):
        F = jnp.asarray(_dft(x.shape[axis], sign), dtype=x.dtype)
        x = jnp.moveaxis(jnp.tensordot(F, x, axes=(1, axis)), 0, axis)
    return x


class FourierSample(Operator):
    r"""The map `x -> mask * F x` with the orthonormal discrete Fourier transform `F` (accelerated MRI, interferometry).

    **Arguments:** `mask`, 1 where a frequency is sampled and 0 elsewhere, in the order of `numpy.fft` (zero frequency
    first), with the shape of the transformed axes; `in_shape`, the shape of `x`, whose first `mask.ndim` axes are
    transformed.

    **Returns** complex values of shape `in_shape`.
    """

    mask: ArrayLike
    in_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        mask = jnp.asarray(self.mask)
        if mask.shape != x.shape[: mask.ndim]:
            raise ValueError(f"FourierSample: a mask of shape {mask.shape} does not fit an input of shape {x.shape}")
        z = _transform(x, mask.ndim)
        return mask.reshape(mask.shape + (1,) * (z.ndim - mask.ndim)).astype(x.real.dtype) * z


class Convolve(Operator):
    """Convolution of an image or signal with a kernel (a point spread function), with zeros or wrap-around beyond the
    edge.

    **Arguments:** `kernel`, odd sides, centred, as many axes as are convolved; `in_shape`, the shape of `x`, whose
    first `kernel.ndim` axes are convolved; `boundary`, `"zero"` or `"wrap"`.

    **Returns** an array of shape `in_shape`.
    """

    kernel: ArrayLike
    in_shape: tuple[int, ...] = eqx.field(static=True)
    boundary: str = eqx.field(static=True, default="zero")

    def __check_init__(self):
        if self.boundary not in ("zero", "wrap"):
            raise ValueError(f"Convolve: boundary must be 'zero' or 'wrap', not {self.boundary!r}")

    def __call__(self, x: Array) -> Array:
        kernel = jnp.asarray(self.kernel, dtype=x.dtype)
        axes = kernel.ndim
        # a square kernel of two axes is a point spread function, whatever the width of the image
        whole = axes == x.ndim > 1 and kernel.shape[-1] == x.shape[-1] > 1 and kernel.shape != x.shape
        if whole and not (axes == 2 and kernel.shape[0] == kernel.shape[1]):
            raise ValueError(
                f"Convolve: a kernel {kernel.shape} for {x.shape} has an axis for the channels: one kernel per channel "
                "is `convolve_channels`; to convolve the channels with each other, give it another width there (zeros)"
            )
        if axes > x.ndim or any(side % 2 == 0 for side in kernel.shape):
            raise ValueError(
                f"Convolve: expected a kernel with odd sides and at most {x.ndim} axes, got shape {kernel.shape}"
            )
        half = [side // 2 for side in kernel.shape]
        pad = half if self.boundary == "zero" else [0] * axes
        full = [n + p for n, p in zip(x.shape, pad, strict=False)]
        z = _transform(jnp.pad(x, [(0, p) for p in pad] + [(0, 0)] * (x.ndim - axes)), axes)
        # the kernel, centred on the origin of a periodic grid; contributions add up where it is wider than the grid
        index = np.ix_(*[(np.arange(side) - h) % n for side, h, n in zip(kernel.shape, half, full, strict=True)])
        response = _transform(jnp.zeros(full, x.dtype).at[index].add(kernel), axes) * np.sqrt(np.prod(full))
        z = response.reshape(response.shape + (1,) * (x.ndim - axes)).astype(z.dtype) * z
        out = _transform(z, axes, sign=+1)[tuple(slice(n) for n in x.shape)]
        return out if jnp.iscomplexobj(x) else out.real

    def modes(self) -> Waves | None:
        if self.boundary != "wrap":
            return None
        kernel = np.asarray(self.kernel, float)
        periodic = np.zeros(self.in_shape[: kernel.ndim])
        index = np.ix_(*[(np.arange(k) - k // 2) % n for k, n in zip(kernel.shape, periodic.shape, strict=True)])
        np.add.at(periodic, index, kernel)
        return Waves(np.fft.fftn(periodic))


class ConvolveChannels(Operator):
    """Convolution of every channel, the last axis, with a kernel of its own (a point spread function per band).

    **Arguments:** `kernel`, shape `(k, ..., C)`, odd sides but the last, centred; `in_shape`, the shape of `x`,
    `(n, ..., C)`; `boundary`, `"zero"` or `"wrap"`.

    **Returns** an array of shape `in_shape`.
    """

    kernel: ArrayLike
    in_shape: tuple[int, ...] = eqx.field(static=True)
    boundary: str = eqx.field(static=True, default="zero")

    def __call__(self, x: Array) -> Array:
        kernel = jnp.asarray(self.kernel)
        if kernel.ndim != x.ndim or x.ndim < 2 or kernel.shape[-1] != x.shape[-1]:
            raise ValueError(
                f"ConvolveChannels: expected a kernel with {x.ndim} axes, the last of them of the {x.shape[-1]} "
                f"channels, got shape {kernel.shape}"
            )
        return jax.vmap(lambda x, k: Convolve(k, x.shape, self.boundary)(x), -1, -1)(x, kernel)


class AsComplex(Operator):
    """Reads the last axis of a real source, of length 2, as real and imaginary part: complex sources are real pairs."""

    in_shape: tuple[int, ...] = eqx.field(static=True)

    def __check_init__(self):
        if not self.in_shape or self.in_shape[-1] != 2:
            raise ValueError(f"AsComplex: the last axis must have length 2 (real, imaginary), got {self.in_shape}")

    def __call__(self, x: Array) -> Array:
        return x[..., 0] + 1j * x[..., 1]

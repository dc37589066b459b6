r"""The operator interface: a linear map of one sample.

An operator is called on the source of one sample; `jax.vmap` makes the batch. The adjoint :attr:`Operator.T` is
derived from the forward map by transposition, never written by hand. Sources are real; observations may be
complex, and the adjoint is then the one of the real inner product,

.. math:: \mathrm{Re} \langle u, A x \rangle = \langle A^* u, x \rangle ,

which is the Hermitian adjoint wherever the input is complex too.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dichroic import memory

__all__ = ["Adjoint", "Blocks", "Composition", "Operator", "PerSample", "Sum", "Waves"]


@dataclass(frozen=True)
class Waves:
    """Eigenvalues of a map that is diagonal in the Fourier basis of the first axes: `values`, over their grid."""

    values: np.ndarray


@dataclass(frozen=True)
class Blocks:
    """A map that keeps the means of blocks of `size` x `size` pixels, times `gain`, and nothing finer."""

    size: int
    gain: float


class Operator(eqx.Module):
    """A linear map of one sample. Array fields are its parameters; `in_shape` is the shape it accepts."""

    in_shape: eqx.AbstractVar[tuple[int, ...]]

    @abstractmethod
    def __call__(self, x: Array) -> Array:
        """Applies the map to one sample of shape `in_shape`."""

    @property
    def in_dtype(self) -> Any:
        """Data type of the input; real unless the operator acts on complex arrays."""
        return jnp.result_type(float)

    @property
    def out_struct(self) -> jax.ShapeDtypeStruct:
        """Shape and data type of the output."""
        return jax.eval_shape(self, jax.ShapeDtypeStruct(self.in_shape, self.in_dtype))

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return self.out_struct.shape

    @property
    def T(self) -> "Operator":
        """The adjoint."""
        return Adjoint(self)  # pyright: ignore

    def diagonal(self) -> Any | None:
        """The numbers that the map multiplies the entries of `x` with, to be broadcast; None where it does more.

        With parameters per sample, so are the numbers: the leading axis is theirs.
        """
        return None

    def modes(self) -> Waves | Blocks | None:
        """The map of one sample in a basis in which it is diagonal; None where no such basis is known."""
        return None

    def __matmul__(self, other: Any) -> "Operator":
        return Composition(self, other)  # pyright: ignore

    def __add__(self, other: Any) -> "Operator":
        return Sum((self, other))  # pyright: ignore


class Adjoint(Operator):
    """The adjoint of an operator, by transposition of its program."""

    operator: Operator

    def __call__(self, u: Array) -> Array:
        dtype = jnp.result_type(u.real.dtype, 1j) if _is_complex(self.operator.in_dtype) else u.real.dtype
        x = jax.ShapeDtypeStruct(self.operator.in_shape, dtype)
        out = jax.eval_shape(self.operator, x)
        (x,) = jax.linear_transpose(self.operator, x)(u.conj().astype(out.dtype))
        return x.conj()

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.operator.out_shape

    @property
    def in_dtype(self) -> Any:
        return self.operator.out_struct.dtype

    @property
    def T(self) -> Operator:
        return self.operator


class Composition(Operator):
    """`outer @ inner`: first `inner`, then `outer`."""

    outer: Any  # an operator; or PerSample of one, until one sample is taken
    inner: Any

    def __call__(self, x: Array) -> Array:
        return self.outer(self.inner(x))

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.inner.in_shape

    @property
    def in_dtype(self) -> Any:
        return self.inner.in_dtype


class Sum(Operator):
    """The sum of operators with the same input and output shapes."""

    terms: tuple[Any, ...]  # operators; or PerSample of them, until one sample is taken

    def __call__(self, x: Array) -> Array:
        return sum((term(x) for term in self.terms[1:]), self.terms[0](x))  # pyright: ignore

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.terms[0].in_shape

    @property
    def in_dtype(self) -> Any:
        return self.terms[0].in_dtype


class PerSample(eqx.Module):
    """Marks a tree (an operator, a noise, an array) whose array leaves have a leading sample axis.

    Everything outside a `PerSample` is shared by all samples, so an operator that is the same for every
    observation is stored once. The axis is never guessed.

    >>> import numpy as np
    >>> from dichroic import Dense, PerSample
    >>> PerSample(Dense(np.ones((100, 3, 5))))[0].matrix.shape
    (3, 5)
    """

    value: Any

    def __getitem__(self, index) -> Any:
        # data stays on the host until a compiled program asks for one sample of it
        def one(leaf: Any) -> Any:
            if not eqx.is_array_like(leaf):
                return leaf
            return jnp.asarray(leaf)[index] if isinstance(index, jax.Array) else memory.rows(leaf, index)

        return jax.tree.map(one, self.value)

    def __len__(self) -> int:
        return next((np.shape(leaf)[0] for leaf in jax.tree.leaves(self.value) if np.ndim(leaf)), 0)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape that the operator of each sample accepts."""
        return self[0].in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of what the operator of each sample returns."""
        return self[0].out_shape

    def __matmul__(self, other: Any) -> Operator:
        return Composition(self, other)  # pyright: ignore

    def __add__(self, other: Any) -> Operator:
        return Sum((self, other))  # pyright: ignore


def _is_complex(dtype: Any) -> bool:
    return np.issubdtype(np.dtype(dtype), np.complexfloating)

r"""Minimal filtering: 3 x 3 convolutions with 4 products per value in place of 9 (Winograd, F(2 x 2, 3 x 3)).

Values :math:`y` come in tiles of 2 x 2, each from 4 x 4 inputs :math:`d`, with a kernel :math:`k`:

.. math:: y = A^\top \left[ (G k G^\top) \odot (B^\top d B) \right] A

where :math:`\odot` is a matrix product over the channels for each of the 16 entries (Lavin and Gray,
arXiv 1509.09308, section 4.1). Every matrix acts along the rows, then along the columns.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["convolve", "spread"]


def convolve(x: Float[Array, "n h w i"], k: Float[Array, "3 3 i o"]) -> Float[Array, "n h-2 w-2 o"]:
    r""":math:`y_{nabo} = \sum_{pqi} x_{n,a+p,b+q,i} k_{pqio}`."""
    _, h, w, _ = x.shape
    x = _even(x)
    rows = _inputs([x[:, a : a + x.shape[1] - 2 : 2] for a in range(4)])
    products = []
    for row, filters in zip(rows, _transformed(k), strict=True):
        tiles = _inputs([row[:, :, b : b + x.shape[2] - 2 : 2] for b in range(4)])
        # all sixteen in one product take more copies, each by itself takes longer to compile
        products.append(jnp.einsum("snabi,sio->snabo", jnp.stack(tiles), filters))
    columns = [_outputs(list(p)) for p in products]
    return _joined([_outputs(list(c)) for c in zip(*columns, strict=True)])[:, : h - 2, : w - 2]


def spread(g: Float[Array, "n h w o"], k: Float[Array, "3 3 i o"]) -> Float[Array, "n h+2 w+2 i"]:
    r"""The transposed of `convolve`: :math:`x_{n,a+p,b+q,i} = \sum_o g_{nabo} k_{pqio}`, summed where several meet."""
    _, h, w, _ = g.shape
    g = _even(g)
    rows = _outputs_transposed([g[:, 0::2], g[:, 1::2]])
    columns = []
    for row, filters in zip(rows, _transformed(k), strict=True):
        tiles = _outputs_transposed([row[:, :, 0::2], row[:, :, 1::2]])
        products = jnp.einsum("snabo,sio->snabi", jnp.stack(tiles), filters)
        columns.append(_inputs_transposed(list(products), 2))
    return _joined([_inputs_transposed(list(c), 1) for c in zip(*columns, strict=True)])[:, : h + 2, : w + 2]


def _even(x: Array) -> Array:
    """Rounds the sides up to even numbers, with zeros."""
    return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))


def _joined(parts: list[list[Array]]) -> Array:
    """Images from their pixels of odd and even columns, and of odd and even rows within each."""
    x = jnp.stack([jnp.stack(pair, 3) for pair in zip(*parts, strict=True)], 2)
    n, h, _, w, _, c = x.shape
    return x.reshape(n, 2 * h, 2 * w, c)


def _transformed(k: Array) -> list[Array]:
    r""":math:`G k G^\top`, one array of four for each row."""
    by_column = [_filters(list(column)) for column in zip(*[_filters(list(row)) for row in k], strict=True)]
    return [jnp.stack(row) for row in zip(*by_column, strict=True)]


def _filters(k: list[Array]) -> list[Array]:
    r""":math:`G k`."""
    ends, middle = (k[0] + k[2]) / 2, k[1] / 2
    return [k[0], ends + middle, ends - middle, k[2]]


def _inputs(d: list[Array]) -> list[Array]:
    r""":math:`B^\top d`."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _inputs_transposed(t: list[Array], axis: int) -> list[Array]:
    r""":math:`B t`, added up where tiles overlap: entries 0 and 2 fall on even pixels, 1 and 3 on odd ones."""
    even, odd = (t[0], t[1] + t[2] - t[0]), (t[1] - t[2] + t[3], -t[3])
    found = []
    for here, next_tile in (even, odd):
        first, rest = jnp.split(here, [1], axis)
        front, last = jnp.split(next_tile, [next_tile.shape[axis] - 1], axis)
        found.append(jnp.concatenate([first, rest + front, last], axis))
    return found


def _outputs(t: list[Array]) -> list[Array]:
    r""":math:`A^\top t`."""
    return [t[0] + t[1] + t[2], t[1] - t[2] - t[3]]


def _outputs_transposed(y: list[Array]) -> list[Array]:
    r""":math:`A y`."""
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]

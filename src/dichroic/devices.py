"""Devices, in one axis: each has observations of its own, and all of them what observations share."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Int

__all__ = [
    "everywhere",
    "on_every_device",
    "out_of_memory",
    "over_observations",
    "own_rows",
    "total",
    "whole",
    "within_memory",
]

Tree = TypeVar("Tree")

_AXIS = "observations"


@cache
def _mesh(local: bool) -> Mesh | None:
    """The devices of this process, or of all processes; None where there is a single one."""
    devices = jax.local_devices() if local else jax.devices()
    # automatic axes: explicit ones do not let an array that is cut along one of them be indexed
    kinds = (AxisType.Auto,)
    return None if len(devices) == 1 else jax.make_mesh((len(devices),), (_AXIS,), axis_types=kinds, devices=devices)


def whole(n: int) -> int:
    """The next number of observations from `n` on of which every device of this process has as many."""
    return n + -n % jax.local_device_count()


def out_of_memory(error: Exception) -> bool:
    """Whether this is what a device, or the machine, says when it has no memory left."""
    told = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return told or isinstance(error, MemoryError)


def within_memory(run: Callable[[Any], Tree], size: int | None, smaller: Callable[[Any], int], doing: str) -> Tree:
    """`run(size)`, and with a smaller size, which a warning names, as often as memory runs out.

    **Arguments:** `smaller(size)`, 0 where there is none; `doing`, for the warning, in which `{}` is the size.
    """
    while True:
        try:
            return run(size)
        except Exception as error:
            if not out_of_memory(error) or not (less := smaller(size)):
                raise
        size = less  # out of the handler: what the failed run held is let go
        warnings.warn(f"out of memory: {doing.format(size)} side by side", stacklevel=3)


def over_observations(function: Callable[[Any, Any], Tree], shared: Any, each: Any) -> Tree:
    """`function(shared, each)` within a compiled program, on every device of this process for its own part of the first
    axis of all arrays in `each` and of the result; nothing passes between devices.
    """
    return _on(_mesh(True), function, (P(), P(_AXIS)), P(_AXIS), shared, each)


def everywhere(function: Callable[..., Tree], *arguments: Any) -> Tree:
    """`function(*arguments)` within a compiled program, on every device of all processes for the same arguments and the
    same result: what they divide among them, it says by `own_rows` and `total`.
    """
    return _on(_mesh(False), function, (P(),) * len(arguments), P(), *arguments)


def own_rows(n: int) -> tuple[Int[Array, " k"], Bool[Array, " k"]]:
    """Within `everywhere`: which of `n` rows are this device's, filled up to as many for all, and which count."""
    mesh = _mesh(False)
    if mesh is None:
        return jnp.arange(n), jnp.ones(n, bool)
    size = -(-n // mesh.size)
    rows = jax.lax.axis_index(_AXIS) * size + jnp.arange(size)
    return jnp.minimum(rows, n - 1), rows < n


def total(tree: Tree) -> Tree:
    """Within `everywhere`: the sum over all devices."""
    return tree if _mesh(False) is None else jax.lax.psum(tree, _AXIS)


def on_every_device(tree: Tree, *, local: bool = False) -> Tree:
    """The same arrays on every device of all processes, or of this one: what programs take again and again."""
    mesh = _mesh(local)
    if mesh is None:
        return tree
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.tree.map(lambda a: _replicated(a, NamedSharding(mesh, P())), arrays), rest)


def _replicated(a: Any, sharding: NamedSharding) -> Array:
    if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_replicated(jax.random.key_data(a), sharding), impl=jax.random.key_impl(a))
    host = np.asarray(a)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def _on(mesh: Mesh | None, function: Callable[..., Tree], cut: Any, out: Any, *arguments: Any) -> Tree:
    if mesh is None:
        return function(*arguments)
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    run = jax.shard_map(
        lambda *own: function(*eqx.combine(own, rest)), mesh=mesh, in_specs=cut, out_specs=out, check_vma=False
    )
    return run(*arrays)

"""Small symmetric eigenproblems, side by side: ours along the batch against LAPACK's one by one.

    python benchmarks/eigen.py

Times are the least of a few runs of one compiled program each. LAPACK's is here for its speed alone: a program with
two such calls can wait for itself for ever on a CPU.
"""

import argparse
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np

from dichroic.algebra.small import symmetric_eigen

REPEATS = 7


def timed(function, S):
    """Seconds to compile and to run, and the largest relative error of the matrix that is put together again."""
    begin = perf_counter()
    program = jax.jit(jax.vmap(function)).lower(S).compile()
    compiling = perf_counter() - begin
    seconds = []
    for _ in range(REPEATS):
        begin = perf_counter()
        w, Q = jax.block_until_ready(program(S))
        seconds.append(perf_counter() - begin)
    again = np.einsum("bij,bj,bkj->bik", *(np.asarray(a, float) for a in (Q, w, Q)))
    return compiling, min(seconds), np.abs(again - S).max() / np.abs(S).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3, 5, 8, 16, 32])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| size | ours (ms) | LAPACK (ms) | ratio | ours, compiling (s) | error | LAPACK's error |")
    print("|---|---|---|---|---|---|---|")
    for n in arguments.sizes:
        X = rng.normal(size=(arguments.batch, n, n))
        S = jnp.asarray(X + X.swapaxes(1, 2), jnp.float32)
        compiling, ours, error = timed(symmetric_eigen, S)
        _, lapack, other = timed(jnp.linalg.eigh, S)
        print(
            f"| {n} | {1e3 * ours:.2f} | {1e3 * lapack:.2f} | {ours / lapack:.2f} | {compiling:.1f} "
            f"| {error:.0e} | {other:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

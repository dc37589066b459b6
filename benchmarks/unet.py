"""A training step of a U-Net, side by side with the same network in PyTorch, eager.

    pip install torch
    python benchmarks/unet.py

The weights of ours are carried over, and both are checked to compute the same; then the gradient of the same loss is
timed, on one thread each: in a `lax.scan` and in blocks of a batch as in training, and with `--library` by XLA's own
convolutions too, for minutes.
"""

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

from time import process_time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch

from dichroic.diffusion import TrainingConfig, UNetConfig
from dichroic.diffusion.networks.layers import noise_embedding, resize
from dichroic.diffusion.networks.unet import AttentionBlock

F = torch.nn.functional


class Twin(torch.nn.Module):
    """The same network; images are `(n, c, h, w)`."""

    def __init__(self, ours):
        super().__init__()
        self.ours, self.weights, self.resizers = ours, torch.nn.ParameterList(), {}
        self.places = {}
        for leaf in jax.tree.leaves(eqx.filter(ours, eqx.is_inexact_array)):
            array = np.array(leaf)
            # kernels (3, 3, in, out) in PyTorch's order
            self.weights.append(torch.tensor(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array))
            self.places[id(leaf)] = len(self.weights) - 1

    def of(self, leaf):
        return self.weights[self.places[id(leaf)]]

    def linear(self, layer, x):
        return F.linear(x, self.of(layer.weight), self.of(layer.bias))

    def convolution(self, layer, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.of(layer.weight), self.of(layer.bias))

    def norm(self, x):
        return F.layer_norm(x.movedim(1, -1), x.shape[1:2], eps=1e-6).movedim(-1, 1)

    def modulation(self, layer, e):
        gain, shift, gate = self.linear(layer.second, F.silu(self.linear(layer.first, e))).chunk(3, -1)
        gate = gate * torch.rsqrt(1 + gate**2)
        return (part[:, :, None, None] for part in (gain, shift, gate))

    def block(self, block, x, e):
        gain, shift, gate = self.modulation(block.modulation, e)
        y = (1 + gain) * self.norm(x) + shift
        if isinstance(block, AttentionBlock):
            n, c, h, w = x.shape
            y = y.reshape(n, c, h * w).movedim(1, -1)
            q, k, v = (self.linear(p, y).reshape(n, h * w, block.heads, -1) for p in block.projections[:3])
            scores = torch.einsum("nqhc,nkhc->nhqk", q, k) * (c // block.heads) ** -0.5
            y = torch.einsum("nhqk,nkhc->nqhc", scores.softmax(-1), v).reshape(n, h * w, c)
            return x + gate * self.linear(block.projections[3], y).movedim(-1, 1).reshape(n, c, h, w)
        y = self.norm(self.convolution(block.first, F.silu(y)))
        y = self.of(block.gains)[:, None, None] * y + self.of(block.biases)[:, None, None]
        return x + gate * self.convolution(block.second, F.silu(y))

    def level(self, level, x, e):
        for block in level.blocks:
            x = self.block(block, x, e)
        return x

    def resize(self, x, side):
        before = x.shape[-1]
        if (before, side) not in self.resizers:
            self.resizers[before, side] = torch.tensor(np.array(_matrix(before, side)))
        matrix = self.resizers[before, side]
        return torch.einsum("ai,bj,ncij->ncab", matrix, matrix, x)

    def forward(self, x, embedding):
        ours, skips = self.ours, []
        for i, level in enumerate(ours.down):
            if i > 0:
                x = self.resize(x, -(-x.shape[-1] // 2))
            x = self.level(level, self.convolution(level.enter, x), embedding)
            skips.append(x)
        x = self.level(ours.middle, x, embedding)
        for i, level in reversed(list(enumerate(ours.up))):
            if x.shape[-1] != skips[i].shape[-1]:
                x = self.resize(x, skips[i].shape[-1])
            x = self.convolution(level.merge, torch.cat([x, skips[i]], 1)) + skips[i]
            if level.enter is not None:
                x = self.convolution(level.enter, x)
            x = self.level(level, x, embedding)
        return F.conv2d(x, self.of(ours.last.weight)[:, :, None, None], self.of(ours.last.bias))


def _matrix(before: int, side: int):
    """Lanczos interpolation along one axis as a matrix: what becomes of every unit vector."""
    return resize(jnp.eye(before)[:, None, :], side, 1)[:, 0]


def seconds(run, repeats: int) -> float:
    """CPU seconds of one of the runs, the least of them."""
    run()
    times = []
    for _ in range(repeats):
        begin = process_time()
        run()
        times.append(process_time() - begin)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=16, help="in one loop")
    parser.add_argument("--library", action="store_true", help="also time convolutions by the route 'library'")
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    torch.set_num_threads(1)
    shape, key = (a.side, a.side, 1), jax.random.key(0)
    x, goal = (jax.random.normal(k, (a.batch, *shape)) for k in jax.random.split(key))
    sigma = jnp.exp(jnp.linspace(-3.0, 3.0, a.batch))
    networks = {
        route: UNetConfig(dropout=0.0, convolution=route).build(shape, key=key)
        for route in ["explicit", "library"][: 1 + a.library]
    }

    twin = Twin(networks["explicit"])
    embedding = torch.tensor(np.array(jax.vmap(lambda s: noise_embedding(s, 64))(sigma)))
    tx, tgoal = (torch.tensor(np.array(b)).movedim(-1, 1) for b in (x, goal))
    same = np.array(jax.vmap(networks["explicit"])(x, sigma))
    np.testing.assert_allclose(twin(tx, embedding).detach().movedim(1, -1).numpy(), same, atol=2e-4)

    def eager():
        for _ in range(a.steps):
            twin.zero_grad()
            ((twin(tx, embedding) - tgoal) ** 2).mean().backward()

    rows = {"PyTorch, eager": seconds(eager, a.repeats) / a.steps}
    for route, network in networks.items():
        weights, rest = eqx.partition(network, eqx.is_inexact_array)

        blocks = TrainingConfig(batch=a.batch).blocks(network.fast_block)
        parts = jax.tree.map(lambda b, n=blocks: b.reshape(n, -1, *b.shape[1:]), (x, sigma, goal))

        @jax.jit
        def loop(weights, rest=rest, parts=parts, blocks=blocks):
            def loss(weights, x, sigma, goal):
                return jnp.mean((jax.vmap(eqx.combine(weights, rest))(x, sigma) - goal) ** 2) / blocks

            def step(weights, _):
                def add(total, part):
                    return jax.tree.map(jnp.add, total, jax.grad(loss)(weights, *part)), None

                gradient, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, weights), parts)
                return jax.tree.map(lambda w, g: w - 1e-6 * g, weights, gradient), None

            return jax.lax.scan(step, weights, None, length=a.steps)[0]

        rows[f"ours, {route}"] = seconds(lambda: jax.block_until_ready(loop(weights)), a.repeats) / a.steps  # noqa: B023
    print("| | CPU ms of a gradient | against PyTorch |\n|---|---|---|")
    for name, found in rows.items():
        print(f"| {name} | {1e3 * found:.0f} | {found / rows['PyTorch, eager']:.2f} |")


if __name__ == "__main__":
    main()

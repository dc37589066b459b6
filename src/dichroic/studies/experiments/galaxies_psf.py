r"""Galaxies that a telescope blurs, over the light of a cluster of galaxies, with noise maps and bad pixels.

    view `blank`:   y = sky               + n
    view `target`:  y = sky + P galaxy    + n

The sky is the outskirts of a bright cluster galaxy in Abell 2744, Hubble's F105W, in electrons per second, and `P` the
point spread function of that filter: the files of the sdist of petrofit (NASA, public domain). Galaxies are Sérsic
profiles, and known therefore. Held-out stamps are of other rows of the frame, seen through a broader point spread
function and with noise 1.5 times as large: a telescope is never the one that was learned from. Noise differs from pixel
to pixel and is known, 3 % of the pixels are missing.
"""

import gzip
import tarfile
from pathlib import Path

import numpy as np

from dichroic.operators import Convolve, PerSample
from dichroic.problem import Problem, Source, View

__all__ = ["galaxies_through_psf", "read_fits", "sersic_flux"]

FRAME, PSF = "abell_2744_cd_galaxy_f105w.fits.gz", "f105w_psf.fits.gz"
_HALF, _WIDER = 3, 1.2  # half side of the kernel, pixels; standard deviation of what broadens the held-out one
_LEARNED = 0.75  # of the rows of the frame
_CORE, _PEAK = 0.3, 0.4  # electrons per second: sky without a bright core; the brightest a galaxy may be
_NOISE, _SPREAD, _BAD = 0.0023, (0.8, 1.6), 0.03
_BLOCK = 2880  # bytes, of a FITS file


def galaxies_through_psf(
    folder: str | Path,
    n_blank: int = 384,
    n_target: int = 256,
    n_held_out: int = 64,
    seed: int = 0,
    *,
    size: int = 10,
    noisier: float = 1.5,
) -> tuple[Problem, Problem]:
    """Stamps of the sky, with and without a galaxy in the middle, with truth.

    **Arguments:** `folder`, that holds the two files, or the sdist `petrofit-0.5.0.tar.gz`; `noisier`, how many times
    larger the noise of held-out stamps is.

    **Returns** `(problem, held_out)`, sources `sky` and `galaxy` (before the point spread function) of shape
    `(size, size, 1)`.
    """
    from scipy.signal import fftconvolve

    rng = np.random.default_rng(seed)
    frame, whole = (np.nan_to_num(read_fits(Path(folder), name)) for name in (FRAME, PSF))
    i, j = np.unravel_index(whole.argmax(), whole.shape)
    kernel = _normal(whole[i - _HALF : i + _HALF + 1, j - _HALF : j + _HALF + 1].clip(0))
    r2 = (np.mgrid[-_HALF : _HALF + 1, -_HALF : _HALF + 1] ** 2).sum(0)
    broader = _normal(fftconvolve(kernel, np.exp(-r2 / 2 / _WIDER**2), "same"))
    rows = int(_LEARNED * len(frame))

    def blurred(galaxies: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.array([fftconvolve(galaxy, kernel, "same") for galaxy in galaxies])

    def view(truth: dict[str, np.ndarray], kernel: np.ndarray, scale: float = 1.0) -> View:
        clean = truth["sky"] + (blurred(truth["galaxy"], kernel) if "galaxy" in truth else 0)
        std = _NOISE * scale * rng.uniform(*_SPREAD, clean.shape)
        y = clean + std * rng.normal(size=clean.shape)
        y[rng.random(clean.shape) < _BAD] = np.nan
        seen_through = {"sky": 1.0, "galaxy": Convolve(kernel=kernel.astype(np.float32), in_shape=(size, size, 1))}
        y, std = (x[..., None].astype(np.float32) for x in (y, std))
        mixing = {s: seen_through[s] for s in truth}
        return View(y, mixing, PerSample(std), truth={s: x[..., None] for s, x in truth.items()})

    blank = view({"sky": _sky(rng, frame[:rows], n_blank, size)}, kernel)
    galaxy = _galaxies(rng, n_target, size)
    target = view({"sky": _sky(rng, frame[:rows], n_target, size), "galaxy": galaxy}, kernel)
    held = {"sky": _sky(rng, frame[rows:], n_held_out, size), "galaxy": _galaxies(rng, n_held_out, size)}
    shape, title = (size, size, 1), "Galaxies over a cluster"
    sources = {
        "sky": Source(shape, symmetry=["rotate"]),
        "galaxy": Source(shape, symmetry=["flip", "rotate"], positive=True),
    }
    return (
        Problem(sources, {"blank": blank, "target": target}, title),
        Problem(sources, {"target": view(held, broader, noisier)}, title),
    )


def sersic_flux(
    grid: np.ndarray,
    amplitude: float,
    radius: float,
    index: float,
    centre: tuple[float, float],
    ellipticity: float,
    angle: float,
) -> np.ndarray:
    r"""The flux :math:`I_e \exp(-b\, ((r / r_e)^{1/n} - 1))` with half of the light within `r_e`.

    **Arguments:** `grid`, the coordinates `(y, x)` of the pixels, shape `(2, ...)`; `amplitude` :math:`I_e`;
    `radius` :math:`r_e`, along the major axis; `index` `n`; `centre` `(y, x)`; `ellipticity`, one less the ratio of the
    axes; `angle` of the major axis against `x`, radians.
    """
    from scipy.special import gammaincinv

    y, x = grid[0] - centre[0], grid[1] - centre[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    r = np.sqrt(along**2 + (across / (1 - ellipticity)) ** 2)
    return amplitude * np.exp(-gammaincinv(2 * index, 0.5) * ((r / radius) ** (1 / index) - 1))


def read_fits(folder: Path, name: str) -> np.ndarray:
    """The first image of a compressed FITS file in a folder, or in an archive."""
    if folder.is_dir():
        content = (folder / name).read_bytes()
    else:
        with tarfile.open(folder) as archive:
            member = next(m for m in archive if m.name.endswith(f"/docs/data/{name}"))
            file = archive.extractfile(member)
            content = file.read() if file else b""
    content, begin = gzip.decompress(content), 0
    while begin < len(content):
        cards, begin = _header(content, begin)
        shape = [int(cards[f"NAXIS{k}"]) for k in range(int(cards["NAXIS"]), 0, -1)]
        bits, count = int(cards["BITPIX"]), int(np.prod(shape)) if shape else 0
        if count:
            kind = f">{'f' if bits < 0 else 'i'}{abs(bits) // 8}"
            return np.frombuffer(content, kind, count, begin).reshape(shape).astype(float)
    raise ValueError(f"{name} in {folder} holds no image")


def _header(content: bytes, begin: int) -> tuple[dict[str, str], int]:
    """The cards of a header, and where the data behind it begin."""
    cards: dict[str, str] = {}
    while "END" not in cards:
        for at in range(begin, begin + _BLOCK, 80):
            card = content[at : at + 80].decode("ascii")
            cards[card[:8].strip()] = card[10:].split("/")[0].strip()
        begin += _BLOCK
    return cards, begin


def _normal(kernel: np.ndarray) -> np.ndarray:
    return kernel / kernel.sum()


def _sky(rng: np.random.Generator, frame: np.ndarray, n: int, size: int) -> np.ndarray:
    """Stamps from anywhere but bright cores, turned by quarters."""
    found: list[np.ndarray] = []
    while len(found) < n:
        row, column = (rng.integers(0, length - size) for length in frame.shape)
        stamp = frame[row : row + size, column : column + size]
        if stamp.max() < _CORE:
            found.append(np.rot90(stamp, int(rng.integers(4))))
    return np.array(found)


def _galaxies(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    grid, middle = np.mgrid[:size, :size], (size - 1) / 2

    def one() -> np.ndarray:
        amplitude, radius, index = 10 ** rng.uniform(-2.2, -1.2), rng.uniform(1, 3), rng.uniform(0.8, 3)
        x, y = rng.normal(middle, 0.7), rng.normal(middle, 0.7)
        return sersic_flux(grid, amplitude, radius, index, (y, x), rng.uniform(0, 0.7), rng.uniform(0, np.pi))

    return np.minimum([one() for _ in range(n)], _PEAK)

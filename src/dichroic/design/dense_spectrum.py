r"""The spectrum of an information matrix that fits into memory, by a full decomposition.

The null space of the stacked sources contains those of single sources, :math:`\ker G_{ss}`, which hold what is dead or
flat; what is orthogonal to all of them are trade-offs.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from dichroic.design.spectrum import EXACT, Direction, Spectrum
from dichroic.problem import blocks_of

__all__ = ["dense_spectrum", "split", "with_source_alone"]


def dense_spectrum(G: Float[np.ndarray, "D D"], shapes: Mapping[str, tuple[int, ...]]) -> Spectrum:
    """Everything about the matrix `G` over the stacked sources."""
    blocks = blocks_of(shapes)
    values, vectors = np.linalg.eigh(G)
    floor = EXACT * max(values[-1], 1e-300)
    null = int((values <= floor).sum())
    dead, unseen, directions, hidden = {}, {}, [], []
    for s, at in blocks.items():
        shape = shapes[s]
        dead[s] = (np.diag(G)[at] <= floor).reshape(shape)
        unseen[s], basis = _hidden(G[at, at], floor) if null else (0, np.zeros((at.stop - at.start, 0)))
        hidden.append(_embed(basis, at, len(G)))
        if n := int(dead[s].sum()):
            directions.append(Direction("dead", {s: dead[s] / np.sqrt(n)}, n))
        if unseen[s] > n:
            flat = basis * ~dead[s].ravel()[:, None]
            directions.append(Direction("flat", {s: _pick(flat, ~dead[s].ravel()).reshape(shape)}, unseen[s] - n))
    trade = null - sum(unseen.values())
    if trade > 0:
        directions += _trade_offs(vectors[:, :null], np.concatenate(hidden, axis=1), trade, blocks, shapes)
    rest = values[null] if null < len(values) else 0.0
    if null < len(values) - 1 and len(directions) < 6:
        directions.append(_weakest(vectors[:, null], float(np.sqrt(rest / values[-1])), blocks, shapes))
    smallest = max(float(values[0]), 0.0)
    return Spectrum(1, len(G), float(values[-1]), smallest, float(rest), null, unseen, "dense", True, directions, dead)


def with_source_alone(G: Float[np.ndarray, "D D"], shapes: Mapping[str, tuple[int, ...]], source: str) -> float:
    """The condition with one more view, of a source by itself, as good as the best view of it."""
    H = G.copy()
    at = blocks_of(shapes)[source]
    H[at, at] += np.eye(at.stop - at.start)
    values = np.linalg.eigvalsh(H)
    return float(np.sqrt(values[-1] / values[0])) if values[0] > EXACT * values[-1] else float(np.inf)


def split(v: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A stacked vector as patterns of the sources, the largest part positive."""
    v = v / max(np.linalg.norm(v), 1e-300)
    found = {s: v[at].reshape(shapes[s]) for s, at in blocks_of(shapes).items()}
    largest = max(found.values(), key=np.linalg.norm)
    sign = np.sign(largest.sum()) or 1.0
    if abs(largest.sum()) < 1e-6 * np.abs(largest).sum():
        sign = np.sign(largest.ravel()[np.abs(largest).argmax()])
    return {s: sign * x for s, x in found.items()}


def _hidden(G: np.ndarray, floor: float) -> tuple[int, np.ndarray]:
    values, vectors = np.linalg.eigh(G)
    count = int((values <= floor).sum())
    return count, vectors[:, :count]


def _embed(basis: np.ndarray, at: slice, size: int) -> np.ndarray:
    out = np.zeros((size, basis.shape[1]))
    out[at] = basis
    return out


def _pick(basis: np.ndarray, live: np.ndarray) -> np.ndarray:
    """A pattern of the space that is easy to read: the part of it in a constant, else in one entry in the middle."""
    single = np.zeros(len(basis))
    entries = np.flatnonzero(live)
    single[entries[len(entries) // 2]] = 1
    for probe in (live.astype(float), single):
        v = basis @ (basis.T @ probe)
        if np.linalg.norm(v) > 0.1 * np.linalg.norm(probe):
            return v / np.linalg.norm(v)
    return basis[:, np.argmax(np.linalg.norm(basis, axis=0))] / np.linalg.norm(basis, axis=0).max()


def _trade_offs(
    null: np.ndarray, hidden: np.ndarray, count: int, blocks: Mapping[str, slice], shapes: Mapping[str, tuple[int, ...]]
) -> list[Direction]:
    """What is left of a null space without the hidden patterns, as one direction per pattern or one for all."""
    rest = null - hidden @ (hidden.T @ null)
    left, _, _ = np.linalg.svd(rest, full_matrices=False)
    basis = left[:, :count]
    if count <= 3:
        return [Direction("trade-off", split(v, shapes), 1) for v in basis.T]
    probes = []
    for at in blocks.values():
        probe = np.zeros(len(null))
        probe[at] = 1
        probes.append(basis @ (basis.T @ (probe / np.linalg.norm(probe))))
    best = max(probes, key=np.linalg.norm)
    v = best if np.linalg.norm(best) > 0.1 else basis[:, 0]
    return [Direction("trade-off", split(v, shapes), count)]


def _weakest(
    v: np.ndarray, information: float, blocks: Mapping[str, slice], shapes: Mapping[str, tuple[int, ...]]
) -> Direction:
    shares = [float(np.sum(v[at] ** 2)) for at in blocks.values()]
    return Direction("flat" if max(shares) > 0.99 else "trade-off", split(v, shapes), 1, information)

r"""Cells with a condition: what it changes in them, from cells without it and cells with it.

    view `control`:  y = background              + n
    view `case`:     y = background + condition  + n

The background is a myeloid cell (dendritic cells and monocytes), the condition a B cell, and a case the sum of the
counts of one each, so that there is a truth. The cells are 700 of blood, 10x Genomics by way of scanpy: the file
`10x_pbmc68k_reduced.h5ad` of its package. Its layer of log-normalised counts is made counts again. Counts are Poisson
numbers; their noise is stated as :math:`\sqrt{\max(y, 1)}`, and is part of the true sources, too. With `exact` it is
stated as what rounding would do: the sums are exact here.
"""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from dichroic.operators import PerSample
from dichroic.problem import Problem, Source, View

__all__ = ["case_and_control_cells"]

FILE = "scanpy/datasets/10x_pbmc68k_reduced.h5ad"
_MYELOID, _B = ("Dendritic", "CD14+ Monocyte"), "CD19+ B"
_ROUNDING = 12**-0.5
_CONTROLS, _MIXED_MYELOID, _MIXED_B = 200, 90, 70  # cells that are learned from; the others are held out


def case_and_control_cells(
    file: str | Path, n_case: int = 300, n_held_out: int = 75, seed: int = 0, *, genes: int = 60, exact: bool = False
) -> tuple[Problem, Problem]:
    """Counts of the genes that vary most, with truth; held-out cases are sums of other cells.

    **Arguments:** `file`, the h5ad file, or the wheel of scanpy that holds it; `exact`, whether the counts are said to
    add up.

    **Returns** `(problem, held_out)`, sources `background` and `condition` of shape `(genes,)`.
    """
    rng = np.random.default_rng(seed)
    counts, labels = _read(Path(file))
    myeloid, b = (rng.permutation(np.flatnonzero(np.isin(labels, kind))) for kind in (_MYELOID, _B))
    control, mixed, held = np.split(myeloid, [_CONTROLS, _CONTROLS + _MIXED_MYELOID])

    def pairs(first: np.ndarray, second: np.ndarray, n: int) -> dict[str, np.ndarray]:
        chosen = rng.choice(first, n), rng.choice(second, n)
        return {"background": counts[chosen[0]], "condition": counts[chosen[1]]}

    case, case_held = pairs(mixed, b[:_MIXED_B], n_case), pairs(held, b[_MIXED_B:], n_held_out)
    variance = np.var(np.log1p(case["background"] + case["condition"]), axis=0)
    kept = np.sort(np.argsort(-variance)[:genes])

    def view(truth: dict[str, np.ndarray]) -> View:
        shown = {s: x[:, kept] for s, x in truth.items()}
        y = np.add.reduce(list(shown.values()))
        noise = _ROUNDING if exact else PerSample(np.sqrt(np.maximum(y, 1)))
        return View(y, dict.fromkeys(shown, 1.0), noise, truth=shown)

    sources, title = (
        {s: Source((len(kept),), positive=True) for s in ("background", "condition")},
        "Cells with a condition",
    )
    problem = Problem(sources, {"control": view({"background": counts[control]}), "case": view(case)}, title)
    return problem, Problem(sources, {"case": view(case_held)}, title)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Counts `(cells, genes)`, and the kind of every cell."""
    import h5py
    from scipy.sparse import csr_matrix

    def words(values: Any) -> np.ndarray:
        return np.array([value.decode() for value in values])

    content: Any = path
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            content = BytesIO(wheel.read(FILE))
    with h5py.File(content) as stored:
        table: Any = stored  # tables are structured arrays, and categories lie beside them
        labels = words(table["uns/bulk_labels_categories"])[table["obs"]["bulk_labels"]]
        genes, all_genes = words(table["var"]["index"]), words(table["raw.var"]["index"])
        raw = table["raw.X"]
        parts = tuple(raw[part][:] for part in ("data", "indices", "indptr"))
        logarithms = csr_matrix(parts, shape=tuple(raw.attrs["h5sparse_shape"])).toarray()
    place = {gene: i for i, gene in enumerate(all_genes)}
    linear = np.expm1(logarithms[:, [place[gene] for gene in genes]])
    # a cell's least positive value is one count
    one = np.min(linear, axis=1, where=linear > 0, initial=np.inf)
    return np.round(linear / one[:, None]).astype(np.float32), labels

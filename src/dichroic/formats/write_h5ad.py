"""Results as an annotated matrix: the cells and genes of the data, a layer for every source."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dichroic.faults import ProblemError
from dichroic.formats.results import ViewResults
from dichroic.formats.writer import Writer
from dichroic.store import whole

__all__ = ["WriteH5AD"]


class WriteH5AD(Writer):
    """Cells of all views under each other, with their view and whatever was known of them; layers `SOURCE`,
    `SOURCE_std` and `SOURCE_seen`, NaN where a source does not enter.
    """

    suffixes = ("h5ad",)
    library = ("anndata", "anndata")

    def check(self, views: Mapping[str, tuple[int, ...]]) -> None:
        self.load()
        if len({*views.values()}) > 1 or any(len(shape) != 1 for shape in views.values()):
            raise ProblemError([f".h5ad holds cells of the same genes; the views have the shapes {dict(views)}"])

    def write(self, path: Path, views: Mapping[str, ViewResults], said: Mapping[str, str]) -> tuple[list[Path], str]:
        anndata = self.load()
        from pandas import DataFrame, Index, concat

        known_ids = np.concatenate([view.ids for view in views.values()])
        twice = len(set(known_ids)) < len(known_ids)
        parts, genes = [], None
        for name, view in views.items():
            cells = DataFrame(
                dict(view.labels.columns), index=Index([f"{name}:{i}" for i in view.ids] if twice else view.ids)
            ).assign(view=name)
            own = view.labels.axis(0).labels
            if genes is not None and own is not None and not np.array_equal(genes, own):
                raise ProblemError(["the views have other genes, or the same in another order"])
            genes = own if genes is None else genes
            parts.append(cells)
        size = {found.mean.shape[1:] for view in views.values() for found in view.sources.values()}
        if len(size) != 1 or len(next(iter(size))) != 1:
            raise ProblemError([f".h5ad holds sources of one number for every gene, got the shapes {sorted(size)}"])
        (count,) = next(iter(size))
        known = next((view.labels.shared["var"] for view in views.values() if "var" in view.labels.shared), {})
        kept = genes is not None and len(genes) == count
        index = Index(np.asarray(genes).astype(str) if kept else np.arange(count).astype(str))
        var = DataFrame(dict(known) if kept else {}, index=index)
        data = anndata.AnnData(obs=concat(parts), var=var, uns={"dichroic": dict(said)})
        begin = 0
        for view in views.values():
            for source, found in view.sources.items():
                for kind, x in found.kinds():
                    if kind != "draws" and x.shape[1:] == (count,):
                        layer = source if kind == "mean" else f"{source}_{kind}"
                        if layer not in data.layers:
                            data.layers[layer] = np.full((len(data), count), np.nan, np.float32)
                        data.layers[layer][begin : begin + len(view)] = x
            begin += len(view)
        with whole(path) as temporary:
            data.write_h5ad(temporary)
        return [path], "single draws"

"""What observations are called, kept beside their separation as JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dichroic.formats import Axis, Labels, Windows

__all__ = ["describe_labels", "read_labels"]


def describe_labels(labels: Labels) -> dict[str, Any]:
    """Unit, identifiers, axes and windows; headers and tables stay with the data."""
    windows = labels.windows
    return {
        "windows": None
        if windows is None
        else {
            "size": list(windows.size),
            "shapes": [list(shape) for shape in windows.shapes],
            "record": windows.record.tolist(),
            "start": windows.start.tolist(),
            "count": windows.count,
        },
        "records": None if labels.records is None else describe_labels(labels.records),
        "unit": labels.unit,
        "ids": None if labels.ids is None else labels.ids.astype(str).tolist(),
        "axes": [
            {
                "name": axis.name,
                "unit": axis.unit,
                "start": float(axis.start),
                "step": None if axis.step is None else float(axis.step),
                "labels": None if axis.labels is None else _plain(axis.labels),
            }
            for axis in labels.axes
        ],
    }


def read_labels(said: Mapping[str, Any]) -> Labels:
    """What :func:`describe_labels` described."""
    axes = tuple(
        Axis(
            axis["name"],
            None if axis["labels"] is None else np.asarray(axis["labels"]),
            axis["step"],
            axis["start"],
            axis["unit"],
        )
        for axis in said["axes"]
    )
    ids, inner = None if said["ids"] is None else np.asarray(said["ids"], str), said.get("records")
    windows = None if not said.get("windows") else _windows(said["windows"])
    return Labels(said["unit"], ids, axes, windows=windows, records=None if inner is None else read_labels(inner))


def _windows(said: Mapping[str, Any]) -> Windows:
    shapes = tuple(tuple(shape) for shape in said["shapes"])
    return Windows(tuple(said["size"]), shapes, np.asarray(said["record"]), np.asarray(said["start"]), said["count"])


def _plain(values: np.ndarray) -> list[Any]:
    return (values if values.dtype.kind in "iuf" else values.astype(str)).tolist()

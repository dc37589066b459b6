"""A source that the data say once all others are known."""

from math import prod

from dichroic.posterior.method import Task

__all__ = ["pivot_of"]


def pivot_of(kind: str, name: str | None, task: Task) -> str:
    """The source that is eliminated: the one named, or the last one of the view.

    **Raises:** `ValueError` where there is none, or where the data do not say all of it.
    """
    known, view = list(task.priors), task.view
    if len(known) < 2:
        raise ValueError(f"method {kind!r} eliminates one source of several, and here is {known[0]!r} alone")
    if name is not None and name not in known:
        raise ValueError(f"method {kind!r}: no source {name!r} in this view; there are: {', '.join(known)}")
    pivot = name or known[-1]
    numbers = prod(task.priors[pivot].shape)
    if numbers != view.data_size or view.observed is not None:
        missing = ", of which some are missing" if view.observed is not None else ""
        raise ValueError(
            f"method {kind!r} reads source {pivot!r} off the data, which takes an invertible operator: it has "
            f"{numbers} numbers, and an observation {view.data_size}{missing}"
        )
    return pivot

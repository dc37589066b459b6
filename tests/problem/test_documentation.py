"""The how-to page on one's own data does what it says."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dichroic.operators import PerSample
from dichroic.problem import load_problem
from dichroic.problem.arrays import ArrayReader
from dichroic.problem.functions import FunctionReader, allow
from dichroic.problem.operator_table import OperatorReader
from dichroic.problem.source import Source

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "your-own-data.md"


def blocks(language):
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE.read_text(), re.M | re.S)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) + "\n" for indent, text in found]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[0], {"__name__": "page"})
    problem, new = blocks("toml")[:2]
    (tmp_path / "problem.toml").write_text(problem)
    (tmp_path / "new.toml").write_text(new)
    return tmp_path


def test_the_worked_example(folder):
    loaded = load_problem(folder / "problem.toml")
    assert loaded.held_out == 0.1 and loaded.fit == {"laps": 8}
    assert {name: view.y.shape for name, view in loaded.problem.views.items()} == {
        "empty": (512, 16, 16, 1),
        "target": (384, 16, 16, 1),
    }
    assert isinstance(loaded.problem.views["target"].mixing["spot"], PerSample)
    assert all(view.observed is not None for view in loaded.problem.views.values())
    assert list(load_problem(folder / "new.toml").problem.views) == ["night2"]


def test_every_operator_of_the_table(tmp_path):
    np.savez(
        tmp_path / "f.npz",
        weight=np.ones((4, 4, 2)),
        m=np.ones((2, 2, 2)),
        psf=np.ones((3, 3)),
        psfs=np.ones((3, 3, 2)),
        mask=np.ones((4, 4)),
    )
    with np.load(tmp_path / "f.npz") as arrays:
        np.savez(tmp_path / "f.npz", A=np.ones((5, 32)), p=np.ones(2), **arrays)
    (tmp_path / "mine.py").write_text(blocks("python")[2])
    reader = OperatorReader(ArrayReader(tmp_path), FunctionReader(tmp_path))
    section = PAGE.read_text().split("## Operators")[1].split("### ")[0]
    written = [
        spec
        for line in section.splitlines()
        if line.startswith("|")
        for spec in re.findall(r"`([^`]*)`", line.split("|")[2])
    ]
    assert len(written) >= 12
    for spec in written:
        with allow():
            operator = reader.read(_value(spec), Source((4, 4, 2)))
        assert operator.out_shape


def _value(text):
    return tomllib.loads(f"value = {text}")["value"]

"""No constant has a unit: where a small number is a floor, a tolerance or a limit by itself, what it stands beside has
none either.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "dichroic"
SMALL, FLOOR = 0.01, 1e-300  # the latter keeps a quotient of doubles from 0 / 0, whatever their unit
FLOORS = {"max", "maximum", "fmax", "clip", "where"}
WITHOUT = {  # what the small numbers of a file stand beside
    "baselines/least_squares.py": "a relative error",
    "baselines/pcpca.py": "a quotient of gains",
    "baselines/stationary_wiener.py": "a share of entries",
    "closed/components.py": "sums of responsibilities",
    "closed/family.py": "sums of responsibilities",
    "closed/stationary.py": "sums of responsibilities",
    "design/contraction.py": "parts of columns of unit length",
    "design/instrument.py": "entries of a vector of unit length",
    "design/iterative_spectrum.py": "products of columns of unit length",
    "design/spectrum.py": "norms of parts of a vector of unit length",
    "diagnose/chi_square.py": "probabilities, and squares in units of the noise",
    "diagnose/classifier.py": "squares in standard deviations, and in units of the noise",
    "diagnose/leakage.py": "squares in units of the noise",
    "diagnose/nearer.py": "shares of a way",
    "diagnose/ranks.py": "probabilities, and a variance over a squared mean",
    "diagnose/replay.py": "lengths in units of the noise",
    "diffusion/alphabet.py": "the logarithm of a count",
    "diffusion/networks/conv.py": "the power of activations",
    "diffusion/networks/layers.py": "the power of activations",
    "diffusion/pulse.py": "times in symbols",
    "metrics/coverage.py": "a count",
    "operators/blur.py": "a width in pixels",
    "operators/noise.py": "correlations",
    "posterior/candidates.py": "a count",
    "posterior/drawn.py": "a count",
    "posterior/pairs.py": "squared errors over those of the prior",
    "report/calibration.py": "lengths in units of the noise",
    "report/chi_figures.py": "chi-square over degrees of freedom",
    "run/mean.py": "a share",
    "run/progress.py": "a share of draws",
    "run/separating.py": "a share",
    "settings.py": "noise levels of scaled samples",
    "studies/experiments/exact_components.py": "weights",
    "studies/experiments/manifolds.py": "a count",
    "studies/one_step/figure.py": "objectives of samples of unit scale",
    "studies/reproduce/measures.py": "distances of published data, as published",
}


def small(node: ast.expr) -> bool:
    """Whether it is a small number, not a product with one."""
    node = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and FLOOR < node.value <= SMALL


def absolute(tree: ast.Module) -> Iterator[int]:
    """Lines in which a small number, times nothing, is compared, added, or the least that something may be."""
    for node in ast.walk(tree):
        beside: list[ast.expr] = []
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            beside += [given[name] for name in ("atol", "min", "a_min") if name in given]
            beside += node.args if called in FLOORS else []
            if called in ("allclose", "isclose") and "atol" not in given:
                yield node.lineno  # theirs is 1e-8
        elif isinstance(node, ast.Compare):
            beside += [node.left, *node.comparators]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            beside += [node.left, node.right]
        yield from (one.lineno for one in beside if small(one))


def unsaid(tree: ast.Module, text: str) -> Iterator[str]:
    """Small numbers with a name of their own and not a word about what they are a part of."""
    lines = text.splitlines()
    for node in tree.body:
        if isinstance(node, ast.Assign) and small(node.value) and "#" not in lines[node.lineno - 1]:
            yield lines[node.lineno - 1]


def test_small_numbers_are_found_wherever_they_stand():
    text = "a = max(x, 1e-9)\nb = x > -1e-6\nc = sqrt(x + 1e-30)\nd = np.allclose(x, y)\ne = max(x, 1e-9 * y, 1e-300)\n"
    assert sorted(absolute(ast.parse(text))) == [1, 2, 3, 4]
    text = "_A = 1e-3  # of the largest\n_B = 1e-3"
    assert list(unsaid(ast.parse(text), text)) == ["_B = 1e-3"]


def test_small_numbers_stand_beside_what_has_no_unit():
    found, wordless = {}, {}
    for path in SOURCE.rglob("*.py"):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(SOURCE).as_posix()
        if re.search(r"\de-\d|\b0\.0|(allclose|isclose)\(", text):
            tree = ast.parse(text)
            found[name], wordless[name] = sorted(absolute(tree)), list(unsaid(tree, text))
    assert {name: lines for name, lines in found.items() if lines and name not in WITHOUT} == {}
    assert [name for name in WITHOUT if not found.get(name)] == []
    assert {name: lines for name, lines in wordless.items() if lines} == {}

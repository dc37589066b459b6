"""Imports go the way docs/architecture.md says: a package knows those above it in the table, none of those below."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dichroic"


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of a table of a page, by the first cell of its header."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    table = re.search(rf"^\| {header} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    assert table is not None, f"docs/{page} has no table that begins with '{header}'"
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in table[1].splitlines()]


def imported(module: str) -> set[str]:
    """The packages (and single modules) of dichroic that a source text imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} if "." in node.module else {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("dichroic.") and name != "dichroic.__version__"}


def test_imports_are_found_wherever_they_are():
    module = """
import dichroic.em.loop
from dichroic import algebra, __version__
from dichroic.problem import View
def late():
    from dichroic.run.run import Run
import numpy
"""
    assert imported(module) == {"algebra", "em", "problem", "run"}


PACKAGES = [row[0] for row in rows("architecture.md", "package")]


def test_every_package_has_its_row():
    assert len(set(PACKAGES)) == len(PACKAGES)
    here = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__")}
    assert set(PACKAGES) == here | modules


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_what_stands_above_them_only(package):
    allowed = {package, *PACKAGES[: PACKAGES.index(package)]}
    files = sorted((SOURCE / package).rglob("*.py")) or [SOURCE / f"{package}.py"]
    wrong = {
        (path.relative_to(SOURCE).as_posix(), other)
        for path in files
        for other in imported(path.read_text(encoding="utf-8")) - allowed
    }
    assert not wrong


def imported_files(module: str, known: set[str]) -> set[str]:
    """The files of dichroic, among those known, that a source text imports, wherever it does so, types aside."""
    tree = ast.parse(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {part if part in known else node.module for part in parts}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def circle(imports: dict[str, set[str]]) -> list[str]:
    """The files that import each other in a circle."""
    left = dict(imports)
    while free := [name for name, others in left.items() if not others & set(left)]:
        left = {name: others for name, others in left.items() if name not in free}
    return sorted(left)


def test_circles_are_found():
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\ndef late():\n    from b import c, d"
    assert imported_files(text, {"a", "b", "b.c"}) == {"b", "b.c"}
    assert circle({"a": {"b"}, "b": {"a"}, "c": set(), "d": {"a"}}) == ["a", "b", "d"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_files_import_each_other_in_a_circle():
    files = {
        ".".join(("dichroic", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }
    text = {name: path.read_text(encoding="utf-8") for name, path in files.items()}
    assert circle({name: imported_files(content, set(files)) for name, content in text.items()}) == []


@pytest.mark.parametrize("row", rows("extending.md", "part"), ids=lambda row: row[0])
def test_lists_to_extend_are_where_the_page_says(row):
    _, package, registry, _ = row
    assert len(getattr(import_module(package), registry)) > 0

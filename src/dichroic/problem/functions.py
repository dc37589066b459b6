"""A user's linear function, from a Python file beside the problem file.

A problem file may come from anybody: its functions run only where that is allowed, and only from its own folder.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from dichroic.faults import ProblemError, among, first_line
from dichroic.problem.arrays import find_file

__all__ = ["FunctionReader", "allow", "allow_everywhere"]

_ALLOWED = ContextVar("allowed", default=False)


@contextmanager
def allow(code: bool | None = True) -> Iterator[None]:
    """Whether functions of problem files are run inside; None leaves it as it is."""
    token = _ALLOWED.set(_ALLOWED.get() if code is None else code)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def allow_everywhere(code: bool) -> None:
    """The same from now on, for a program whose user was asked."""
    _ALLOWED.set(code)


class FunctionReader:
    """Looks up `FILE.py:NAME`; each file is run once, so that two views share one function and its compiled program."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._modules: dict[Path, ModuleType] = {}

    def read(self, reference: object) -> Callable:
        """The function.

        **Raises:** `ProblemError` when there is no such file or function, or the file fails.
        """
        file, _, name = reference.rpartition(":") if isinstance(reference, str) else ("", "", "")
        if not file.endswith(".py") or not name:
            raise ProblemError([f"function: expected 'FILE.py:NAME', got {reference!r}"])
        path = find_file(self.folder, file)
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ProblemError([f"function: '{file}' is outside of the folder of the problem file; put it into it"])
        if not _ALLOWED.get():
            raise ProblemError(
                [
                    f"function: '{path.name}' is Python code, which runs only where you allow it: look at it, then say "
                    "--allow-code (in Python: load_problem(..., allow_code=True))"
                ]
            )
        module = self._module(path)
        found = getattr(module, name, None)
        if not callable(found):
            known = [
                k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
            ]
            raise ProblemError([f"no function '{name}' in '{path.name}'; there: {among(name, known)}"])
        return found

    def _module(self, path: Path) -> ModuleType:
        if path not in self._modules:
            spec = spec_from_file_location(path.stem, path)
            if spec is None or spec.loader is None:
                raise ProblemError([f"'{path.name}' is no Python file"])
            module = module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except Exception as error:  # the user's code
                raise ProblemError([f"'{path.name}' fails when it is run: {first_line(error)}"]) from error
            self._modules[path] = module
        return self._modules[path]

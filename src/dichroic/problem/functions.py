"""A user's linear function, from a Python file beside the problem file."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from dichroic.problem.arrays import find_file
from dichroic.problem.faults import ProblemError, did_you_mean, first_line, names

__all__ = ["FunctionReader"]


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
        module = self._module(path)
        found = getattr(module, name, None)
        if not callable(found):
            known = [
                k for k, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
            ]
            raise ProblemError(
                [f"no function '{name}' in '{path.name}'; there: {names(known)}{did_you_mean(name, known)}"]
            )
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

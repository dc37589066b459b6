"""The cost of a fit: its work counted as it is done, and its time, within a factor of two."""

import json
import sys
from collections import Counter
from time import perf_counter

import numpy as np
import pytest

from dichroic import Problem, Source, View, fit
from dichroic.algebra import Gaussian
from dichroic.cli import main
from dichroic.cli.plan import _as_preset
from dichroic.closed import ComponentsFit, GaussianFit
from dichroic.diffusion import Cost, NetworkDenoiser
from dichroic.em import make_plan, split
from dichroic.plan import cost, estimate_costs
from dichroic.plan.cost import count_passes, price_judge
from dichroic.plan.timing import BatchTime, Line, Timings
from dichroic.posterior import Auto, Bound, Draws
from dichroic.settings import PRESETS, preset
from run_cases import tiny_config, tiny_problem, write_tiny


@pytest.mark.parametrize(
    "changes",
    [
        {"laps": 3, "sampling": {"step": "ddim", "steps": 3, "warm_steps": 2, "cold_laps": 1, "refresh": 0.0}},
        {"plan": "sequential", "laps": {"sky": 1, "star": 2}},
        {"held_out": 0.0, "sampling": {"step": "ddim", "steps": 2, "warm_steps": 1, "cold_laps": 9}},
    ],
    ids=["joint", "sequential", "nothing held out"],
)
def test_work_is_counted_as_it_is_done(monkeypatch, tmp_path, changes):
    """The program itself, with nothing in the place of its expensive parts but a note that they were asked for."""
    from dichroic.em import loop, mstep, score

    sampling = {"step": "ddim", "steps": 3, "warm_steps": 2, "cold_laps": 0, "refresh": 0.0, "batch": 16}
    config = tiny_config(patience=0, **{"sampling": sampling, **changes})
    done: Counter = Counter()

    class Counting(Bound):
        cost, shared = Cost(1, 0), Cost()

        def __init__(self, view, priors, runs):
            self.view, self.priors, self.runs = view, priors, runs

        def on(self, view):
            return Counting(view, self.priors, self.runs)

        def drawn(self, wanted):
            n, number = len(wanted.keys), int(np.sum(wanted.warm))
            names = frozenset(self.view.mixing)
            networks = frozenset(s for s in names if isinstance(self.priors[s].denoiser(), NetworkDenoiser))
            done[names, networks, self.runs[0]] += n - number
            done[names, networks, self.runs[1]] += number
            samples = {s: np.zeros((n, *self.priors[s].shape), np.float32) for s in names}
            return Draws(samples, np.ones(n), np.zeros(n), np.zeros(n, int), np.zeros(n, bool), self.cost)

    def train(denoiser, schedule, samples, training, **_):
        done["training"] += training.steps
        return denoiser, np.ones(4)

    def gaussian(problem, *_, **__):
        return GaussianFit({s: Gaussian(np.zeros(2), np.eye(2), np.ones(2), 0.0) for s in problem.sources})

    monkeypatch.setattr(sys.modules["dichroic.run.fit"], "gaussian_em", gaussian)
    monkeypatch.setattr(sys.modules["dichroic.run.fit"], "components_em", lambda *_, **__: ComponentsFit({}))
    monkeypatch.setattr(Auto, "bind", lambda method, view, priors, **_: Counting(view, priors, method.runs))
    monkeypatch.setattr(score, "_whitened", lambda observations, *_: np.zeros((3, *observations.y.value.shape)))
    monkeypatch.setattr(mstep, "train", train)
    monkeypatch.setattr(mstep, "measure_errors", lambda *_: None)
    # every lap is the best so far: a stage that never gets better goes on with Gaussian priors
    best = {"lowest": [0.0], "last": 0.0, "error": 0.0}
    monkeypatch.setattr(loop, "judge", lambda _, scores, lap: best | {"lap": lap})
    problem = tiny_problem(40)
    run = fit(problem, config, out=tmp_path)
    counted: Counter = Counter()
    kept, held = split(problem, None, config)
    plan = make_plan(kept, config.plan)
    for p in count_passes(kept, held, config, plan):
        for n, steps in p.runs(config):
            counted[frozenset(problem.views[p.view].mixing), p.learned, steps] += p.times * n
    laps = sum(config.laps_of(stage.name) * len(stage.learn) for stage in plan)
    assert done.pop("training") == laps * config.training.steps
    assert +counted == +done
    assert len(run.records) == sum(1 + config.laps_of(stage.name) for stage in plan)


def test_refreshed_observations_are_counted_by_their_mean():
    config = tiny_config(sampling={"steps": 3, "warm_steps": 2, "cold_laps": 0, "refresh": 0.25}, held_out=0.0)
    problem = tiny_problem(40)
    passes = [p for p in count_passes(problem, None, config, make_plan(problem, "joint")) if p.view == "both"]
    assert [(p.phase, p.cold, p.warm, p.times) for p in passes] == [("E-step", 40, 0, 1), ("E-step", 10, 30, 2)]
    assert passes[0].learned == set()
    assert passes[1].learned == {"sky", "star"}


def test_presets_are_planned_with_the_other_settings_of_the_file():
    table = {"laps": 7, "plan": "sequential", "sampling": {"steps": 5, "restart": 0.2}, "training": {"batch": 8}}
    for name in PRESETS:
        config, wanted = _as_preset(name, table), preset(name)
        assert (config.laps, config.training.steps) == (wanted.laps, wanted.training.steps)
        assert config.sampling == wanted.sampling.model_copy(update={"restart": 0.2})
        assert (config.plan, config.training.batch) == ("sequential", 8)


@pytest.mark.parametrize(
    ("changes", "n", "seconds"),
    [
        # areas of two views, with closed forms and with networks; proofs of the sky in both views, of the star in one
        ({}, 100, 2 * 3 + 3 * (1 + 3) + (2 * 1 + 9 * 1) + 2 * (2 * 2 + 9 * 3)),
        ({"judged": "laps"}, 100, 3 * 3 + 2 * 3 * (1 + 3) + (2 * 1 + 9 * 1) + 2 * (2 * 2 + 9 * 3)),
        ({}, 50, 2 * 3 + 3 * (0.5 + 1.5)),  # too few for proofs
        ({"laps": 0}, 100, 3),
    ],
)
def test_what_judges_is_priced(changes, n, seconds):
    held_out, config = tiny_problem(n), tiny_config(**changes)
    timings = Timings(judge={"empty": 1.0, "both": 2.0}, prior_draw={"sky": 0.01, "star": 0.02})
    assert price_judge(held_out, config, make_plan(held_out, "joint"), timings) == pytest.approx(seconds)


def test_batches_are_priced_whole_and_side_by_side():
    time = BatchTime(Line(1.0, 2.0), Line(0.5, 1.0), Line(1.0, 1.0), 16, 0.0)
    assert time.seconds([(16, 3), (0, 2)]) == 7.0
    assert time.seconds([(17, 3), (0, 2)]) == 7.0 + 3.5
    assert time.seconds([(1.6, 3), (33, 2)]) == 7.0 + 3 * 2.5
    assert time.seconds([(0, 3), (0, 2)]) == 0
    line = Line.through(3.0, 7.0)
    assert (line.at(1), line.at(3), line.at(5)) == (3.0, 7.0, 11.0)
    assert Line.through(3.0, 2.5) == Line(3.0, 0.0)


def test_prices(tmp_path, monkeypatch, capsys):
    """What is printed, from pieces of known price: one second for a batch and a tenth for each of its steps."""

    def measure(problem, held_out, config, plan, known, wanted, report):
        report("pieces")
        time = BatchTime(Line(1.0, 0.1), Line(1.0, 0.1), Line(1.0, 2.0), 16, 5.0)
        stages = {stage.name: 1.0 for stage in plan}
        closed, sizes = {"Gaussian stage": 3.0, "components stage": 4.0}, {s: 1000 for s in problem.sources}
        return Timings(closed, {s: 0.5 for s in stages}, stages, stages, {w: time for w in wanted}, sizes, 100)

    monkeypatch.setattr(cost, "measure", measure)
    write_tiny(
        tmp_path, sampling={"step": "ddim", "steps": 3, "warm_steps": 2, "cold_laps": 0, "batch": 16, "refresh": 0}
    )
    assert main(["plan", str(tmp_path), "--quiet", "--json"]) == 0
    own = json.loads(capsys.readouterr().out)["settings"]["[fit]"]
    # of each of two views: three batches of 48 observations and one of 16 held out; three steps, then twice two
    assert own["seconds"] == pytest.approx(
        {
            "Gaussian stage": 3,
            "components stage": 4,
            "compiling": 2 * 4 * 5 + 1,  # with hidden entries and without, closed forms and networks
            "M-step": 2 * (8 * 0.5 + 1),
            "E-step": 2 * 3 * (1.3 + 2 * 1.2),
            "held-out draws": 2 * (1.3 + 2 * 1.2),
            "prediction": 2 * 2 * 3 * 1.3,
            "final draws": 2 * 2 * 1.3,
            "total": 7 + 41 + 10 + 8 * 3.7 + 15.6 + 5.2,
        }
    )
    assert own["evaluations"] == 2 * ((48 + 16) * (7 + 2 * 5) + 16 * (6 + 2) * 7)
    assert own["memory"] > 1e8
    assert own["disk"] > 2 * (3 * 64 * 8 + 4 * 1000)  # two checkpoints: draws, priors and the best ones
    assert main(["plan", str(tmp_path), "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[5:9]] == ["draft", "standard", "final", "[fit]"]


def test_conditional_denoisers_are_priced_once_a_lap_and_before_the_final_draws():
    sampling = {"kind": "amortised", "pair_steps": 8, "pair_batch": 16, "cold_laps": 1}
    config = tiny_config(sampling=sampling)
    kept, held = split(tiny_problem(), None, config)
    plan = make_plan(kept, config.plan)
    passes = count_passes(kept, held, config, plan)
    none, ones = Line(0.0, 0.0), {stage.name: 1.0 for stage in plan}
    # three seconds of training where priors are networks; closed forms are drawn from without
    draws = {(p.view, p.learned): BatchTime(none, none, none, 16, 0.0, 3.0 if p.learned else 0.0) for p in passes}
    timings = Timings({}, ones, ones, ones, draws, dict.fromkeys(kept.sources, 1000), 100)
    found = cost._price(kept, held, config, plan, passes, timings)
    trainings = 2 * 2 + 2  # of two views, in two laps and at the end
    assert found.seconds["conditional denoisers"] == 3.0 * trainings
    assert found.evaluations == trainings * 2 * 8 * 16


@pytest.mark.slow
def test_command(tmp_path, capsys, finished):
    write_tiny(tmp_path)
    assert main(["plan", str(tmp_path), "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["settings"]
    assert list(found) == ["draft", "standard", "final", "[fit]"]
    assert [numbers["laps"] for numbers in found.values()] == [4, 16, 48, 2]
    totals = [numbers["seconds"]["total"] for numbers in found.values()]
    assert totals == [*sorted(totals[:3]), min(totals)]
    for numbers in found.values():
        assert numbers["memory"] > 1e8
        phases = [seconds for phase, seconds in numbers["seconds"].items() if phase != "total"]
        assert numbers["seconds"]["total"] == pytest.approx(sum(phases))
        assert min(phases) >= 0 < numbers["seconds"]["M-step"]
    # two sources, and the steps of the preset
    assert found["final"]["optimizer_steps"] == 48 * 2 * 2048
    assert found["[fit]"]["optimizer_steps"] == 2 * 2 * 8
    # beside a run of the same problem
    disk = sum(file.stat().st_size for file in finished.path.rglob("*") if file.is_file())
    assert disk < found["[fit]"]["disk"] + 30_000 < 3 * disk  # of small files: names and settings
    # the first draws, all of them cold; then two laps, a tenth of the observations drawn anew
    last = finished.records[-1]
    unit = sum(view["evaluations"] for view in last["views"].values()) / 3  # both views, of two steps and the last one
    first, laps, predictions, final = (48 + 16) * 4, (48 + 16) * 2 * (0.1 * 4 + 0.9 * 3), 16 * 2 * 3 * 4, 16 * 2 * 4
    assert found["[fit]"]["evaluations"] == pytest.approx(unit * (first + laps + predictions + final))


@pytest.mark.slow
def test_time_of_a_fit_is_within_a_factor_of_two(tmp_path, rng):
    x = rng.normal(size=(2, 3000, 4)).astype(np.float32)
    problem = Problem(
        {"sky": Source((4,)), "star": Source((4,))},
        {"empty": View(x[0], {"sky": 1.0}, 0.3), "both": View(x[0] + np.abs(x[1]), {"sky": 1.0, "star": 1.0}, 0.3)},
    )
    config = tiny_config(
        laps=6,
        patience=0,
        network={"kind": "mlp", "width": 128, "depth": 2},
        training={"steps": 300, "batch": 256},
        sampling={"steps": 16, "warm_steps": 6, "cold_laps": 2},
    )
    estimate = estimate_costs(problem, {"this": config})["this"]
    begin = perf_counter()
    run = fit(problem, config, out=tmp_path / "run")
    seconds = perf_counter() - begin
    # all of it, and the steps by themselves, from the laps after those that compile
    laps = [record["seconds"] for record in run.records[3:]]
    was = {"M-step": sum(lap["m_step"] for lap in laps), "E-step": sum(lap["e_step"] for lap in laps)}
    cold = 3 * 17 / (3 * 17 + 4 * (0.1 * 17 + 0.9 * 7))  # of the E-steps' work, in laps 0 to 2
    estimated = {"M-step": estimate.seconds["M-step"] * 4 / 6, "E-step": estimate.seconds["E-step"] * (1 - cold)}
    print(f"estimated {estimate.total:.1f} s, was {seconds:.1f} s; laps 3 to 6: estimated {estimated}, was {was}")
    assert seconds / 2 < estimate.total < seconds * 2

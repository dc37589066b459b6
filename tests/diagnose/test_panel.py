"""Every check, on sound results and on faulty ones; the panel as a whole."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

import dichroic.diagnose.panel as panel
from diagnosis_cases import FAULTS, SMALL, make_case
from dichroic.diagnose import CHECKS, CODES, Budget, default_checks, judge, load_panel, run_panel
from dichroic.diagnose.codes import code_of
from dichroic.diagnose.model import GaussianModel

# tests whose p-values are exactly uniform; those of the others may be too large
EXACT = {"replay": ("bias", "spread"), "chi_square": ("mean",), "sbc": ("bias", "spread"), "tarp": ("bias", "spread")}


def examine(seed, budget=SMALL, **options):
    n = options.pop("n", 300)
    problem, model = make_case(seed, n, **options)
    return run_panel(problem, model, key=jax.random.key(seed), budget=budget, checks=CHECKS)


@pytest.fixture(scope="module")
def healthy():
    return [examine(seed) for seed in range(12)]


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_p_values_of_sound_results(healthy, check):
    p = np.array([[part.p for part in results[check].parts] for results in healthy])
    assert np.all((p >= 0) & (p <= 1))
    for column, part in zip(p.T, healthy[0][check].parts, strict=True):
        for level in (0.05, 0.2):
            allowed = level + 4 * np.sqrt(level * (1 - level) / len(column))
            assert np.mean(column < level) <= allowed, (part.where, part.what)
        if part.what.split(", ")[-1] in EXACT.get(check, ()):
            assert stats.kstest(column, "uniform").pvalue > 1e-4, (part.where, part.what)


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_result_is_green(healthy, check):
    loud = sum(results[check].level != "green" for results in healthy)
    assert loud <= 1  # one in 200 is permitted per check: two of 12 happen once in 600


# powers of two change no digit: what differs is a floor or a tolerance that has a unit
@pytest.mark.parametrize("units", [pytest.param((2.0**-67, 2.0**-60), marks=pytest.mark.slow), (2.0**60, 2.0**67)])
def test_units_do_not_matter(healthy, units):
    for check, result in examine(0, units=units).items():
        expected = healthy[0][check]
        # a classifier is trained, which rounding in its inputs leads elsewhere
        accuracy = {"rtol": 1e-3, "atol": 0.05 if check == "law" else 1e-6, "err_msg": check}
        assert result.level == expected.level, check
        found, values = ([part.value for part in each.parts] for each in (result, expected))
        np.testing.assert_allclose(found, values, **accuracy)
        for name, array in expected.arrays.items():
            np.testing.assert_allclose(result.arrays[name], array, **accuracy)


def test_the_panel_as_a_whole(healthy):
    assert sum(judge(results).level != "green" for results in healthy) <= 2


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_seen_by_the_checks_that_should(fault):
    options, checks = FAULTS[fault]
    results = examine(1, Budget(observations=800, fission=(200, 7), sbc=(200, 15), leakage=(60, 4)), n=800, **options)
    assert all(results[check].level != "green" for check in checks)
    assert all(code_of(name, part) in CODES for name, result in results.items() for part in result.alarms)
    cause = {
        "noise too small": "DC301",
        "noise too large": "DC302",
        "draws too narrow": "DC303",
        "draws too wide": "DC304",
        "prior too narrow": "DC305",
        "prior too wide": "DC306",
        "sources swapped": "DC307",
        "operator wrong": "DC301",
    }
    assert [c.code for c in judge(results).causes] == [cause[fault]]


def test_a_source_that_is_brighter_than_thought_is_seen():
    results = examine(2, shift=0.5)
    assert results["replay"].level != "green" and results["gap"].level != "green"


@pytest.mark.slow
def test_no_check_alters_the_observations():
    problem, model = make_case(3, 60)
    before = problem.fingerprint()
    run_panel(problem, model, key=jax.random.key(0), budget=SMALL)
    assert problem.fingerprint() == before


@pytest.mark.slow
def test_a_check_says_the_same_alone_and_among_others():
    problem, model = make_case(4, 60)
    whole = run_panel(problem, model, key=jax.random.key(0), budget=SMALL, checks=CHECKS)
    for check in CHECKS:
        alone = run_panel(problem, model, key=jax.random.key(0), budget=SMALL, checks=[check])[check]
        assert alone.summary() == whole[check].summary()


@pytest.mark.slow
def test_a_killed_panel_goes_on(tmp_path, monkeypatch):
    problem, model = make_case(5, 60)
    made = []

    def spy(name, check):
        def function(case, report):
            if name == "fission" and len(made) < 5:
                raise KeyboardInterrupt
            made.append(name)
            return check.function(case, report)

        return replace(check, function=function)

    with monkeypatch.context() as patch:
        patch.setattr(panel, "CHECKS", {name: spy(name, check) for name, check in CHECKS.items()})
        options = {"key": jax.random.key(0), "budget": SMALL, "folder": tmp_path}
        with pytest.raises(KeyboardInterrupt):
            run_panel(problem, model, **options)
        assert made == ["replay", "chi_square", "law", "gap"]
        made.append("killed")
        results = run_panel(problem, model, **options)
        assert made[5:] == ["fission", "sbc", "tarp", "leakage", "maps"]
        run_panel(problem, model, **options, identity="other priors", checks=["gap"])
        assert made[-1] == "gap"
    fresh = run_panel(problem, model, key=jax.random.key(0), budget=SMALL)
    kept = load_panel(tmp_path)
    for name in default_checks():
        assert results[name].summary() == fresh[name].summary() == kept[name].summary()
        for array, values in fresh[name].arrays.items():
            np.testing.assert_array_equal(kept[name].arrays[array], values)


def test_draws_that_fail_are_counted():
    problem, model = make_case(6, 100)

    class Failing(GaussianModel):
        def given(self, name, view):
            inner = super().given(name, view)

            def draw(key):
                x = inner(key)
                for u in x.values():
                    u[::5] = np.nan
                return x

            return draw

    failing = Failing(model.means, model.covariances)
    results = run_panel(problem, failing, key=jax.random.key(0), budget=SMALL)
    for name, result in results.items():
        diverged = [part.value for part in result.parts if part.what == "diverged"]
        assert diverged == [0.0 if name in ("replay", "law") else 0.2], name
        assert all(part.p > 1e-4 for part in result.parts[:-1]), name
    assert [cause.code for cause in judge(results).causes] == ["DC308"]


def test_unknown_checks():
    problem, model = make_case(0, 10)
    with pytest.raises(ValueError, match="unknown check 'chi'"):
        run_panel(problem, model, key=jax.random.key(0), checks=["chi"])


def test_every_code_has_its_section():
    text = (Path(__file__).parents[2] / "docs" / "codes.md").read_text(encoding="utf-8")
    for code, title in CODES.items():
        assert f"## {code}: {title}\n" in text, code

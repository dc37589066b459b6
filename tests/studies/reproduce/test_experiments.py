"""What holds for every experiment and ablation of the registry, at every scale."""

import pytest

from dichroic.run import RunError
from dichroic.settings import preset
from dichroic.studies.reproduce import (
    GENERATORS,
    MEASURES,
    SCALES,
    ablation_names,
    experiment_names,
    load_ablation,
    load_experiment,
    method_named,
)

CELLS = [(name, scale) for name in experiment_names() for scale in SCALES]


@pytest.mark.parametrize("name, scale", CELLS, ids=[f"{name}-{scale}" for name, scale in CELLS])
def test_an_experiment_names_what_exists(name, scale):
    experiment = load_experiment(name, scale)
    assert experiment.generator in GENERATORS
    assert set(experiment.measures) <= set(MEASURES)
    assert all(set(row.numbers) <= set(MEASURES) for row in experiment.published)
    assert experiment.targets and (experiment.methods[0] == "dichroic" or experiment.priors)  # what needs a fit, fits
    for method in experiment.methods:  # settings are those of the method
        assert method_named(method, experiment.settings_of(method)).name == method
    unused = set(experiment.settings) - set(experiment.methods)
    assert all(method_named(method, experiment.settings_of(method)) for method in unused)


def test_scales_grow():
    for name in experiment_names():
        numbers = [load_experiment(name, scale).scoring.set_size for scale in SCALES]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", ablation_names())
def test_an_ablation_changes_settings_that_exist(name):
    ablation = load_ablation(name)
    for scale, experiment in ablation.experiment.items():
        base = load_experiment(experiment, scale)
        seen = []
        for row in ablation.rows:
            variant = base.changed(row.data, ablation.method, row.settings)
            assert set(variant.arguments) == set(base.arguments) | set(row.data)
            method = method_named(ablation.method, variant.settings_of(ablation.method))
            seen.append((method.settings, variant.arguments))
        if scale != "smoke":  # where everything is small already, rows may be equal
            assert all(seen[i] != seen[j] for i in range(len(seen)) for j in range(i)), "two rows are the same"


@pytest.mark.parametrize("name", ["ddprism", "ddprism-gibbs", "diem"])
def test_published_settings_reach_the_fit(name):
    sampling = {"inner": {"iterations": 2}} if name == "ddprism-gibbs" else {"iterations": 2}
    settings = method_named(name, {"sampling": sampling}).settings
    expected = preset(name, {"sampling": sampling}).model_dump(mode="json", exclude_none=True)
    assert settings == expected and settings["components"]["components"] == 1


def test_a_network_of_another_kind_takes_the_place_of_the_first():
    base = load_experiment("digits", "smoke")
    changed = base.changed({}, "dichroic", {"network": {"kind": "unet"}})
    assert changed.settings_of("dichroic")["network"] == {"kind": "unet"}
    assert changed.settings_of("dichroic")["laps"] == base.settings_of("dichroic")["laps"]


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda: load_experiment("contrastiv-2", "smoke"), "did you mean 'contrastive-2'"),
        (lambda: load_experiment("digits", "lap"), "there is no scale 'lap'"),
        (lambda: load_ablation("lap"), "there is no ablation 'lap'"),
        (lambda: method_named("wienr", {}), "did you mean 'wiener'"),
        (lambda: method_named("wiener", {"gama": 1}), "settings of 'wiener'"),
        (lambda: method_named("oracle-wiener", {"gamma": 1}), "has no settings"),
    ],
)
def test_what_is_wrong_is_said(call, said):
    with pytest.raises(RunError, match=said):
        call()

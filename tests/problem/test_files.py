"""Problem files: what they mean, and what is said about those that mean nothing."""

import jax.numpy as jnp
import numpy as np
import pytest

from dichroic.operators import BlockProject, Composition, Downsample, PerSample, take
from dichroic.problem import Problem, ProblemError, load_problem


def test_a_file_becomes_a_problem(folder):
    loaded = load_problem(folder / "problem.toml")
    problem = loaded.problem
    assert problem.title == "Spots over stripes"
    assert loaded.held_out == 0.25
    assert loaded.fit == {"laps": 8}
    assert loaded.path == folder / "problem.toml"
    assert loaded.frozen == {}
    assert problem.sources["spots"].unit == "counts"
    plain, mix = problem.views["plain"], problem.views["mix"]
    with np.load(folder / "data.npz") as data:
        np.testing.assert_array_equal(plain.y, data["plain"])
        np.testing.assert_array_equal(mix.y, np.where(data["mask"], data["mix"], 0))
        np.testing.assert_array_equal(mix.observed, data["mask"])
        np.testing.assert_allclose(mix.truth["spots"], 0.5 * data["spots"])
    assert isinstance(mix.mixing["stripes"], Downsample)
    spots = mix.mixing["spots"]
    assert isinstance(spots, Composition)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4, 1)), jnp.float32)
    for i, factor in enumerate([1, 2, 2, 1, 1, 2]):
        expected = Downsample(2, (4, 4, 1))(BlockProject(factor, (1, 2), (4, 4, 1))(0.5 * x))
        np.testing.assert_allclose(take(spots, i)(x), expected, rtol=1e-6)


def test_a_folder_stands_for_its_problem_file(folder):
    assert load_problem(folder).problem.fingerprint() == load_problem(folder / "problem.toml").problem.fingerprint()


def test_paths_are_relative_to_the_file(folder, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    load_problem(folder / "problem.toml")


def test_a_known_prior_is_described_with_its_arrays(folder, change):
    np.savez(folder / "atoms.npz", x=np.ones((2, 3)))
    path = change(("[sources.stripes]", "[sources.stripes]\nprior = { empirical = 'atoms.npz:x', weights = [1, 2] }"))
    frozen = load_problem(path).frozen["stripes"]
    np.testing.assert_array_equal(frozen["empirical"], np.ones((2, 3)))
    assert frozen["weights"] == [1, 2]
    path = change(("weights = [1, 2] }", "weights = 'atoms.npz:y' }"))
    with pytest.raises(ProblemError, match="prior: weights: no 'y' in"):
        load_problem(path)
    path = change(("{ empirical = 'atoms.npz:x', weights = 'atoms.npz:y' }", "3"))
    with pytest.raises(ProblemError, match="prior: expected a file, or a table"):
        load_problem(path)


def test_a_known_prior_is_a_path(folder, change):
    (folder / "stripes.safetensors").touch()
    path = change(("[sources.stripes]", "[sources.stripes]\nprior = 'stripes.safetensors'"))
    assert load_problem(path).frozen == {"stripes": folder / "stripes.safetensors"}
    path = change(("'stripes.safetensors'", "'strips.safetensors'"))
    with pytest.raises(ProblemError, match=r"source 'stripes': prior: no file .* did you mean 'stripes.safetensors'\?"):
        load_problem(path)


def test_the_fit_table_is_passed_on_unread(change):
    path = change(("laps = 8", "laps = 8\nwhatever = [1, 'a']\n[fit.network]\nwidth = 3"))
    assert load_problem(path).fit == {"laps": 8, "whatever": [1, "a"], "network": {"width": 3}}


# ---- the file itself


def test_no_such_file(folder):
    with pytest.raises(ProblemError, match=r"no problem file 'problm.toml' in .*; did you mean 'problem.toml'\?"):
        load_problem(folder / "problm.toml")


def test_no_such_folder(folder):
    with pytest.raises(ProblemError, match=r"there is no folder .*nowhere"):
        load_problem(folder / "nowhere" / "problem.toml")


def test_a_folder_without_a_problem(tmp_path):
    with pytest.raises(ProblemError, match=r"no problem file 'problem.toml' in .*; found there: none"):
        load_problem(tmp_path)


@pytest.mark.parametrize("text", ["[sources", "a = \n", "y = 1\ny = 2"])
def test_invalid_toml(tmp_path, text):
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ProblemError, match=r"'p.toml' is not valid TOML: "):
        load_problem(path)


def test_binary_instead_of_text(tmp_path):
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xd8\x00\x81")
    with pytest.raises(ProblemError, match=r"'p.toml' is not UTF-8, at byte 0"):
        load_problem(path)


def test_an_empty_file_lacks_everything(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text("")
    with pytest.raises(ProblemError) as caught:
        load_problem(path)
    assert caught.value.faults == ["'sources' is missing", "'views' is missing"]


# ---- keys and types

SPOTS_TABLE = '[sources.spots]\nshape = [4, 4, 1]\nunit = "counts"'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title", "titel", r"^unknown key 'titel'; known: 'title', .*; did you mean 'title'\?"),
        ("[fit]", "[fitt]", r"unknown key 'fitt'; .*did you mean 'fit'\?"),
        ("held_out = 0.25", "heldout = 0.25", r"unknown key 'heldout'; .*did you mean 'held_out'\?"),
        ('unit = "counts"', 'units = "counts"', r"source 'spots': unknown key 'units'; .*did you mean 'unit'\?"),
        ("noise = 0.1", "nois = 0.1", r"view 'plain': 'noise' is missing"),
        ("noise = 0.1", "noise = 0.1\nmask = 1", r"view 'plain': unknown key 'mask'; known: 'y', "),
        ("observed =", "observd =", r"view 'mix': unknown key 'observd'; .*did you mean 'observed'\?"),
        ('title = "Spots over stripes"', "title = 3", r"^title: expected a string, got 3"),
        ("[fit]\nlaps = 8", "", None),
        (SPOTS_TABLE, "[sources.spots]\nshape = 4", r"source 'spots': shape: expected a list, got 4"),
        (SPOTS_TABLE, "[sources.spots]\nshape = [4.5]", r"source 'spots': shape.0: expected a whole number, got 4\.5"),
        (SPOTS_TABLE, "[sources.spots]\nshape = ['4']", r"source 'spots': shape.0: .*, got '4'"),
        (SPOTS_TABLE, "[sources.spots]\nshape = []", r"source 'spots': shape: .*at least 1 item.*, got \[\]"),
        (SPOTS_TABLE, "[sources.spots]\nshape = [4, 0]", r"source 'spots': Source: .*got \(4, 0\)"),
        (SPOTS_TABLE, "[sources.spots]\nshape = [-4]", r"source 'spots': Source: .*got \(-4,\)"),
        (SPOTS_TABLE, "[sources.spots]\nunit = 'm'", r"source 'spots': 'shape' is missing"),
        ("[views.plain.mixing]\nstripes = 1.0", "mixing = 1.0", r"view 'plain': mixing: expected a table, got 1.0"),
        ("[views.plain.mixing]\nstripes = 1.0", "", r"view 'plain': 'mixing' is missing"),
        ("[views.plain.mixing]\nstripes = 1.0", "mixing = {}", r"view 'plain': no source enters it"),
        ("[views.plain.mixing]\nstripes", "[views.plain.mixing]\nstripe", r"view 'plain': unknown source 'stripe' .*"),
        ("truth.spots", "truth.spot", r"view 'mix': truth of source 'spot': unknown source; .*did you mean 'spots'\?"),
    ],
)
def test_keys_and_types(change, old, new, message):
    path = change((old, new))
    if message is None:
        load_problem(path)
    else:
        with pytest.raises(ProblemError, match=message):
            load_problem(path)


def test_an_unknown_source_suggests_the_known_ones(change):
    path = change(("[views.plain.mixing]\nstripes", "[views.plain.mixing]\nstrips"))
    expected = "view 'plain': unknown source 'strips' in its mixing; known: 'stripes', 'spots'; did you mean 'stripes'?"
    with pytest.raises(ProblemError) as caught:
        load_problem(path)
    assert caught.value.faults == [expected]


def test_a_source_that_enters_no_view(change):
    path = change(("[sources.spots]", "[sources.idle]\nshape = [3]\n[sources.spots]"))
    with pytest.raises(ProblemError, match="source 'idle' enters no view"):
        load_problem(path)


def test_every_fault_is_reported_at_once(change):
    path = change(
        ("noise = 0.1", "noise = -0.1"),
        ("data.npz:mask", "data.npz:musk"),
        ("{ downsample = 2 }\nspots", "{ downsmaple = 2 }\nspots"),
        ("factors = [1, 2]", "factors = 2"),
    )
    with pytest.raises(ProblemError) as caught:
        load_problem(path)
    faults = caught.value.faults
    assert len(faults) == 4
    assert faults[0].startswith("view 'mix': observed: no 'musk' in 'data.npz'")
    assert faults[1].startswith("view 'mix': source 'stripes': unknown operator 'downsmaple'")
    assert faults[1].endswith("did you mean 'downsample'?")
    assert "step 2: block_project: factors: expected" in faults[2]
    assert faults[3] == "view 'plain': noise must be positive and finite, got -0.1"
    assert str(caught.value).count("\n- ") == 3


# ---- data that is held out


@pytest.mark.parametrize("value", ["0.0", "1.0", "2", "-0.5", "true", "[0.1]", "nan"])
def test_a_fraction_lies_between_zero_and_one(change, value):
    path = change(("held_out = 0.25", f"held_out = {value}"))
    with pytest.raises(ProblemError, match="held_out: expected a fraction between 0 and 1, or a problem file, got"):
        load_problem(path)


def test_a_single_observation_cannot_be_held_out(folder, change):
    np.save(folder / "one.npy", np.zeros((1, 4, 4, 1)))
    path = change(("data.npz:plain", "one.npy"))
    with pytest.raises(ProblemError, match="held_out: view 'plain' has one observation"):
        load_problem(path)


def _held_out_file(folder, text_changes=(), drop=("held_out = 0.25\n", "[fit]\nlaps = 8\n")):
    text = (folder / "problem.toml").read_text()
    for piece in drop:
        text = text.replace(piece, "")
    for old, new in text_changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "held_out.toml").write_text(text)


def test_held_out_data_from_another_file(folder, change):
    _held_out_file(folder)
    loaded = load_problem(change(("held_out = 0.25", 'held_out = "held_out.toml"')))
    assert isinstance(loaded.held_out, Problem)
    assert loaded.held_out.fingerprint() == loaded.problem.fingerprint()


DOTS = [("[sources.spots]", "[sources.dots]"), ("truth.spots", "truth.dots"), ("\nspots = ", "\ndots = ")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (DOTS, r"held_out 'held_out.toml': expected the sources of the problem, 'stripes', 'spots', got"),
        ([("[views.plain", "[views.bare")], r"expected the views of the problem, 'plain', 'mix', got 'bare', 'mix'"),
        (
            [("data.npz:plain", "data.npz:plane")],
            r"held_out 'held_out.toml': view 'plain': y: no 'plane' in 'data.npz'",
        ),
        ([("title", "titel")], r"held_out 'held_out.toml': unknown key 'titel'"),
    ],
)
def test_held_out_data_that_does_not_belong(folder, change, changes, message):
    _held_out_file(folder, changes)
    path = change(("held_out = 0.25", 'held_out = "held_out.toml"'))
    with pytest.raises(ProblemError, match=message):
        load_problem(path)


def test_held_out_views_have_the_same_shape(folder, change):
    np.save(folder / "other.npy", np.zeros((3, 2, 2, 1)))
    _held_out_file(folder, [("data.npz:plain", "other.npy"), ("stripes = 1.0", "stripes = { downsample = 2 }")])
    path = change(("held_out = 0.25", 'held_out = "held_out.toml"'))
    expected = r"view 'plain': expected real observations of shape \(4, 4, 1\) of 'stripes' as in the problem, got real"
    with pytest.raises(ProblemError, match=expected):
        load_problem(path)


def test_held_out_data_has_no_held_out_data(folder, change):
    path = change(("held_out = 0.25", 'held_out = "problem.toml"'))
    with pytest.raises(
        ProblemError, match=r"held_out 'problem.toml': data that is held out has no held_out of its own"
    ):
        load_problem(path)
    _held_out_file(folder, drop=('held_out = "problem.toml"\n',))
    path = change(('held_out = "problem.toml"', 'held_out = "held_out.toml"'))
    with pytest.raises(ProblemError, match=r"has no \[fit\] of its own"):
        load_problem(path)


def test_a_held_out_file_that_is_not_there(change):
    path = change(("held_out = 0.25", 'held_out = "prblem.toml"'))
    with pytest.raises(ProblemError, match=r"held_out 'prblem.toml': no problem file .*did you mean 'problem.toml'"):
        load_problem(path)


def test_same_file_in_any_order_of_reading(folder):
    first, second = load_problem(folder), load_problem(folder)
    assert first.problem.fingerprint() == second.problem.fingerprint()
    kept, held = first.problem.split(0.25, seed=1)
    assert {name: len(v) for name, v in held.views.items()} == {"plain": 2, "mix": 2}
    assert {name: len(v) for name, v in kept.views.items()} == {"plain": 6, "mix": 4}
    assert isinstance(held.views["mix"].noise, PerSample)

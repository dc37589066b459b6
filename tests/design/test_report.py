"""Identifiability of designs, against dense matrices, closed forms, and the table of the method."""

import numpy as np
import pytest

from design_cases import CASES, dense_information, problem_of
from dichroic import Dense, Mask, PerSample, Problem, Source, View
from dichroic.design.design_views import DesignView
from dichroic.design.pairs import choose_entries
from dichroic.design.report import check_design
from dichroic.design.weighted_view import WeightedView
from dichroic.operators import BlockProject, take
from dichroic.studies.experiments import differing, mixed
from operator_cases import PER_SAMPLE


def unit_rows(rng, *shape):
    A = rng.normal(size=shape)
    return A / np.linalg.norm(A, axis=-1, keepdims=True)


def table_views(kind, f, n, rng):
    """A design of the table: two views, two sources of five numbers, of which three random rows are seen."""
    views = {}
    for v in range(2):
        if kind == "independent":
            A = list(unit_rows(rng, n, 2, 3, 5).swapaxes(0, 1))
        else:
            A = [unit_rows(rng, n, 3, 5)] * 2
        amplitudes = [1.0, float(v)] if kind == "contrastive" else [1.0 if v == s else f for s in range(2)]
        views[f"v{v}"] = {f"s{s}": PerSample(Dense(a * A[s])) for s, a in enumerate(amplitudes) if a}
    return views


# design, amplitude of the other source, condition of the means and of the covariances
TABLE = [
    ("contrastive", 0.0, 2.7, 3.8),
    ("shared", 0.5, 3.1, 2.5),
    ("shared", 0.9, 19, 14),
    ("shared", 0.99, 204, 146),
    ("shared", 1.0, np.inf, np.inf),
    ("independent", 1.0, 1.04, 2.4),
]


def script_spectrum(views):
    """Both conditions as the script of the table computes them, which knows neither noise nor units."""
    pairs = [(i, j) for i in range(5) for j in range(i, 5)]
    basis = np.zeros((15, 5, 5))
    for E, (i, j) in zip(basis, pairs, strict=True):
        E[i, j] = E[j, i] = 1 if i == j else np.sqrt(0.5)
    G, H = np.zeros((10, 10)), np.zeros((30, 30))
    for mixing in views.values():
        n = len(next(iter(mixing.values())))
        A = np.stack(
            [np.asarray(mixing[s].value.matrix) if s in mixing else np.zeros((n, 3, 5)) for s in ("s0", "s1")], 1
        )
        M = A.transpose(0, 2, 1, 3).reshape(n, 3, 10)
        G += np.einsum("nia,nib->ab", M, M) / n
        T = np.einsum("nsia,kab,nsjb->nskij", A, basis, A, optimize=True).reshape(n, 30, 9)
        H += np.einsum("nax,nbx->ab", T, T, optimize=True) / n
    return [np.sqrt(w[-1] / w[0]) for w in (np.linalg.eigvalsh(G), np.linalg.eigvalsh(H))]


@pytest.mark.parametrize(("kind", "f", "means", "covariances"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_the_table_of_the_method(kind, f, means, covariances):
    views = table_views(kind, f, 4096, np.random.default_rng(0))
    report = check_design(problem_of((5,), views, n=4096, event=(3,)), contraction=False)
    if f == 1 and kind == "shared":
        assert report.means.condition == report.covariances.condition == np.inf
        assert (report.means.null, report.means.trade_offs) == (5, 5)
        assert (report.covariances.null, report.covariances.trade_offs) == (15, 15)
        return
    found = report.means.condition, report.covariances.condition
    assert found == pytest.approx(script_spectrum(views), rel=1e-6)
    # the table's own draws are others, and 4,096 of them leave some per cent
    assert found == pytest.approx((means, covariances), rel=0.06)


@pytest.mark.parametrize("f", [0.0, 0.3, 0.9, -0.5, 2.0])
def test_scalar_mixing_has_a_closed_form(f):
    views = {"a": {"x": 1.0, "z": f}, "b": {"x": f, "z": 1.0}} if f else {"a": {"x": 1.0}, "b": {"z": 1.0}}
    report = check_design(problem_of((4, 3), views))
    g = abs(f) if abs(f) <= 1 else 1 / abs(f)
    assert report.means.condition == pytest.approx((1 + g) / (1 - g))
    assert report.covariances.condition == pytest.approx((1 + g**2) / (1 - g**2))
    assert report.identified


def test_the_units_and_the_noise_of_a_view_do_not_matter():
    views = {"a": {"x": 1.0}, "b": {"x": 1.0, "z": 0.5}}
    other = {"a": {"x": 1e6}, "b": {"x": 1e6, "z": 1e-3}}
    for mixing, noise in ((views, 0.1), (other, 30.0)):
        report = check_design(problem_of((5,), mixing, noise=noise))
        assert report.means.condition == pytest.approx((3 + np.sqrt(5)) / 2)
    problem = problem_of((5,), views)
    loud = View(problem.views["b"].y, views["b"], 1e3)
    again = check_design(Problem(problem.sources, {"a": problem.views["a"], "b": loud}))
    assert again.means.condition == pytest.approx((3 + np.sqrt(5)) / 2)


@pytest.mark.parametrize("name", CASES)
def test_every_route_agrees_with_dense_matrices(name):
    shape, views, options, route = CASES[name]
    problem = problem_of(shape, views, **options)
    G, at = dense_information(problem)
    values = np.linalg.eigvalsh(G)
    floor = 1e-12 * values[-1]
    null = int((values < floor).sum())
    report = check_design(problem)
    assert report.means.route == route
    assert report.means.unknowns == len(G)
    assert report.means.null == null
    assert report.means.largest == pytest.approx(values[-1])
    assert report.means.condition == (np.inf if null else pytest.approx(np.sqrt(values[-1] / values[0])))
    assert report.means.condition_rest == pytest.approx(np.sqrt(values[-1] / values[null]))
    for s, a in at.items():
        assert report.means.unseen[s] == (np.linalg.eigvalsh(G[a, a]) < floor).sum()
        np.testing.assert_array_equal(report.means.dead[s].ravel(), np.diag(G)[a] < floor)
    stood_for = sum(direction.count for direction in report.means.directions if direction.information == 0)
    assert stood_for == null
    for direction in report.means.directions:
        v = np.concatenate([np.ravel(direction.pattern.get(s, np.zeros(shape))) for s in at])
        assert np.linalg.norm(v) == pytest.approx(1)
        assert v @ G @ v == pytest.approx(direction.information**2 * values[-1], abs=1e-9 * values[-1])


def test_every_route_has_a_case():
    routes = {"scalar", "entry by entry", "frequency by frequency", "block level by block level", "dense"}
    assert {case[3] for case in CASES.values()} == routes


@pytest.mark.parametrize(
    "name",
    [
        "complex scale",
        "block_project",
        "fourier_sample",
        "parameters",
        "shared after per sample",
        "shared plus per sample",
    ],
)
def test_both_kinds_of_views_agree(name):
    """Peeling factors off an operator, and averaging them, against going through the observations."""
    rng = np.random.default_rng(5)
    operator, one = PER_SAMPLE[name], take(PER_SAMPLE[name], 0)
    shape, event = tuple(one.in_shape), tuple(one.out_shape)
    std, observed = PerSample(rng.uniform(0.5, 2, size=(5, *event))), rng.random((5, *event)) < 0.8
    view = View(np.zeros((5, *event), one.out_struct.dtype), {"x": operator}, std, observed).bind({"x": shape})
    sampled, weighted = DesignView("v", view, {"x": shape}, 0), WeightedView.of("v", view, {"x": shape}, 0)
    G = sampled.gram()
    assert weighted.noise == pytest.approx(sampled.noise)
    np.testing.assert_allclose(weighted.gram(), G, atol=1e-10)
    x = rng.normal(size=(2, *shape))
    flat = x.reshape(2, -1).T
    every = {"x": np.arange(len(flat))}
    one_by_one = np.concatenate(list(sampled.grams(every, 5)))[np.argsort(sampled.order)]
    order = np.concatenate([np.sort(members) for members, _ in weighted.groups])
    np.testing.assert_allclose(
        np.concatenate(list(weighted.grams(every, 5)))[np.argsort(order)], one_by_one, atol=1e-10
    )
    for v in (weighted, sampled):
        np.testing.assert_allclose(v.product({"x": x})["x"].reshape(2, -1).T, G @ flat, atol=1e-10)
        np.testing.assert_allclose(v.single(3, {"x": x})["x"].reshape(2, -1).T, one_by_one[3] @ flat, atol=1e-10)


def test_sum_and_difference_determine_means_but_not_covariances():
    report = check_design(problem_of((3,), {"a": {"x": 1.0, "z": 1.0}, "b": {"x": 1.0, "z": -1.0}}))
    assert report.means.condition == pytest.approx(1)
    assert report.covariances.trade_offs == 6
    assert not report.identified
    assert next((f.level, f.code) for f in report.findings()) == ("red", "DC115")


def test_pixels_that_are_never_seen_together():
    """Each observation shows one of two halves: all means are seen, the covariance between the halves is not."""
    seen = np.zeros((6, 4), bool)
    seen[:3, :2] = seen[3:, 2:] = True
    report = check_design(problem_of((4,), {"a": {"x": 1.0}}, observed=seen))
    assert report.means.condition == pytest.approx(1)
    assert dict(report.covariances.unseen) == {"x": 4}
    assert report.identified
    assert next((f.level, f.code) for f in report.findings()) == ("amber", "DC116")


def test_entries_for_the_covariances():
    found = choose_entries({"x": (28, 28, 1), "z": (28, 28, 1), "w": (5,)}, 0)
    np.testing.assert_array_equal(found["x"], found["z"])
    np.testing.assert_array_equal(found["w"], np.arange(5))
    assert len(set(found["x"])) == len(found["x"]) == 16
    assert {1, 28} <= set(np.diff(found["x"])) | set(found["x"][2:] - found["x"][:-2])


def test_more_observations_are_looked_at_before_a_null_space_is_believed(monkeypatch):
    """Each observation has a kernel of its own and sees one entry; eight of them leave most entries unseen."""
    monkeypatch.setattr("dichroic.design.design_views.FLOPS", 1.0)
    A = np.zeros((64, 1, 16))
    A[np.arange(64), 0, np.arange(64) % 16] = 1
    report = check_design(problem_of((16,), {"a": {"x": PerSample(Dense(A))}}, n=64, event=(1,)), contraction=False)
    assert report.means.null == 0
    assert report.observations["a"][1] > 8


def test_known_sources_are_not_unknowns():
    problem = problem_of((3,), {"a": {"x": 1.0, "z": 1.0}})
    assert check_design(problem).means.trade_offs == 3
    report = check_design(problem, known=["z"])
    assert report.identified
    assert set(report.shapes) == {"x"}
    assert check_design(problem, known=["x", "z"]) is None


def test_views_of_known_sources_say_nothing():
    problem = problem_of((3,), {"a": {"x": 1.0, "z": 1.0}, "b": {"z": 1.0}})
    assert set(check_design(problem, known=["z"]).observations) == {"a"}


class TestDirections:
    def test_dead(self):
        seen = np.ones((6, 4, 6), bool)
        seen[:, 1, 2] = seen[:, 3, 5] = False
        report = check_design(problem_of((4, 6), {"a": {"x": 1.0}, "b": {"x": 1.0, "z": 1.0}}, observed=seen))
        assert [(d.kind, d.count) for d in report.means.directions if d.information == 0] == [("dead", 2), ("dead", 2)]
        assert np.argwhere(report.means.dead["z"]).tolist() == [[1, 2], [3, 5]]
        (first, second, *_) = report.findings()
        assert (first.level, first.code, first.where) == ("red", "DC111", "source 'x'")
        assert first.text.startswith("2 of 24 entries of 'x' are in no observation; to mend it, add a view")
        assert second.where == "source 'z'"

    def test_flat(self):
        block = BlockProject(2, (2,), (4, 6))
        (finding, *_) = check_design(problem_of((4, 6), {"a": {"x": block}})).findings()
        assert (finding.level, finding.code) == ("amber", "DC112")
        assert finding.text.startswith("18 of 24 patterns of 'x' leave all data unchanged, such as fine detail")
        assert "as the telescope sees it" in finding.text and "narrower blur" not in finding.text
        assert check_design(problem_of((4, 6), {"a": {"x": block}})).identified

    def test_trade_off(self):
        report = check_design(problem_of((4, 6), {"a": {"x": 1.0, "z": 1.0}}))
        (finding, *_) = report.findings()
        assert (finding.level, finding.code, finding.where) == ("red", "DC113", "sources 'x' and 'z'")
        text = "24 patterns can move from 'z' to 'x' without changing any data, such as a constant level"
        assert finding.text.startswith(text)
        (direction,) = (d for d in report.means.directions if d.information == 0)
        np.testing.assert_allclose(direction.pattern["x"], -direction.pattern["z"])
        assert report.with_view["z"] == pytest.approx((3 + np.sqrt(5)) / 2)
        assert "the condition would be 2.6" in report.fixes[0]

    def test_trade_off_in_a_part_of_the_picture(self):
        where = np.zeros((4, 6))
        where[:2] = 1
        views = {"a": {"x": 1.0, "z": 1.0}, "b": {"z": Mask(where)}}
        (direction,) = (d for d in check_design(problem_of((4, 6), views)).means.directions if d.information == 0)
        assert direction.count == 12
        assert np.all(direction.pattern["x"][:2] == 0)
        np.testing.assert_allclose(direction.pattern["x"][2:], np.sqrt(1 / 24))
        np.testing.assert_allclose(direction.pattern["z"], -direction.pattern["x"], atol=1e-12)

    def test_the_constant_that_blurs_do_not_tell_apart(self):
        """Two sources, seen blurred by different kernels of unit sum: only their levels can be exchanged."""
        from dichroic import Convolve

        narrow, wide = np.array([0.25, 0.5, 0.25]), np.array([0.3, 0.4, 0.3])
        views = {
            "a": {"x": 1.0, "z": Convolve(narrow, (9,), "wrap")},
            "b": {"x": 1.0, "z": Convolve(wide, (9,), "wrap")},
        }
        report = check_design(problem_of((9,), views))
        assert (report.means.null, report.means.trade_offs) == (1, 1)
        assert "one pattern can move from 'z' to 'x'" in report.findings()[0].text
        assert "such as a constant level" in report.findings()[0].text


class TestContraction:
    def test_closed_form(self):
        """One source seen directly: 1 - P / v = v / (v + noise^2); and two sources of the same size."""
        rng = np.random.default_rng(0)
        y = rng.normal(size=(4000, 3))
        alone = Problem({"x": Source((3,))}, {"a": View(y, {"x": 1.0}, 0.5)})
        v = y.var(0, ddof=1).mean() - 0.25
        chosen = check_design(alone).contraction["a"]["x"]
        assert chosen == pytest.approx(v / (v + 0.25), rel=0.05)
        both = Problem({"x": Source((3,)), "z": Source((3,))}, {"a": View(y, {"x": 1.0, "z": 1.0}, 0.5)})
        shares = check_design(both).contraction["a"]
        assert shares["x"] == pytest.approx(shares["z"])
        assert shares["x"] == pytest.approx(chosen / 2, rel=0.05)

    def test_without_matrices(self, monkeypatch):
        """Conjugate gradients and random signs against exact traces."""
        problem = problem_of((12, 12), {"a": {"x": 1.0, "z": _blur()}, "b": {"z": 1.0}})
        exact = check_design(problem).contraction
        monkeypatch.setattr("dichroic.design.contraction.DENSE", 0)
        estimated = check_design(problem).contraction
        for view, shares in exact.items():
            assert estimated[view] == pytest.approx(shares, abs=0.05)

    def test_noise_of_several_sizes(self):
        """Observations of two kinds of entries, one all noise: it tells nothing about the size of the source."""
        rng, std = np.random.default_rng(0), np.array([0.1, 0.1, 30.0])
        y = rng.normal(size=(256, 3)) + std * rng.normal(size=(256, 3))
        shares = check_design(Problem({"x": Source((3,))}, {"a": View(y, {"x": 1.0}, std)})).contraction
        assert shares["a"]["x"] == pytest.approx(np.mean(1 / (1 + std**2)), abs=0.01)

    def test_data_that_does_not_vary(self):
        problem = Problem({"x": Source((3,))}, {"a": View(np.zeros((9, 3)), {"x": 1.0}, 1.0)})
        assert check_design(problem).contraction == {}


def _blur():
    from dichroic import Convolve

    return Convolve(np.ones((3, 3)) / 9, (12, 12))


def test_manifolds_are_the_harder_to_learn_the_more_alike_the_views_are():
    """The designs of `benchmarks/sweep.py`, where the separation after training fails from f = 0.9 on."""
    reports = [check_design(mixed(1024, f)[0]) for f in (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)]
    means, covariances, errors = zip(
        *((r.means.condition, r.covariances.condition, r.mean_error) for r in reports), strict=True
    )
    assert list(means) == sorted(means) and np.isinf(means[-1])
    assert list(covariances) == sorted(covariances) and np.isinf(covariances[-1])
    assert list(errors) == sorted(errors) and np.isinf(errors[-1])
    assert [r.findings()[0].level for r in reports] == ["green", "green", "green", "amber", "amber", "red"]
    own = check_design(differing(1024)[0])
    assert own.findings()[0].level == "green"
    assert max(own.means.condition, own.covariances.condition) < means[2]


def test_the_error_of_the_means_is_that_of_least_squares(rng):
    n, f, sd, noise = 512, 0.8, 3.0, 0.1
    mixing = table_views("shared", f, n, rng)
    matrices = {v: np.concatenate([np.asarray(A.value.matrix) for A in row.values()], 2) for v, row in mixing.items()}
    M = np.concatenate([A.reshape(-1, 10) for A in matrices.values()])

    def observe():
        x = {v: sd * rng.normal(size=(n, 10)) for v in matrices}
        return {v: np.einsum("nij,nj->ni", A, x[v]) + noise * rng.normal(size=(n, 3)) for v, A in matrices.items()}

    estimates = [np.linalg.lstsq(M, np.concatenate([y.ravel() for y in observe().values()]))[0] for _ in range(200)]
    worst = np.linalg.eigh(M.T @ M)[1][:, 0]
    found = np.std(np.stack(estimates) @ worst) / sd
    views = {v: View(y, mixing[v], noise) for v, y in observe().items()}
    problem = Problem({s: Source((5,)) for s in ("s0", "s1")}, views)
    report = check_design(problem)
    assert report is not None
    # a bound, for the scatter of the data is not the same along all patterns; and 200 estimates
    assert found < report.mean_error * 1.2 < 1.5 * found
    assert [finding.code for finding in report.findings()] == ["DC119", "DC114"] and report.mean_error > 0.25
    assert np.isnan(check_design(problem, contraction=False).mean_error)

"""Stretches of brightness: what is stored, and what the filters of the page make of it."""

import re

import numpy as np

from dichroic.report.pictures import to_rgba
from dichroic.report.stretch import Scale


def tables(scale):
    found = re.findall(r'<filter id="\w+-(\w+)".*?<feFuncR type="table" tableValues="([^"]*)"', scale.filters())
    return {name: np.asarray(table.split(), float) for name, table in found}


def through(table, stored):
    return np.interp(stored, np.linspace(0, 1, len(table)), table)


def test_filters_make_the_other_stretches_of_the_stored_one():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 64))
    x[30:34, 30:36] += rng.uniform(100, 1e3, (4, 6))
    scale = Scale.of(x)
    assert scale.soft > 0 and set(tables(scale)) == {"linear", "ranks"}
    stored = to_rgba(x, scale.limits, soft=scale.soft)[..., 0] / 255
    linear = to_rgba(x, scale.limits)[..., 0] / 255
    assert np.abs(through(tables(scale)["linear"], stored) - linear).max() < 0.03
    ranks = through(tables(scale)["ranks"], stored).ravel()
    order = np.argsort(x, axis=None)
    # a stored level is 0.08 of a standard deviation wide, 3 % of the ranks, an entry of the table eight of them
    assert np.abs(ranks[order] - np.linspace(0, 1, x.size))[100:-100].max() < 0.07
    even = Scale.of(rng.uniform(size=(32, 32)))
    assert even.soft == 0 and set(tables(even)) == {"asinh", "ranks"} and even.key != scale.key
    assert Scale((0.0, 1.0), "magma").filters() == "" == Scale((0.0, 1.0), "magma").key

"""Fast posteriors of a run: trained, judged, kept, and used only where they may stand in."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from dichroic.diagnose import Budget
from dichroic.posterior import Fast
from dichroic.run import RunError, separate
from dichroic.run.distillation import distill_posterior

METHOD = Fast(pair_steps=8, pair_batch=16, pair_width=8, evaluations=2)


@pytest.fixture
def finished(finished):
    """As others find it afterwards."""
    yield finished
    shutil.rmtree(finished.path / "fast", ignore_errors=True)


@pytest.mark.slow
def test_a_fast_posterior_is_used_where_it_was_accepted(finished):
    with pytest.raises(RunError, match=r"distill .* --posterior"):
        finished.separate(draws=1, sampling=Fast())
    found = distill_posterior(finished, "both", METHOD, budget=Budget(prior=64, sbc=(64, 3)))
    assert finished.folder.fast_posteriors()["both"].refused == found.refused is not None
    slow = finished.separate(draws=1)

    def drawn(refused):
        replace(found, refused=refused).save(finished.folder.fast_posterior_file("both"))
        return finished.separate(draws=1, sampling=Fast())

    accepted = drawn(())
    assert not np.array_equal(accepted.samples["both"]["star"], slow.samples["both"]["star"])
    with pytest.warns(UserWarning, match="'both': its fast posterior is not used: sbc, star: spread 1.3"):
        refused = drawn(("sbc, star: spread 1.3, expected 1",))
    for view, sources in slow.samples.items():
        for source, x in sources.items():
            np.testing.assert_array_equal(refused.samples[view][source], x)
    np.testing.assert_array_equal(accepted.samples["empty"]["sky"], slow.samples["empty"]["sky"])


def test_what_cannot_be_distilled(finished, getkey):
    with pytest.raises(RunError, match=r"no view 'bot'; .* did you mean 'both'"):
        distill_posterior(finished, "bot", METHOD)
    with pytest.raises(RunError, match="distilled for a run"):
        separate(finished.problem, finished.priors, key=getkey(), sampling=Fast())

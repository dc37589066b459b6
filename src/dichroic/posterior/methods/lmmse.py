"""The best linear estimate, from the means and covariances of the priors."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from dichroic.algebra import Components
from dichroic.closed.routes import bind_dense
from dichroic.operators import DiagonalNoise
from dichroic.posterior.closed_form import Exact
from dichroic.posterior.method import Bound, Method, Task

__all__ = ["LMMSE"]

_MOST = 1e12  # floating-point operations of all observations
_RIDGE = 3e-5  # of the data's power, the root: noise that stands for none, so that systems have a solution


class LMMSE(Method):
    r"""What the posterior mean would be if every source were a Gaussian of its mean and covariance,

    .. math:: \hat x_s = \mu_s + C_s A_s^* \Big(\Sigma + \sum_r A_r C_r A_r^*\Big)^{-1}
        \Big(y - \sum_r A_r \mu_r\Big) .

    No linear estimate has a smaller squared error. Complex numbers are real pairs, so that it is the *widely* linear
    one: where letters are real (BPSK), it knows that they are.
    """

    returns: ClassVar[Literal["draws", "estimate"]] = "estimate"
    takes_exact: ClassVar[bool] = True

    kind: Literal["lmmse"] = "lmmse"

    def attach(self, task: Task) -> Bound:
        known = {}
        for s, prior in task.priors.items():
            if (moments := prior.moments()) is None:
                raise ValueError(
                    f"method {self.kind!r} needs covariances; the prior of source {s!r} does not say its own"
                )
            known[s] = Components(np.ones(1), moments[0][None], moments[1][None])
        view = task.view
        if task.exact:
            level = _RIDGE * float(np.sqrt(np.mean(np.abs(view.y) ** 2))) or _RIDGE
            view = replace(view, noise=DiagonalNoise(level))
        route = bind_dense(view, {s: prior.shape for s, prior in task.priors.items()}, _MOST)
        if route is None:
            raise ValueError(f"method {self.kind!r}: {view.data_size} values per observation are too many for it")
        return Exact(self, replace(task, view=view), route, known, central=True)

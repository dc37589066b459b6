"""Parameters of an instrument that are not known, or not exactly."""

from typing import Any

import equinox as eqx
import numpy as np

__all__ = ["LEARN", "Unknown"]

LEARN = "learn"  # reserved in problem files: names of files have a suffix


class Unknown(eqx.Module):
    r"""A number of an instrument, :math:`\theta \sim \mathcal N(\mathtt{value}, \mathtt{std}^2)`.

    It stands for a parameter of an operator, for an amplitude, or for the noise of a view. With an infinite `std`
    nothing but the data say what it is, and it is to be learned from all observations together; `value` is then where
    learning begins, and says which of several equal answers is meant. In a `PerSample` every observation has its own.

    **Arguments:** `value`, a number or an array, for noise whatever noise can be; None for 1, for noise the spread of
    the data; `std`, one number, or one for every entry of the value.

    >>> from dichroic import Source, View
    >>> import numpy as np
    >>> view = View(np.zeros((4, 3)), {"star": Unknown(1.0, 0.1)}, noise=Unknown(0.2))
    >>> sorted(view.unknowns)
    ['mixing.star', 'noise']
    """

    value: Any = None
    std: Any = np.inf

"""How sure a share of errors is."""

from scipy.special import betaincinv

from dichroic.metrics.bootstrap import Interval

__all__ = ["binomial_interval"]


def binomial_interval(errors: int, trials: int, level: float = 0.95) -> Interval:
    """The share of errors in independent trials, with its interval of Clopper and Pearson (1934), which covers at least
    as often as it says, and is not empty where there is no error at all.

    >>> low, share, high = binomial_interval(0, 1000)
    >>> low, share, round(high, 5)
    (0.0, 0.0, 0.00368)
    """
    if not 0 <= errors <= trials or trials < 1:
        raise ValueError(f"binomial_interval: expected errors among trials, got {errors} of {trials}")
    tail = (1 - level) / 2
    low = float(betaincinv(errors, trials - errors + 1, tail)) if errors else 0.0
    high = float(betaincinv(errors + 1, trials - errors, 1 - tail)) if errors < trials else 1.0
    return Interval(low, errors / trials, high)

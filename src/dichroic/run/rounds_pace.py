"""How much of learning by the law of the mixtures is done, in time."""

__all__ = ["RoundsPace"]

# seconds in those of the first training, on two cores: of images and of series, of 784 and of 256 numbers
_BEGIN = {"first estimate": 1.0, "estimates": 0.3}
_ROUND = {"critic": 0.8, "flow of the pool": 1.0, "pairs": 0.6, "conditional denoiser": 1.8, "draws": 0.9}
_END = {"judgement": 1.3, "prior": 1.5}
_HELD_OUT = 0.7  # of as many draws of held-out observations as there are in the pool


class RoundsPace:
    """Shares of the time of the rounds and of the separation after them.

    **Arguments:** `rounds`, in all; `separated`, draws of held-out observations in the end, in those of the pool.
    """

    def __init__(self, rounds: int, separated: float = 0.0):
        self.rounds = rounds
        self.total = sum(_BEGIN.values()) + rounds * sum(_ROUND.values()) + sum(_END.values()) + _HELD_OUT * separated

    def done(self, what: str, part: float, made: int | None = None) -> float:
        """The share that is done, the separation not begun.

        **Arguments:** `what` is being done, and the `part` of it that is over; `made`, rounds, None before the first.
        """
        over = 0.0 if made is None else sum(_BEGIN.values()) + made * sum(_ROUND.values())
        phases = next(phases for phases in (_BEGIN, _ROUND, _END) if what in phases)
        before = list(phases)[: list(phases).index(what)]
        return (over + sum(phases[phase] for phase in before) + part * phases[what]) / self.total

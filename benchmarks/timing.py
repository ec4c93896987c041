"""Fair timing on noisy machines: rivals take turns, and only ratios of neighbours in time are reported."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def interleave(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time functions in turn: all of them once in each round, after a round that is not timed.

    Args:
        functions: what to time, by name; each call does the same work.
        repeats: timed rounds.

    Returns:
        Seconds of each function in each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_number in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio_summary(rival: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of the rounds' ratios rival / ours: above one, ours is faster."""
    ratios = [theirs / our for theirs, our in zip(rival, ours, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
    }

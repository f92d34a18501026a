"""Compact formats of numbers, of similar length for all magnitudes."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"


def figure(value: float) -> str:
    """Format a number with four decimals or fewer, in at most eight characters.

    >>> [figure(x) for x in (0.41234, -12.3456, 1234.56, 1e-5, -3.2e-7)]
    ['0.4123', '-12.346', '1234.6', '1.0e-05', '-3.2e-07']
    """
    size = abs(value)
    if size >= 1e4 or 0 < size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.{4 if size < 10 else 3 if size < 100 else 2 if size < 1000 else 1}f}"


def count(value: float) -> str:
    """Format a large number in at most six characters.

    >>> [count(x) for x in (0.25, 999.4, 12_345, 999_960, 2.5e9)]
    ['0.2', '999.4', '12.3k', '1.0M', '2.5G']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.1f}"


def share(value: float) -> str:
    """Format a share as a percentage, in at most four characters; only 0 is 0%, and only 1 is 100%.

    >>> [share(x) for x in (0, 0.001, 0.256, 0.999, 1)]
    ['0%', '<1%', '26%', '>99%', '100%']
    """
    if 0 < value < 0.01:
        return "<1%"
    return ">99%" if 0.99 < value < 1 else f"{value:.0%}"


def duration(seconds: float) -> str:
    """Format a duration in hours, minutes and seconds; from a day on in days and hours.

    >>> [duration(x) for x in (5, 4321.9, 200_000)]
    ['0:00:05', '1:12:01', '2d 07h']
    """
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours < 24 else f"{hours // 24}d {hours % 24:02}h"


def trend(history: Sequence[float]) -> float | None:
    """Return the relative change from the older half of a history to the newer one.

    Returns:
        The change; 0 if it may be noise (less than two standard errors); None if the history is too short.
    """
    half = len(history) // 2
    if half < 4:
        return None
    (old, old_noise), (new, new_noise) = _mean(history[:half]), _mean(history[-half:])
    change, noise = new - old, math.sqrt(old_noise + new_noise)
    if old == 0 or not math.isfinite(change / old) or math.isnan(noise):
        return None
    return change / abs(old) if abs(change) > 2 * noise else 0.0


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and its squared standard error."""
    mean = sum(values) / len(values)
    squares = sum((value - mean) * (value - mean) for value in values)
    return mean, squares / (len(values) - 1) / len(values)


def change_in(history: Sequence[float], down: str, up: str, level: str) -> str:
    """Format a history's trend, in five characters after its sign; "" if there is none.

    >>> change_in((4.0, 4.1, 3.9, 4.0, 3.0, 3.1, 2.9, 3.0), "down ", "up ", "level")
    'down 25.0%'
    """
    change = trend(history)
    if change is None:
        return ""
    if change == 0:
        return level
    size = abs(change)
    return (down if change < 0 else up) + (f"{size:.1%}" if size < 9.9995 else ">999%")


def sparkline(history: Sequence[float], width: int, seen: int, longest: int) -> str:
    """Draw a history in one line of blocks, on a logarithmic scale if all values are positive.

    Args:
        history: the newest values, oldest first.
        width: largest number of characters.
        seen: total number of values so far. A block stands for the same values until it leaves on the left,
            so that nothing flickers.
        longest: the length up to which a history grows.
    """
    if width < 1 or not history:
        return ""
    each = math.ceil(longest / width)
    blocks: dict[int, list[float]] = {}
    for place, value in enumerate(history, seen - len(history)):
        blocks.setdefault(place // each, []).append(value)
    means = [sum(block) / len(block) for block in blocks.values()][-width:]
    if min(means) > 0:
        means = [math.log(mean) for mean in means]
    low, high = min(means), max(means)
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return BLOCKS[3] * len(means)
    return "".join(BLOCKS[round((mean - low) / (high - low) * (len(BLOCKS) - 1))] for mean in means)

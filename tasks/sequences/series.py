"""Series of numbers to forecast: linear and chaotic ones, made with numpy in a moment.

Every function draws some series from a stream and returns float64 [count, points].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Random = np.random.RandomState
"""Of the generators that numpy has, the one whose stream never changes."""

_WARM_UP = 300
DELAY = 17
"""Delay of Mackey and Glass's equation, in points."""


def autoregressive(random: Random, count: int, points: int) -> np.ndarray:
    """Draw stationary series x_t = a x_(t-1) + b x_(t-2) + noise, with a drawn period and damping."""
    radius, angle = random.uniform(0.8, 0.98, count), random.uniform(0.2, 1.5, count)
    a, b = 2 * radius * np.cos(angle), -(radius**2)
    noise = random.normal(size=(points + _WARM_UP, count))
    x = np.zeros((points + _WARM_UP, count))
    for t in range(2, len(x)):
        x[t] = a * x[t - 1] + b * x[t - 2] + noise[t]
    return x[_WARM_UP:].T


def sinusoids(random: Random, count: int, points: int) -> np.ndarray:
    """Draw sums of three waves with periods of 5 to 50 points, and a little noise."""
    period = np.exp(random.uniform(np.log(5), np.log(50), (count, 3, 1)))
    size, phase = random.uniform(0.3, 1, (count, 3, 1)), random.uniform(0, 2 * np.pi, (count, 3, 1))
    waves = size * np.sin(2 * np.pi * np.arange(points) / period + phase)
    return waves.sum(1) + 0.1 * random.normal(size=(count, points))


def mackey_glass(random: Random, count: int, points: int) -> np.ndarray:
    """Draw series of x' = 0.2 y / (1 + y^10) - 0.1 x, where y is x a delay ago, by steps of one.

    References:
        Mackey and Glass 1977, Oscillation and chaos in physiological control systems (Science 197).
    """
    x = np.empty((points + _WARM_UP, count))
    x[: DELAY + 1] = random.uniform(0.5, 1.2, count)
    for t in range(DELAY + 1, len(x)):
        late = x[t - 1 - DELAY]
        x[t] = 0.9 * x[t - 1] + 0.2 * late / (1 + late**10)
    return x[_WARM_UP:].T


def lorenz(random: Random, count: int, points: int) -> np.ndarray:
    """Draw the first coordinate of Lorenz's system (1963), by Runge and Kutta's method with steps of 0.03."""
    place = random.normal(size=(3, count)) + np.array([[0.0], [0.0], [25.0]])
    x = np.empty((points + _WARM_UP, count))
    for t in range(len(x)):
        place = _runge_kutta(place, 0.03)
        x[t] = place[0]
    return x[_WARM_UP:].T


def _runge_kutta(place: np.ndarray, step: float) -> np.ndarray:
    one = _lorenz_field(place)
    two = _lorenz_field(place + step / 2 * one)
    three = _lorenz_field(place + step / 2 * two)
    four = _lorenz_field(place + step * three)
    return place + step / 6 * (one + 2 * two + 2 * three + four)


def _lorenz_field(place: np.ndarray) -> np.ndarray:
    x, y, z = place
    return np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


SERIES: dict[str, Callable[[Random, int, int], np.ndarray]] = {
    "autoregressive": autoregressive,
    "sinusoids": sinusoids,
    "mackey-glass": mackey_glass,
    "lorenz": lorenz,
}
"""All of them, by name."""

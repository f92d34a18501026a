"""What sampled tasks are drawn from: functions, drawn numbers and symbols, of sizes drawn at random."""

from __future__ import annotations

from collections.abc import Callable

from .base import Task
from .draw import Draw
from .dynamical.learned_rule import LearnedRule
from .dynamical.physics_informed import PhysicsInformed
from .dynamical.policy_gradient import PolicyGradient
from .graphs.graph_convolution import GraphConvolution
from .landscapes.classic import CLASSICS
from .landscapes.landscape import Landscape
from .landscapes.quadratic import Quadratic
from .landscapes.rotating_quadratic import RotatingQuadratic
from .matrices.completion import MatrixCompletion
from .matrices.low_rank import LowRank
from .matrices.sparse_recovery import SparseRecovery
from .perceptron import Perceptron
from .sequences.algorithmic_gru import AlgorithmicGRU
from .sequences.algorithms import ALGORITHMS
from .sequences.series import SERIES
from .sequences.series_mlp import SeriesMLP, load_series
from .vectors.flow import RealNVP
from .vectors.friedman import Friedman
from .vectors.linear_model import LinearRegression, SoftmaxRegression
from .vectors.procedural import ProceduralCurves
from .vectors.tabular import build_table_task
from .vectors.teacher import GaussianMixture, Teacher


def _teacher(draw: Draw) -> Task:
    student = draw.perceptron(draw.whole(4, 24), draw.whole(1, 6))
    return Teacher(student, draw.whole(4, 24), draw.number(1, 100), draw.number(0.01, 0.5), draw.batch_size())


def _mixture(draw: Draw) -> Task:
    one = draw.perceptron(draw.whole(2, 24), draw.whole(2, 8))
    low, high = draw.span(0.2, 0.6)
    return GaussianMixture(one, draw.whole(1, 4), (low, 2 * high), draw.batch_size())


def _curves(draw: Draw) -> Task:
    one = draw.perceptron(40, 10)
    shift, tilt, noise = draw.number(0.1, 1.0), draw.number(0.1, 1.0), draw.number(0.05, 0.5)
    return ProceduralCurves(one, draw.one_of(False, True), shift, tilt, noise, draw.batch_size())


def _table(draw: Draw) -> Task:
    name, one = draw.one_of("breast_cancer", "wine", "diabetes"), draw.perceptron(1, 1)
    sizes = {"widths": one.widths, "depths": one.depths, "activations": one.activations}
    return build_table_task(name, **sizes, initial_scales=one.initial_scales)


def _linear(draw: Draw) -> Task:
    starts, rows = draw.one_of((0.0, 0.0), draw.span(0.003, 1.0)), draw.batch_size()
    shared = {"inputs": draw.whole(4, 64), "condition": draw.number(1, 100), "batch_size": rows}
    noise = draw.number(0.03, 0.5)
    make = draw.one_of(LinearRegression, SoftmaxRegression)
    outputs = draw.whole(1, 4) + (make is SoftmaxRegression)
    return make(**shared, outputs=outputs, starts=starts, noise=noise)


def _rotating(draw: Draw) -> Task:
    dimension, conditions = draw.whole(3, 50), draw.span(3, 1000)
    return RotatingQuadratic(dimension, conditions, draw.span(0.1, 1.0))


def _landscape(draw: Draw) -> Task:
    functions, half = draw.some_of(*CLASSICS), draw.whole(1, 15)
    return Landscape(
        functions, 2 * half, draw.span(0.3, 3.0), draw.one_of(1.0, draw.number(2, 10)), draw.chance(0.7)
    )


def _low_rank(draw: Draw) -> Task:
    inputs, outputs, rank, depth = draw.whole(6, 32), draw.whole(6, 32), draw.whole(2, 6), draw.whole(2, 4)
    decays, scales = draw.span(0.3, 2.0), draw.span(0.5, 1.5)
    return LowRank(inputs, outputs, rank, depth, decays, scales, draw.one_of(0.0, 0.1), draw.batch_size())


def _completion(draw: Draw) -> Task:
    true, scales, noises = draw.whole(1, 4), draw.span(0.2, 1.0), draw.span(0.03, 0.3)
    size, spare = draw.one_of(16, 24, 32, 40), draw.whole(1, 4)
    return MatrixCompletion(size, true + spare, (true, true), noises, scales, draw.batch_size())


def _sparse(draw: Draw) -> Task:
    dimension, nonzeros = draw.whole(24, 96), draw.whole(2, 6)
    noises, penalties = draw.span(0.01, 0.1), draw.span(0.01, 0.1)
    return SparseRecovery(
        dimension, dimension // 2, (nonzeros, nonzeros), noises, penalties, draw.one_of(8, 16, 32)
    )


def _algorithm(draw: Draw) -> Task:
    algorithms, units, scales = draw.some_of(*ALGORITHMS), draw.whole(12, 40), draw.span(0.7, 1.4)
    return AlgorithmicGRU(algorithms, (units, units), scales, 8, draw.one_of(8, 12, 16), draw.one_of(16, 32))


def _series(draw: Draw) -> Task:
    kinds, family = draw.some_of(*SERIES), SeriesMLP(load_series())
    one = draw.perceptron(family.perceptron.inputs, 1)
    return SeriesMLP(load_series(kinds), one, draw.whole(1, 8), draw.number(0.01, 0.2), draw.batch_size())


def _graph(draw: Draw) -> Task:
    classes, units, scales = draw.whole(2, 5), draw.whole(8, 32), draw.span(0.5, 2.0)
    within, between, noises = draw.span(0.15, 0.4), draw.span(0.01, 0.08), draw.span(1.0, 3.0)
    return GraphConvolution(
        draw.one_of(32, 64), classes, draw.whole(8, 16), within, between, noises, (units, units), scales
    )


def _equation(draw: Draw) -> Task:
    equations, width, depth = draw.some_of("poisson", "burgers"), draw.whole(8, 32), draw.whole(1, 3)
    perceptron = Perceptron(2, 1, (width, width), (depth, depth), ("tanh",), draw.span(0.8, 2.0))
    return PhysicsInformed(equations, perceptron, draw.one_of(24, 48, 96))


def _policy(draw: Draw) -> Task:
    width, gravities, frictions = (
        draw.whole(8, 32),
        draw.one_of((0.0, 0.0), draw.span(0.5, 2.0)),
        draw.span(0.1, 0.4),
    )
    perceptron = Perceptron(2, 3, (width, width), (1, 1), ("tanh",), draw.span(0.7, 1.4))
    return PolicyGradient(gravities, frictions, draw.span(1.0, 3.0), perceptron, 10, draw.one_of(32, 64, 128))


def _flow(draw: Draw) -> Task:
    dimensions, modes, depth, width = draw.whole(2, 8), draw.whole(2, 8), draw.whole(2, 6), draw.whole(8, 32)
    return RealNVP(
        dimensions, modes, draw.span(0.15, 0.5), (depth, depth), (width, width), batch_size=draw.batch_size()
    )


def _learned_rule(draw: Draw) -> Task:
    width, scales, conditions = draw.whole(4, 16), draw.span(0.7, 1.4), draw.span(2, 10)
    perceptron = Perceptron(3, 2, (width, width), (1, 1), ("tanh",), scales)
    return LearnedRule(conditions, perceptron, draw.whole(3, 8), draw.whole(4, 12), draw.one_of(8, 16))


WITHOUT_ROWS: dict[str, Callable[[Draw], Task]] = {
    "quadratic": lambda draw: Quadratic(
        draw.whole(3, 50), draw.number(3, 1000), draw.one_of(0.0, draw.number(0.03, 1.0))
    ),
    "rotating-quadratic": _rotating,
    "landscape": _landscape,
    "equation": _equation,
    "policy": _policy,
    "learned-rule": _learned_rule,
}
"""Families that have no rows of data, which could be left out or get other targets."""

ON_NUMBERS: dict[str, Callable[[Draw], Task]] = {
    "linear": _linear,
    "teacher": _teacher,
    "mixture": _mixture,
    "curves": _curves,
    "table": _table,
    "friedman": lambda draw: Friedman(
        draw.perceptron(10, 1), noise=draw.number(0.03, 0.5), batch_size=draw.batch_size()
    ),
    "low-rank": _low_rank,
    "completion": _completion,
    "sparse": _sparse,
    "algorithm": _algorithm,
    "series": _series,
    "graph": _graph,
    "flow": _flow,
}
"""Families on rows of numbers and symbols."""

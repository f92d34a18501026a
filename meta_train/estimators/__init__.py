"""Gradient estimators for unrolled computation graphs, one file each."""

from .artbp import ARTBP
from .backpropagation import Backpropagation
from .base import Estimate, Estimator
from .bptt import BPTT
from .combined_es import CombinedES
from .dodge import DODGE
from .evolution import EvolutionStrategies
from .full_es import FullES
from .gpes import GPES
from .guided_es import GuidedES
from .hypergradient_descent import HypergradientDescent
from .implicit import ImplicitDifferentiation
from .kf_rtrl import KFRTRL
from .kronecker import KroneckerSum
from .nres import NRES
from .online import Online
from .optimal_kronecker import OK
from .perturbation import PairState, Perturbing
from .pes import PES
from .pes_analytic import PESAnalytic
from .registry import ESTIMATORS, create_estimator, register
from .rtrl import RTRL
from .russian_roulette import RussianRoulette
from .single_sample import SingleSample
from .snap import SnAp
from .telescope import Telescope
from .truncated_bptt import TruncatedBPTT
from .truncated_es import TruncatedES
from .uoro import UORO

__all__ = [
    "ARTBP",
    "BPTT",
    "DODGE",
    "ESTIMATORS",
    "GPES",
    "KFRTRL",
    "NRES",
    "OK",
    "PES",
    "RTRL",
    "UORO",
    "Backpropagation",
    "CombinedES",
    "Estimate",
    "Estimator",
    "EvolutionStrategies",
    "FullES",
    "GuidedES",
    "HypergradientDescent",
    "ImplicitDifferentiation",
    "KroneckerSum",
    "Online",
    "PESAnalytic",
    "PairState",
    "Perturbing",
    "RussianRoulette",
    "SingleSample",
    "SnAp",
    "Telescope",
    "TruncatedBPTT",
    "TruncatedES",
    "create_estimator",
    "register",
]

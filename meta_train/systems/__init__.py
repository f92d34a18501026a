"""Systems other than inner training: networks over sequences, control, closed forms."""

from .cart_pole import CartPole, Swinging
from .catalogue import SYSTEMS, System, register_system
from .characters import ALPHABET, random_characters, real_characters, repeated_character
from .copy_task import Copying, Copyist, CopyTask
from .gymnasium_swimmer import GymnasiumSwimmer, GymnasiumUnavailableError
from .influence_balancing import OPTIMUM, InfluenceBalancing, influence, long_term_loss, spectral_radius
from .linear import Linear
from .lorenz import GUESS, TRUTH, Lorenz
from .lstm import Cell, LanguageModel, LanguageModelling, Memory, Reading
from .noisy_quadratic import Deviation, NoisyQuadratic, rate_at
from .swimmer import Swimmer, Swimming
from .toy_regression import ToyRegression

__all__ = [
    "ALPHABET",
    "GUESS",
    "OPTIMUM",
    "SYSTEMS",
    "TRUTH",
    "CartPole",
    "Cell",
    "CopyTask",
    "Copying",
    "Copyist",
    "Deviation",
    "GymnasiumSwimmer",
    "GymnasiumUnavailableError",
    "InfluenceBalancing",
    "LanguageModel",
    "LanguageModelling",
    "Linear",
    "Lorenz",
    "Memory",
    "NoisyQuadratic",
    "Reading",
    "Swimmer",
    "Swimming",
    "Swinging",
    "System",
    "ToyRegression",
    "influence",
    "long_term_loss",
    "random_characters",
    "rate_at",
    "real_characters",
    "register_system",
    "repeated_character",
    "spectral_radius",
]

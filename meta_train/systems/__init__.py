"""Systems to try estimators on that are no inner training: networks over sequences, control, closed forms."""

from .cart_pole import CartPole, Swinging
from .characters import ALPHABET, random_characters, real_characters, repeated_character
from .copy_task import Copying, Copyist, CopyTask
from .gymnasium_swimmer import GymnasiumSwimmer, GymnasiumUnavailableError
from .lstm import Cell, LanguageModel, LanguageModelling, Memory, Reading
from .swimmer import Swimmer, Swimming

__all__ = [
    "ALPHABET",
    "CartPole",
    "Cell",
    "CopyTask",
    "Copying",
    "Copyist",
    "GymnasiumSwimmer",
    "GymnasiumUnavailableError",
    "LanguageModel",
    "LanguageModelling",
    "Memory",
    "Reading",
    "Swimmer",
    "Swimming",
    "Swinging",
    "random_characters",
    "real_characters",
    "repeated_character",
]

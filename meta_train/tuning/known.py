"""Hyperparameters that optimizers, schedules and losses have, with the values that they may take.

Importing this module imports jax.
"""

from __future__ import annotations

from tasks import Bounded, Hyperparameter, Positive, Share

KNOWN: dict[str, Hyperparameter] = {
    "learning_rate": Hyperparameter(Positive(), 1e-2, "size of a step"),
    "momentum": Hyperparameter(Share(), 0.9, "decay of the average of gradients"),
    "b1": Hyperparameter(Share(), 0.9, "decay of the average of gradients"),
    "b2": Hyperparameter(Share(), 0.999, "decay of the average of squares"),
    "eps": Hyperparameter(Positive(), 1e-8, "added to the root of the average of squares"),
    "weight_decay": Hyperparameter(Positive(), 1e-4, "rate at which weights decay"),
    "decay": Hyperparameter(Positive(), 1.0, "power of the inverse-time schedule"),
    "final_fraction": Hyperparameter(Positive(), 0.1, "last learning rate over the first"),
    "warmup_fraction": Hyperparameter(Bounded(1e-3, 0.5), 0.05, "share of the steps with a rising rate"),
}
"""Hyperparameters of optimizers and schedules, by their names as arguments."""

LOSS: dict[str, Hyperparameter] = {
    "l2": Hyperparameter(Positive(), 1e-4, "half of it times the squared norm is added to the training loss"),
    "gradient_noise": Hyperparameter(Positive(), 0.01, "standard deviation of noise on gradients"),
    "clip": Hyperparameter(Positive(), 1.0, "bound on the norm of the gradient"),
}
"""What acts on the training loss and its gradient; each is off where it is neither tuned nor set."""

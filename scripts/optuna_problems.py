"""The problems of `scripts/against_optuna.py`: what is tuned, within which bounds, on small networks."""

from __future__ import annotations

from collections.abc import Callable

import tasks
from meta_train import HyperparameterTuning


def _task(name: str, build: Callable[[], tasks.Task]) -> str:
    tasks.register(name)(build)
    return name


def _few_digits() -> tasks.TunableMLP:
    digits = tasks.load_dataset("digits")
    images, labels = ({**kind, "train": kind["train"][:100]} for kind in (digits.images, digits.labels))
    return tasks.TunableMLP(digits.replace(images=images, labels=labels), width=32, depth=1, batch_size=32)


def _mlp(layers: int) -> Callable[[], tasks.Task]:
    return lambda: tasks.ImageMLP(tasks.load_dataset("digits"), depths=(layers, layers), batch_sizes=(32, 32))


SHALLOW, DEEP = _task("compared-mlp", _mlp(1)), _task("compared-deep-mlp", _mlp(3))
FEW = _task("compared-few-digits", _few_digits)
PROBLEMS = {
    "rate and weight decay": HyperparameterTuning(
        (SHALLOW,),
        tune=("learning_rate", "weight_decay"),
        optimizer="adamw",
        bounds=("learning_rate=1e-4:1", "weight_decay=1e-5:10"),
    ),
    "schedule": HyperparameterTuning(
        (SHALLOW,),
        tune=tuple(f"knot_{n}" for n in range(1, 6)),
        schedule="piecewise",
        set=("learning_rate=0.1", "momentum=0.9"),
        bounds=tuple(f"knot_{n}=1e-3:10" for n in range(1, 6)),
    ),
    "rates per layer": HyperparameterTuning(
        (DEEP,),
        tune=("learning_rate@layer", "momentum"),
        bounds=("learning_rate=1e-4:1", "momentum=0:0.99"),
    ),
    "regularisation": HyperparameterTuning(
        (FEW,),
        tune=("learning_rate", "l2", "dropout", "label_smoothing", "input_noise"),
        set=("momentum=0.9",),
        bounds=("learning_rate=1e-4:1", "l2=1e-5:1"),
    ),
}
"""Both sides search the same bounds; all start in their middle."""

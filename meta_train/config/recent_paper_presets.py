"""The learned optimizers of papers since 2023, and learned constants of classical rules, as presets."""

from __future__ import annotations

from typing import Any

from .early_paper_presets import scaled
from .options import Options
from .preset_registry import preset

_RESCALED = ("rescaled-digits-mlp", "rescaled-procedural-mlp-family")
"""Tasks whose parameters are rescaled at random, as all of Celo's are."""
_FEW_NUMBERS: dict[str, Any] = {"sigma": 0.1, "learning_rate": 0.03, "window": 20, "steps": 1000}


@preset
def optimus2023() -> Options:
    """Optimus of Gaertner 2023 on small perceptrons, by PES.

    The paper: a transformer over parameters, trained by PES on functions and, later, on motion capture. Here
    a transformer over tensors, on two families of perceptrons.

        lopt-train optimus2023 --run-dir runs/optimus2023

    3.2 million inner steps. Not run to its end; on quadratics (`lopt-train tiny --optimizer optimus
    --learning-rate 0.01 --sigma 0.03`) the meta-loss halved in 200 meta-steps.

    References: Gaertner, Metz, Andriluka, Freeman, Sminchisescu 2023 (arXiv 2212.01055).
    """
    return scaled(optimizer="optimus", sigma=0.03)


@preset
def celo_phase_1() -> Options:
    """Celo of Moudgil 2025, first phase: the MLP without its scheduler, by PES.

    The paper: four image tasks of 8 x 8 with an MLP of 32, parameters rescaled by 1e-3 to 1e3, PES with
    windows of 50 and 8 particles a task, horizons log-uniform from 100 to 2,000, sigma 0.01, AdamW at 3e-4,
    100,000 meta-steps a phase. Here two tasks, horizons up to 500, Adam at 1e-3, 2,000 meta-steps a phase.

        lopt-train celo-phase-1 --run-dir runs/celo-1
        lopt-export runs/celo-1 celo-phase-1
        lopt-train celo-phase-2 --run-dir runs/celo-2

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.417 to 2.002 (`scripts/reproduce.py architectures`). The preset itself was not run to
    its end.

    References: Moudgil, Knyazev, Lajoie, Belilovsky 2025 (arXiv 2501.12670).
    """
    return scaled(
        task=_RESCALED, optimizer="celo", optimizer_options=("scheduled=False",), freeze=("scheduler",)
    )


@preset
def celo_phase_2() -> Options:
    """Celo of Moudgil 2025, second phase: the scheduler alone, from `./celo-phase-1`.

    It starts from the directory `celo-phase-1`, which is exported after the first phase (see the preset
    celo-phase-1), or from another given by --init-from. The MLP stays as it is, to the bit.

        lopt-train celo-phase-2 --run-dir runs/celo-2

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.417 to 2.002 (`scripts/reproduce.py architectures`). The preset itself was not run to
    its end.

    References: Moudgil, Knyazev, Lajoie, Belilovsky 2025 (arXiv 2501.12670).
    """
    return scaled(
        task=_RESCALED,
        optimizer="celo",
        optimizer_options=("scheduled=True",),
        init_from="celo-phase-1",
        train_only=("scheduler",),
    )


@preset
def celo_adam() -> Options:
    """CeloAdam of Moudgil 2025: Celo's scheduler around Adam, by PES, in one phase.

    The settings are those of Celo's second phase.

        lopt-train celo-adam --run-dir runs/celo-adam

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.180 to 1.301, in 22 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Moudgil, Knyazev, Lajoie, Belilovsky 2025 (arXiv 2501.12670).
    """
    return scaled(task=_RESCALED, optimizer="celo-adam")


@preset
def celo2() -> Options:
    """Celo2 of Moudgil 2026: normalised steps, orthogonal for matrices, by PES.

    The paper: four image tasks of 8 x 8, PES with windows of 50, horizons log-uniform from 100 to 2,000,
    100,000 meta-steps, 4.5 GPU-hours. Here two tasks, horizons up to 500, 2,000 meta-steps. The result has no
    schedule: give it one with optax.scale_by_schedule, as for AdamW.

        lopt-train celo2 --run-dir runs/celo2

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 1.075 to 0.827 (`scripts/reproduce.py architectures`). The preset itself was not run to
    its end.

    References: Moudgil et al. 2026 (arXiv 2602.19142).
    """
    return scaled(optimizer="celo2", learning_rate=3e-3)


@preset
def celo2_base() -> Options:
    """Celo2Base of Moudgil 2026: normalised steps of one small network, by PES.

    The settings are those of `celo2`.

        lopt-train celo2-base --run-dir runs/celo2-base

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 1.233 to 0.636, in 37 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Moudgil et al. 2026 (arXiv 2602.19142).
    """
    return scaled(optimizer="celo2-base", learning_rate=3e-3)


@preset
def mulo() -> Options:
    """AdafactorMLP in mu-parametrisation (muLO, Therien 2024) on three widths, by PES.

    The paper: two layers of 32 units, steps of matrices divided by their fan-in, MLPs of widths 128, 512 and
    1,024 on 32 x 32 images, batches of 4,096, PES with windows of 50 and 8 particles a task, horizons
    log-uniform from 100 to 1,000, step scale 0.01, AdamW from 3e-3 to 1e-3 over 5,000 meta-steps. Here
    digits, in a family of widths and a wide MLP, horizons up to 500, 2,000 meta-steps.

        lopt-train mulo --run-dir runs/mulo

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.800 to 2.306, in 63 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Therien et al. 2024 (arXiv 2406.00153).
    """
    return scaled(
        task=("digits-mlp-family", "wide-digits-mlp"),
        optimizer="adafactor-mlp",
        optimizer_options=("hidden_size=32", "mu_parametrised=True", "step_scale=0.01"),
        learning_rate=3e-3,
        final_rate=0.33,
    )


@preset
def learnable_sgd() -> Options:
    """LearnableSGD: a learning rate, its schedule, and a rate per kind of tensor, by PES.

        lopt-train learnable-sgd --run-dir runs/learnable-sgd

    0.64 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 1.837 to 0.368, in 15 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Vicol, Metz, Sohl-Dickstein 2021, which tunes schedules so (arXiv 2112.13835).
    """
    return _classical("learnable-sgd")


@preset
def learnable_adam() -> Options:
    """LearnableAdam: Adam's constants, a schedule, and a rate per kind of tensor, by PES.

        lopt-train learnable-adam --run-dir runs/learnable-adam

    0.64 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 0.966 to 0.243, in 15 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Kingma and Ba 2014 (arXiv 1412.6980); Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835).
    """
    return _classical("learnable-adam")


@preset
def learnable_nadamw() -> Options:
    """LearnableNAdamW: NAdamW's constants, as in Metz 2020's lists, with a schedule, by PES.

        lopt-train learnable-nadamw --run-dir runs/learnable-nadamw

    0.64 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 0.951 to 0.218 (`scripts/reproduce.py architectures`). The preset itself was not run to
    its end.

    References: Metz et al. 2020, Using a thousand optimization tasks to learn hyperparameter search
        strategies (arXiv 2002.11887).
    """
    return _classical("learnable-nadamw")


def _classical(optimizer: str) -> Options:
    """Return the recipe of the rules of a few numbers."""
    options = ("schedule_knots=4", "rates_by_kind=True")
    return scaled(optimizer=optimizer, optimizer_options=options, **_FEW_NUMBERS)

"""The learned optimizers of papers until 2022: each preset is a paper's recipe, scaled to two cores."""

from __future__ import annotations

from typing import Any

from .options import Options
from .preset_registry import preset


def scaled(**values: Any) -> Options:
    """Return options for a run of a paper's recipe; `values` override what the presets of papers share."""
    shared: dict[str, Any] = {
        "task": ("digits-mlp-family", "procedural-mlp-family"),
        "window": 50,
        "horizon_low": 100,
        "horizon_high": 500,
        "particles": 8,
        "learning_rate": 1e-3,
        "warmup": 50,
        "steps": 2000,
        "validate_every": 250,
        "validation_episodes": 8,
        "reference_rates": 0,
        "hysteresis_particles": 0,
    }
    return Options.of(**shared | values)


@preset
def andrychowicz2016_lstm() -> Options:
    """CoordinatewiseLSTM of Andrychowicz 2016 on quadratics, by truncated backpropagation.

    The paper: an LSTM of two layers of 20, random quadratics of 10 dimensions, episodes of 100 steps, windows
    of 20, Adam, the sum of the losses. Here with 16 episodes at a time.

        lopt-train andrychowicz2016-lstm --run-dir runs/andrychowicz2016-lstm

    0.64 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.473 to 0.259 (`scripts/reproduce.py architectures`). The preset itself was not run to
    its end.

    References: Andrychowicz et al. 2016 (arXiv 1606.04474).
    """
    return scaled(
        task=("quadratic",),
        optimizer="coordinatewise-lstm",
        estimator="tbptt",
        objective="sum",
        window=20,
        horizon="constant",
        horizon_high=100,
        particles=16,
    )


@preset
def wichrowska2017_hierarchical_rnn() -> Options:
    """HierarchicalRNN of Wichrowska 2017 on several small problems, by truncated backpropagation.

    The paper: GRUs of 10, 20 and 20 units, an ensemble of small problems, episodes of random length up to
    thousands of steps, in windows of random length, RMSProp, the mean logarithm of the loss. Here three
    problems, windows of 20, up to 200 steps, and Adam.

        lopt-train wichrowska2017-hierarchical-rnn --run-dir runs/wichrowska2017

    0.96 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 1.516 to 0.654 (`scripts/reproduce.py architectures`). The preset itself was not run to
    its end.

    References: Wichrowska et al. 2017 (arXiv 1703.04813).
    """
    return scaled(
        task=("quadratic", "noisy-quadratic", "digits-mlp-family"),
        optimizer="hierarchical-rnn",
        estimator="tbptt",
        objective="mean-log",
        window=20,
        horizon_high=200,
    )


@preset
def metz2019_mlp() -> Options:
    """MLPOptimizer of Metz 2019 on digits, by PES; outer loss on validation data, as in the paper.

    The paper: two layers of 32 units, the inverse-variance combination of evolution strategies and
    backpropagation (`--estimator combined-es`), sigma 0.01, windows that grow, image classifiers of one
    family, the loss on validation data. Here PES, which came later and needs no growing windows.

        lopt-train metz2019-mlp --run-dir runs/metz2019-mlp

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.223 to 0.742 (`scripts/reproduce.py architectures`). The preset itself was not run to
    its end.

    References: Metz et al. 2019 (arXiv 1810.10180).
    """
    return scaled(task=("digits-mlp-family",), optimizer="mlp", measured_on="inner_valid", particles=16)


@preset
def metz2020_tensor_lstm() -> Options:
    """TensorLSTM of Metz 2020 on a mixture of small tasks, by PES.

    The paper: an LSTM of 64 units per tensor and an MLP of two layers of 32 per parameter, thousands of
    tasks, truncated evolution strategies with growing windows, the loss on validation data, thousands of
    cores for weeks. Here three families and PES.

        lopt-train metz2020-tensor-lstm --run-dir runs/metz2020-tensor-lstm

    4.8 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.608 to 0.632, in 79 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Metz et al. 2020 (arXiv 2009.11243).
    """
    return scaled(
        task=("digits-mlp-family", "procedural-mlp-family", "char-mlp-family"),
        optimizer="tensor-lstm",
        measured_on="inner_valid",
    )


@preset
def metz2022_adafactor_mlp() -> Options:
    """AdafactorMLP of Metz 2022 (small_fc_lopt) on one digits MLP, by PES.

    The recipe of the library that came with it: two layers of 4 units, PES with windows of 50, 16 particles,
    horizons log-uniform from 100 to 10,000, sigma 0.01, Adam at 3e-4 for 10,000 meta-steps, an MLP of 32
    units on 8 x 8 images. Here horizons up to 1,000, Adam at 1e-3, 2,000 meta-steps. `small-fc` is the same
    architecture with the mean logarithm of the loss, for longer.

        lopt-train metz2022-adafactor-mlp --run-dir runs/metz2022-adafactor-mlp

    3.2 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 2.800 to 2.306, in 63 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Metz et al. 2022, Practical tradeoffs (arXiv 2203.11860).
    """
    return scaled(task=("digits-mlp",), optimizer="adafactor-mlp", horizon_high=1000, particles=16)


@preset
def velo() -> Options:
    """VeLO of Metz 2022, a hundred times smaller, by full evolution strategies on the sign of the final loss.

    The paper: an LSTM of 512 units per tensor and a bank of 256 networks, whole episodes of 200 to 200,000
    steps, the sign of the difference of an antithetic pair's final losses, sigma 0.01, Adam at 3e-4, tasks
    drawn at random and rescaled, 4,000 TPU-months. Here an LSTM of 32 units, a bank of 16, episodes of 100 to
    200 steps on three families.

        lopt-train velo --run-dir runs/velo

    9.6 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 4.693 to 1.978, in 41 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Metz et al. 2022, VeLO (arXiv 2211.09760).
    """
    return scaled(
        task=("digits-mlp-family", "rescaled-procedural-mlp-family", "char-mlp-family"),
        optimizer="velo",
        optimizer_options=("lstm_size=32", "bank_size=16"),
        estimator="full-es",
        estimator_options=("loss_transform=sign",),
        objective="last",
        horizon_high=200,
        steps=1000,
    )


@preset
def star() -> Options:
    """STAR of Harrison 2022 on digits, by PES: a learned correction of a step that is good untrained.

    The paper: STAR's changes to AdafactorMLP (a nominal Adam step, a preconditioned output, weight decay),
    PES with sigma 0.01, perceptrons and convolutions on images. `demo` and `star-long` are shorter and longer
    runs of the same kind.

        lopt-train star --run-dir runs/star

    6.4 million inner steps. Seen: on one digits MLP, 76,800 inner steps of PES lower the architecture's
    meta-loss from 0.230 to 0.201, in 44 s on one core, with compilation (`scripts/reproduce.py
    architectures`). The preset itself was not run to its end.

    References: Harrison, Metz, Sohl-Dickstein 2022 (arXiv 2209.11208).
    """
    return scaled(optimizer="star", objective="mean-log", particles=16, sigma=0.05, learning_rate=1.5e-3)

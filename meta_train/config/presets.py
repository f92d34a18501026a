"""Named runs. A preset's docstring says what it trains and how long it takes."""

from __future__ import annotations

import lopt

from .options import Options
from .preset_registry import PRESETS, preset


def get_preset(name: str) -> Options:
    """Look a preset up.

    Raises:
        ValueError: for an unknown name, with similar ones.
    """
    return lopt.look_up("preset", PRESETS, name)()


@preset
def demo() -> Options:
    """STAR on a family of digit classifiers: what `make demo` runs, in minutes on 2 CPU cores."""
    # Short runs omit the hysteresis probe, which compiles the unroll a second time.
    return Options.of(
        horizon="constant",
        horizon_high=200,
        # A clip adds bias and reduces variance, which pays with so few particles.
        particle_clip=3.0,
        steps=900,
        hysteresis_particles=0,
    )


@preset
def tiny() -> Options:
    """LearnableAdam (four meta-parameters) on quadratics: a check that everything works, in seconds."""
    return Options.of(
        task=("quadratic",),
        optimizer="learnable-adam",
        horizon="constant",
        horizon_high=40,
        window=10,
        sigma=0.1,
        particles=16,
        learning_rate=0.03,
        steps=200,
        validate_every=50,
        hysteresis_particles=0,
    )


@preset
def small_fc() -> Options:
    """AdafactorMLP on one digits MLP, mean-log objective: the field's baseline, in an hour on 2 cores."""
    return Options.of(
        task=("digits-mlp",),
        optimizer="adafactor-mlp",
        objective="mean-log",
        window=50,
        horizon_low=100,
        horizon_high=1000,
        steps=5000,
        learning_rate=1e-3,
        validate_every=500,
    )


@preset
def lstm() -> Options:
    """CoordinatewiseLSTM on quadratics, the first experiment of its paper: half an hour on 2 cores."""
    return Options.of(
        task=("quadratic",),
        optimizer="coordinatewise-lstm",
        horizon="constant",
        horizon_high=100,
        window=20,
        particles=32,
        learning_rate=3e-3,
        steps=3000,
    )


@preset
def small_2() -> Options:
    """MuonSTAR on a mixture of perceptrons: the published optimizer `small-2`, in half an hour on 2 cores."""
    return Options.of(
        task=(
            "digits-mlp-family",
            "rescaled-procedural-mlp-family",
            "deep-procedural-mlp-family",
            "char-mlp-family",
            "friedman-mlp-family",
            "teacher-mlp-family",
            "mixture-mlp-family",
            "quadratic",
        ),
        task_weights=(1, 1, 1, 1, 1, 1, 1, 0.5),
        validate_on=(
            "digits-mlp-family:2000",
            "procedural-mlp-family:500",
            "deep-procedural-mlp-family:500",
            "char-mlp-family:500",
            "friedman-mlp-family:2000",
            "teacher-mlp-family:500",
            "mixture-mlp-family:2000",
        ),
        optimizer="muon-star",
        objective="mean-log",
        window=25,
        horizon_low=100,
        horizon_high=500,
        particles=8,
        # With 0.01 the validation got worse: see docs/meta-training-log.md.
        sigma=0.05,
        steps=1000,
        learning_rate=1.5e-3,
        warmup=50,
        validate_every=250,
        validation_episodes=8,
        reference_rates=0,
        hysteresis_particles=0,
    )


@preset
def tiny_lstm() -> Options:
    """CoordinatewiseLSTM (one layer of 8) on digits and quadratics: the published optimizer `tiny-lstm`."""
    return Options.of(
        task=("digits-mlp-family", "procedural-mlp-family", "quadratic"),
        optimizer="coordinatewise-lstm",
        optimizer_options=("hidden_size=8", "hidden_layers=1"),
        objective="mean-log",
        window=20,
        horizon_low=100,
        horizon_high=200,
        particles=8,
        steps=1500,
        learning_rate=3e-3,
        warmup=50,
        validate_every=250,
        validation_episodes=8,
        reference_rates=0,
        hysteresis_particles=0,
    )


@preset
def star_long() -> Options:
    """STAR on the Fashion-MNIST family with a growing horizon: a day on 2 cores, an hour on a GPU."""
    return Options.of(
        task=("fashion-mnist-mlp-family",),
        horizon="curriculum",
        horizon_low=100,
        horizon_high=1000,
        horizon_meta_steps=5000,
        window=50,
        particles=64,
        steps=20000,
        warmup=100,
        validate_every=500,
    )


# Weights and particles by family: more particles where an inner step is cheap.
_FOR_A_CORE = {
    "softmax-regression-family": (1.0, 32),
    "linear-regression-family": (0.5, 16),
    "teacher-mlp-family": (1.0, 16),
    "friedman-mlp-family": (1.0, 12),
    "mixture-mlp-family": (1.0, 12),
    "rescaled-procedural-mlp-family": (1.0, 8),
    "deep-procedural-mlp-family": (1.0, 8),
    "digits-mlp-family": (1.0, 8),
    "char-mlp-family": (1.0, 8),
    "small-char-gru-family": (1.0, 4),
    "small-char-transformer-family": (1.5, 4),
    "small-char-transformer-tied-family": (1.5, 4),
}
_FOR_A_GPU = {
    "softmax-regression-family": (1.0, 512),
    "linear-regression-family": (0.5, 256),
    "teacher-mlp-family": (1.0, 512),
    "friedman-mlp-family": (0.5, 512),
    "noisy-friedman-mlp-family": (0.75, 512),
    "mixture-mlp-family": (1.0, 512),
    "rescaled-procedural-mlp-family": (1.0, 512),
    "deep-procedural-mlp-family": (1.0, 512),
    "digits-mlp-family": (0.75, 512),
    "char-mlp-family": (1.0, 512),
    "small-char-gru-family": (2.0, 256),
    "small-char-transformer-family": (2.0, 256),
    "small-char-transformer-tied-family": (2.0, 256),
    # What narrow ones bear is too bold for these.
    "wide-char-transformer-family": (2.5, 128),
    "wider-char-transformer-family": (2.5, 64),
}


@preset
def lite() -> Options:
    """PacedNAdam on fifteen families, for a GPU: 500 meta-steps take seven minutes on an H200."""
    return _on_a_mixture("paced-nadam", _FOR_A_GPU).replace(
        objective_options=("floor=0.003", "late=0.8", "early=0.3"),
        sigma=0.05,
        steps=500,
        learning_rate=0.006,
    )


@preset
def small() -> Options:
    """PacedMuon on twelve families, for a CPU: 570 of 1,100 meta-steps made `small`, in half an hour."""
    return _on_a_mixture("paced-muon", _FOR_A_CORE).replace(
        # Of 273 meta-parameters, 160 make random features, which tell nothing of their own: without them an
        # estimate has a quarter of the noise. The others were there only after `small`.
        freeze=("pacing.network.0", "pacing.direct", "large"),
    )


@preset
def celo2_lopt() -> Options:
    """Celo2Base on twelve families, its steps along a cosine: 1,000 meta-steps take an hour on 2 cores."""
    return _on_a_mixture("celo2-base", _FOR_A_CORE).replace(
        # A rule is trained as it will be used: with a schedule that ends at zero, but a rate that suits no
        # task in particular.
        optimizer_options=("cosine=True", "step_scale=0.005"),
        objective_options=("floor=0.003", "late=0.5"),
        sigma=0.03,
        steps=3000,
    )


def _on_a_mixture(optimizer: str, families: dict[str, tuple[float, int]]) -> Options:
    return Options.of(
        task=tuple(families),
        task_weights=tuple(weight for weight, _ in families.values()),
        task_particles=tuple(particles for _, particles in families.values()),
        validate_on=("series-mlp-family:500", "digits-autoencoder-family:500", "series-mlp-family:2000"),
        optimizer=optimizer,
        estimator="nres",
        objective="mean-log",
        # The first dozens of steps are what the untrained rule is too careful in.
        objective_options=("floor=0.003", "late=0.5", "early=0.3"),
        window=50,
        horizon_low=200,
        horizon_high=2000,
        particle_clip=10.0,
        sigma=0.08,
        steps=1100,
        learning_rate=0.004,
        warmup=20,
        validate_every=200,
        validation_episodes=4,
        reference_rates=0,
        hysteresis_particles=0,
    )


# Registers the presets of papers, which are listed after these.
from . import early_paper_presets, recent_paper_presets  # noqa: E402, F401

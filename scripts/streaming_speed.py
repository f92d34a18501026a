"""`scripts/benchmark.py streaming`: a run on a streamed pool, beside the same run on data on the device."""

from __future__ import annotations

import io
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLASSES, HELD_OUT = 10, 256


def run(
    side: int, rows: int, every: int, examples: int, devices: int, seconds: float, path: Path | None
) -> int:
    """Time both runs in turn, and print inner steps per second.

    The data are written as TFDS writes resized ImageNet: PNG files in array-record. Both runs train on
    convolutions (`ImageConv`, batches of 64) with `learnable-adam`, and differ only in the pool.

    Args:
        side: height and width of the images, in pixels.
        rows: images in the pool.
        every: meta-steps until the next turn.
        examples: images in the data set.
        devices: CPU devices that the particles are spread over.
        seconds: how long to repeat each run for.
        path: file for the results as JSON.

    Returns:
        The exit status.
    """
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), side, rows, every, examples, seconds)
    found |= {"side": side, "rows": rows, "every": every, "examples": examples, "devices": devices}
    found |= {"resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    print(json.dumps(found, indent=1))
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measure(folder: Path, side: int, rows: int, every: int, examples: int, seconds: float) -> dict[str, Any]:
    """Return the figures that `run` prints."""
    import tasks

    prepared = write_images(folder, side, examples)
    source = tasks.RowSource(
        tasks.tfds_records(prepared), lambda r: (r["image"], int(r["label"])), rows, HELD_OUT
    )
    began = time.perf_counter()
    source.rows("train", 1)
    turn_s = time.perf_counter() - began
    pool = tasks.stream_dataset(source, every, CLASSES)
    tasks.register("streamed-conv")(lambda: tasks.ImageConv(pool))
    tasks.register("conv-on-device")(lambda: tasks.ImageConv(pool.replace(stream=None)))
    records = {name: _records(name, folder / name) for name in ("streamed-conv", "conv-on-device")}
    for its in records.values():  # the initial validation, the first call, which compiles, and another one
        for _ in range(3):
            next(its)
    calls: dict[str, list[float]] = {name: [] for name in records}
    until = time.perf_counter() + 2 * seconds
    while time.perf_counter() < until:
        for name, its in records.items():  # a whole turn of each, in which one turn is read
            calls[name].append(_time_of(its, every))
    rate = {name: _inner_steps() * every / statistics.median(its) for name, its in calls.items()}
    ratios = [b / a for a, b in zip(*calls.values(), strict=True)]
    return {
        "inner_steps_per_s": rate,
        "ratio": statistics.median(ratios),
        "lowest_ratio": min(ratios),
        "turns": len(ratios),
        "seconds_to_read_a_turn": turn_s,
        "seconds_of_a_turn": statistics.median(calls["streamed-conv"]),
        "pool_mb": rows * side * side * 3 / 1e6,
    }


def write_images(folder: Path, side: int, examples: int) -> Path:
    """Write smooth random images as TFDS lays out a data set of PNG files; return its directory."""
    import numpy as np
    import tensorflow_datasets as tfds
    from PIL import Image

    class SmoothImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=(side, side, 3)),
                "label": tfds.features.ClassLabel(num_classes=CLASSES),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples(examples, 0), "test": self._generate_examples(512, 1)}

        def _generate_examples(self, count: int, seed: int) -> Iterator[Any]:
            draws = np.random.default_rng(seed)
            for row in range(count):
                coarse = Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
                noisy = np.clip(smooth + draws.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
                png = io.BytesIO()
                Image.fromarray(noisy).save(png, format="PNG")
                png.seek(0)
                yield row, {"image": png, "label": int(draws.integers(CLASSES))}

    tfds.disable_progress_bar()
    builder = SmoothImages(data_dir=folder, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return Path(os.fspath(builder.data_path))


PARTICLES, WINDOW = 4, 10


def _inner_steps() -> int:
    """Return the inner steps of a meta-step: those of a pair of members per particle."""
    return 2 * PARTICLES * WINDOW


def _records(task: str, directory: Path) -> Iterator[Any]:
    from meta_train import Options, RunDirectory, Trainer

    options = Options.of(
        task=(task,),
        optimizer="learnable-adam",
        horizon="constant",
        horizon_high=100,
        window=WINDOW,
        particles=PARTICLES,
        steps=10**9,
        steps_per_call=1,
        validate_every=10**9,
        validation_episodes=1,
        reference_rates=0,
        hysteresis_particles=0,
        checkpoint_every=0,
        checkpoint_seconds=0,
    )
    return Trainer(options.run(), RunDirectory(directory)).records()


def _time_of(records: Iterator[Any], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        next(records)
    return time.perf_counter() - began

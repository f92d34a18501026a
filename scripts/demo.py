#!/usr/bin/env python
"""The whole path from an inner task to an optax transformation, run by `make demo`.

Each step is an ordinary command; nothing here is special to the demo.
"""

import json
import statistics
import sys
import time
from pathlib import Path

from eval.cli import main as lopt_eval
from meta_train import get_preset
from meta_train.commands.export import main as lopt_export
from meta_train.commands.train import main as lopt_train

RUN = Path("runs/demo")
OPTIMIZER = RUN / "optimizer"
REPORT = RUN / "report"
RATE = "time/inner_steps_per_second"


def main() -> int:
    """Run the demo; return its exit status."""
    began = time.perf_counter()
    _say("1/4  meta-train STAR with PES on a family of digit classifiers")
    if status := lopt_train(["demo", "--run-dir", str(RUN)]):
        return status
    records = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    if records[-1]["meta_step"] < get_preset("demo").loop.steps:
        print("the demo was stopped; `make demo` continues from here", file=sys.stderr)
        return 130
    trained = time.perf_counter() - began

    _say("2/4  export it")
    if status := lopt_export([str(RUN), str(OPTIMIZER)]):
        return status
    _say("3/4  use it in a plain optax training loop")
    first, last = train_with_optax(steps=200)
    print(f"loss of a 64-32-10 network on digits: {first:.3f} at first, {last:.4f} after 200 steps")
    _say("4/4  benchmark it against Adam with a tuned learning rate")
    if status := lopt_eval([str(OPTIMIZER), "--suite", "digits", "--out", str(REPORT)]):
        return status
    _summarise(records, trained, time.perf_counter() - began)
    return 0


def train_with_optax(steps: int) -> tuple[float, float]:
    """Train a network on digits with the exported optimizer, independently of meta-training."""
    import jax
    import jax.numpy as jnp
    import optax
    from sklearn.datasets import load_digits

    import lopt

    images, labels = (jnp.asarray(x) for x in load_digits(return_X_y=True))
    images = (images / 16 - 0.3) / 0.38
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "hidden": {"kernel": jax.random.normal(keys[0], (64, 32)) / 8, "bias": jnp.zeros(32)},
        "output": {"kernel": jax.random.normal(keys[1], (32, 10)) / 6, "bias": jnp.zeros(10)},
    }
    tx = optax.chain(optax.clip_by_global_norm(10.0), lopt.as_optax(OPTIMIZER, horizon=steps))
    state = tx.init(params)

    def loss(params: dict, rows: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(images[rows] @ params["hidden"]["kernel"] + params["hidden"]["bias"][None])
        logits = hidden @ params["output"]["kernel"] + params["output"]["bias"][None]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()

    @jax.jit
    def step(params: dict, state: optax.OptState, key: jax.Array) -> tuple:
        rows = jax.random.randint(key, (128,), 0, len(images))
        value, grads = jax.value_and_grad(loss)(params, rows)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    losses = []
    for key in jax.random.split(keys[2], steps):
        params, state, value = step(params, state, key)
        losses.append(float(value))
    return losses[0], statistics.mean(losses[-10:])


def _summarise(records: list[dict], trained: float, total: float) -> None:
    objectives = [r["meta/valid_objective"] for r in records if "meta/valid_objective" in r]
    rates = [r[RATE] for r in records if RATE in r]
    print(f"""
meta-loss       {objectives[0]:.4f} at the start, {objectives[-1]:.4f} at the end
inner steps     {statistics.median(rates):,.0f} a second
time            {trained:.0f} s of meta-training, {total:.0f} s in all
run             {RUN}
optimizer       {OPTIMIZER}
report          {REPORT}/report.md

next
  .venv/bin/lopt-train --help      presets, and how a run is resumed
  .venv/bin/lopt-eval {OPTIMIZER} --suite quadratics      unseen tasks
  lopt.as_optax("{OPTIMIZER}", horizon=1000)      in your own loop""")


def _say(what: str) -> None:
    print(f"\n== {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

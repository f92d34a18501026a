"""The meta-step grid of `check_gpu.py`: `gpu_meta_step.py JSON` compiles a case, or its inner step alone, or
times compiled ones.

Cases are compiled in parallel, each in its own process, and stored; then one process loads and times them in
turn, on a machine that does nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import serialize_executable
from meta_step_timing import Case, MetaStep, make_dynamics, make_theta

SHORTEST_CALL = 0.2
"""Smallest duration of a timed call in seconds, which determines its number of meta-steps."""


def compile_case(case: Case, program: Path) -> dict[str, Any]:
    """Compile a case and store the program; return its costs."""
    built = MetaStep.of(case)
    compile_s = built.compile()
    temporaries = built.function.memory_analysis().temp_size_in_bytes
    payload = serialize_executable.serialize(built.function)[0]
    program.with_suffix(".json").write_text(json.dumps(sorted(built.metrics)))
    program.write_bytes(payload)  # last: a program that is there is whole
    return {"compile_s": compile_s, "temporaries_mb": temporaries / 1e6, "program_mb": len(payload) / 1e6}


def inner_step_costs(case: Case) -> dict[str, Any]:
    """Return bytes and operations of one member's inner step, by XLA's cost analysis, in this population.

    XLA counts the body of a loop once, so they can't be read from the program of a meta-step. Here the
    program is an inner step of all particles, and nothing else. `state_bytes` is the least: the member's
    state, read once and written once.
    """
    dynamics, members, theta = make_dynamics(case), 2 * case.particles, make_theta(case)

    def begin(key: jax.Array) -> Any:
        return dynamics.init(theta, jnp.asarray(100, jnp.int32), key)

    def step(dynamics: Any, theta: Any, state: Any, key: jax.Array) -> Any:
        pair = jax.vmap(dynamics.step, in_axes=(0, 0, None))  # antithetic members share their batch
        return jax.vmap(pair)(theta, state, key)

    def several(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((case.particles, 2, *leaf.shape), leaf.dtype)

    key = jax.random.key(0)
    state = jax.eval_shape(begin, key)
    keys = jax.eval_shape(lambda: jax.random.split(key, case.particles))
    arguments = (jax.tree.map(several, theta), jax.tree.map(several, state), keys)
    compiled = jax.jit(step, donate_argnums=2).lower(dynamics, *arguments).compile()
    costs: Any = compiled.cost_analysis() or {}
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state.params, state.optimizer)))
    return {
        "step_bytes": costs.get("bytes accessed", float("nan")) / members,
        "step_operations": costs.get("flops", float("nan")) / members,
        "state_bytes": 2 * size,
    }


def load(case: Case, program: Path) -> MetaStep:
    """Load a compiled case."""
    built = MetaStep.of(case)
    metrics = dict.fromkeys(json.loads(program.with_suffix(".json").read_text()), 0)
    built.function = serialize_executable.deserialize_and_load(
        program.read_bytes(),
        jax.tree.structure((built.arguments, {})),
        jax.tree.structure((built.state, built.members, metrics)),
        execution_devices=jax.devices()[: case.devices],
    )
    return built


def time_case(case: Case, program: Path, seconds: float) -> dict[str, Any]:
    """Time a compiled case; return seconds per meta-step and inner steps per second."""
    built = load(case, program)
    built.call(1)
    count = max(1, round(SHORTEST_CALL / built.call(1)))
    times = built.repeat(count, seconds)
    loss = float(built.metrics["loss"])
    return {
        "meta_step_s": statistics.median(times) / count,
        "inner_steps_per_s": case.inner_steps * count / statistics.median(times),
        "best_inner_steps_per_s": case.inner_steps * count / min(times),
        "repeats": len(times),
        "finite": loss == loss and abs(loss) != float("inf"),
    }


def time_cases(cases: list[tuple[Case, Path]], seconds: float) -> None:
    """Time compiled cases in turn, and print a line of JSON for each, an error for one that fails."""
    for case, program in cases:
        try:
            result = time_case(case, program, seconds)
        except Exception as error:  # such as too little memory, which the next case may not need
            result = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(dataclasses.asdict(case) | result), flush=True)


def main() -> None:
    """Compile the case of the JSON argument, or its inner step, or time its cases."""
    arguments = json.loads(sys.argv[1])
    if "cases" in arguments:
        cases = [(Case(**case), Path(program)) for case, program in arguments["cases"]]
        time_cases(cases, arguments["seconds"])
    elif "program" in arguments:
        case = Case(**arguments["case"])
        print(json.dumps(dataclasses.asdict(case) | compile_case(case, Path(arguments["program"]))))
    else:
        print(json.dumps(inner_step_costs(Case(**arguments["case"]))))


if __name__ == "__main__":
    main()

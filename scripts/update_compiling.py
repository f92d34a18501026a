"""Compile one optimizer's update on one tree, and Adam's before and after; print the costs as JSON.

`scripts/benchmark.py optimizers` starts it for each case; `update_timing.py` runs the compiled update.
"""

from __future__ import annotations

import json
import math
import re
import resource
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.experimental import serialize_executable
from parameter_trees import TREES, make_gradients, make_parameters
from update_runner import BASELINES, Runner, clock, optimizers, since


def measure(optimizer: str, tree: str, program: str) -> dict[str, Any]:
    """Measure the cost of compilation, in a process that has compiled nothing before.

    Args:
        optimizer: the optimizer's name.
        tree: the parameter tree's name.
        program: a file for the compiled update.
    """
    params = make_parameters(TREES[tree]())
    adam, tx = BASELINES["adam"](), optimizers()[optimizer]()
    compile_update(adam, {"warm": jnp.ones(2)})  # a process's first compilation has overhead
    before, _ = compile_update(adam, params)
    costs, compiled = compile_update(tx, params)
    check_memory(compiled)
    runner = Runner(tx, compiled, params, [make_gradients(TREES[tree]())])
    runner.warm_up()
    resident = {"resident_mb": _peak_resident_mb()}
    costs |= _sizes(compiled, params, runner.state)
    after, compiled_adam = compile_update(adam, params)
    adam_costs = {name: (before[name] + after[name]) / 2 for name in before}
    adam_costs |= _sizes(compiled_adam, params, jax.eval_shape(adam.init, params))
    Path(program).write_bytes(serialize_executable.serialize(compiled)[0])
    leaves = jax.tree.leaves(params)
    return {
        "parameters": sum(leaf.size for leaf in leaves),
        "tensors": len(leaves),
        **costs,
        **resident,
        "adam": adam_costs,
        "ratios": {name: costs[name] / its if its else None for name, its in adam_costs.items()},
        "finite": runner.finite,
        "copied_state": runner.copied,
    }


def compile_update(tx: optax.GradientTransformation, params: Any) -> tuple[dict[str, float], Any]:
    """Trace and compile an update with donated state, as in a training step; return the costs."""
    jax.clear_caches()  # or a second optimizer would reuse the first one's traces of jax.numpy functions
    state = jax.eval_shape(jax.jit(tx.init), params)
    began = clock()
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer counts of steps
        lowered = jax.jit(tx.update, donate_argnums=1).lower(params, state, params)
    trace_cpu_s, trace_s = since(began)
    began = clock()
    compiled = lowered.compile()
    compile_cpu_s, compile_s = since(began)
    costs = {
        "trace_cpu_s": trace_cpu_s,
        "trace_s": trace_s,
        "compile_cpu_s": compile_cpu_s,
        "compile_s": compile_s,
    }
    return costs, compiled


def check_memory(compiled: Any) -> None:
    """Check that there is enough memory for an update, so that the system doesn't kill a process.

    Raises:
        MemoryError: if a CPU has too little.
    """
    sizes = compiled.memory_analysis()
    needed = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    needed = (needed + sizes.temp_size_in_bytes) / 1e9
    free = (_kilobytes("/proc/meminfo", "MemAvailable") or math.inf) * 1024 / 1e9
    if jax.default_backend() == "cpu" and needed > free:
        raise MemoryError(f"an update needs {needed:.1f} GB, and {free:.1f} GB are free")


def _sizes(compiled: Any, params: Any, state: Any) -> dict[str, float]:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return {
        "hlo_operations": len(re.findall(r"^\s+(?:ROOT )?%?[\w.-]+ = ", compiled.as_text(), re.MULTILINE)),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes / parameters,
        "state_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) / parameters,
    }


def _peak_resident_mb() -> float:
    """Return the peak of this process; `ru_maxrss` would include its parent's memory at the start."""
    peak = _kilobytes("/proc/self/status", "VmHWM")
    return (peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def _kilobytes(path: str, name: str) -> int | None:
    text = Path(path).read_text() if Path(path).exists() else ""
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else None


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))

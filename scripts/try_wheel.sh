#!/usr/bin/env bash
# Build the wheel into dist/, install it into a fresh environment with the versions of requirements.lock, and try
# it far from the source tree: `import lopt` with what it needs alone, then a run of the platform.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

rm -rf dist
"${PYTHON:-python3}" -m pip wheel --quiet --no-deps --wheel-dir dist .
wheel=$(ls "$root"/dist/lopt-*.whl)
"${PYTHON:-python3}" -m venv "$place/venv"
pip=("$place/venv/bin/pip" --disable-pip-version-check install --quiet --constraint requirements.lock)
export PATH="$place/venv/bin:$PATH"

"${pip[@]}" "$wheel"
cd "$place"
python - <<'PYTHON'
import jax.numpy as jnp
import lopt

tx = lopt.as_optax("small", horizon=10)
params = {"kernel": jnp.ones((4, 2))}
updates, _ = tx.update(params, tx.init(params), params)
assert jnp.isfinite(updates["kernel"]).all() and updates["kernel"].any()
PYTHON
lopt-train --list >train.out 2>&1 && { echo "lopt-train works without its packages" >&2; exit 1; }
grep -q "lopt\[train\]" train.out

cd "$root"
"${pip[@]}" "$wheel[train]"
cd "$place"
lopt-train tiny --run-dir runs/tiny --steps 20 --no-progress
lopt-export runs/tiny tiny
python -c 'import lopt; print(lopt.load("tiny"))'
echo "$(basename "$wheel") works."

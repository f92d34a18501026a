"""A step of the dynamics whose derivative is finite even if the step itself is not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Key

from .dynamics import Dynamics, Theta


def unusable(dynamics: Dynamics, loss: Float[Array, ""]) -> Bool[Array, ""]:
    """Return whether a loss is not finite, or not below the dynamics' ceiling."""
    return ~(jnp.isfinite(loss) & (loss < dynamics.ceiling))


@jax.custom_jvp
def guarded_step(dynamics: Dynamics, theta: Theta, state: Any, key: Key[Array, ""]) -> tuple[Any, Array]:
    """Do a step of the dynamics, with a derivative that is finite even if the step is not."""
    return dynamics.step(theta, state, key)


def _push(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """Push tangents through a step, with zero tangents for results that overflow.

    An infinite derivative times zero is NaN, so selecting the step's result is not enough. In forward mode
    the zero must be in the input tangent, in reverse mode in the output tangent: both are set to zero,
    separately for the loss and for the state, because a loss may overflow while the state does not.
    """
    dynamics, _, state, _ = primals
    leaves, treedef = jax.tree.flatten(primals)
    slopes = jax.tree.leaves(tangents, is_leaf=_is_still)
    moving = [at for at, slope in enumerate(slopes) if not _is_still(slope)]

    def run(*moved: Array) -> tuple[Any, Array]:
        at = dict(zip(moving, moved, strict=True))
        dynamics, theta, state, key = treedef.unflatten([at.get(i, x) for i, x in enumerate(leaves)])
        return dynamics.step(theta, state, key)

    (ahead, loss), push = jax.linearize(run, *(leaves[at] for at in moving))
    bad = unusable(dynamics, loss)
    broken = _overflows(state, ahead) | (bad & ~_all_finite(ahead))

    def push_unless(stopped: Bool[Array, ""]) -> tuple[Any, Array]:
        return _zero_where(stopped, push(*_zero_where(stopped, [slopes[at] for at in moving])))

    return (ahead, loss), (push_unless(broken)[0], push_unless(bad)[1])


guarded_step.defjvp(_push, symbolic_zeros=True)


def _overflows(before: Any, after: Any) -> Bool[Array, ""]:
    """Return whether a number that was finite before is not finite after."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    lost = [jnp.any(jnp.isfinite(x) & ~jnp.isfinite(y)) for x, y in pairs if _is_inexact(y)]
    return jnp.any(jnp.stack([jnp.zeros((), bool), *lost]))


def _all_finite(tree: Any) -> Bool[Array, ""]:
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree) if _is_inexact(x)]
    return jnp.all(jnp.stack([jnp.ones((), bool), *finite]))


def _zero_where(stopped: Bool[Array, ""], tangents: Any) -> Any:
    """Set tangents to zero, except those of integers, which have dtype float0."""
    return jax.tree.map(lambda t: jnp.where(stopped, 0, t) if _is_inexact(t) else t, tangents)


def _is_inexact(x: Array) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _is_still(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)

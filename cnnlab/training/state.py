"""Everything that changes while a network trains, as one pytree of arrays.

Nothing random is in it: data order, augmentation and dropout are derived from the seed and the
step, so the state at step s is all that a resumed run needs to be the same run.
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, struct
from jax import Array


@struct.dataclass
class Tally:
    """What the current epoch has seen so far: sums, and the first step whose loss was no number."""

    loss: Array
    wrong: Array
    examples: Array
    bad_step: Array


@struct.dataclass
class State:
    """step [], params, batch_stats, optimiser state, an average of the weights or None, tally."""

    step: Array
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any
    tally: Tally

    @property
    def variables(self) -> dict[str, Any]:
        """What evaluation uses: the average where one is kept."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    model: linen.Module,
    optimizer: optax.GradientTransformation,
    key: Array,
    examples: Array,
    *,
    averaged: bool,
) -> State:
    """The state at step 0. Run it jitted: eager init compiles each op.

    Of the examples, normalised images [N, H, W, C], most networks take the shape alone; a layer
    that is made for its data takes their statistics.
    """
    variables = model.init({"params": key, "dropout": key}, examples)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    # A copy each, since the state is donated whole and a buffer can be donated only once.
    average = jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats})
    tally = Tally(
        loss=jnp.zeros(()),
        wrong=jnp.zeros((), jnp.int32),
        examples=jnp.zeros((), jnp.int32),
        bad_step=jnp.full((), -1, jnp.int32),
    )
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        average=average if averaged else None,
        tally=tally,
    )


def digest(tree: Any) -> str:
    """SHA-256 over every leaf's path, type, shape and bytes: equal if and only if bit-equal."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()

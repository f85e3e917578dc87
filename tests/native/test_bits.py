"""The same bits on one core as on several: what is added up where depends on the shapes alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import hashlib, os, sys
if sys.argv[1:]:
    os.sched_setaffinity(0, {int(sys.argv[1])})
import jax, jax.numpy as jnp, numpy as np
from cnnlab import ops

def layers(x, kernel, scale):
    x = ops.conv2d(x, kernel, padding=1)
    x = ops.batch_norm(x, scale, scale, scale, scale, train=True)[0]
    return ops.max_pool(x, kernel=2)

def all_of_it(upstream, *given):
    y, pull_back = jax.vjp(layers, *given)
    return y, pull_back(upstream)

random = np.random.default_rng(0)
shapes = (72, 16, 16, 16), (72, 32, 32, 3), (3, 3, 3, 16), (16,)
given = [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]
found = jax.jit(ops.using("onednn")(all_of_it))(*given)
print(hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(found))).hexdigest())
"""


def digest(*core: str) -> str:
    path = ":".join([str(Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", CODE, *core],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_one_core_and_several() -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("this machine has one core")
    assert digest() == digest(str(min(cores)))

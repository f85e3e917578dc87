"""cnnlab as a contender: `ops.conv2d`, the register's networks, `training.step.make_update`."""

import jax.numpy as jnp
import optax
from flax import linen
from jax import Array

from cnnlab import models, ops
from cnnlab.benchmark.suite import CLASSES, IMAGE, Layer
from cnnlab.benchmark.with_jax import Convolution, JaxContender, Training
from cnnlab.native.memory import keep_memory
from cnnlab.training.state import State, create_state
from cnnlab.training.step import make_update


def convolution(layer: Layer) -> Convolution:
    """The layer's convolution."""
    return lambda x, kernel: ops.conv2d(x, kernel, padding=layer.padding)


def network(model: str) -> linen.Module:
    """The network of a name or pattern."""
    return models.create(model, classes=CLASSES)


def training(model: linen.Module, optimizer: optax.GradientTransformation) -> Training:
    """The step that runs train with."""
    update = make_update(model, optimizer, label_smoothing=0.0)

    def create(key: Array) -> State:
        return create_state(model, optimizer, key, jnp.zeros((1, *IMAGE)), averaged=False)

    def step(state: State, x: Array, y: Array, key: Array) -> State:
        return update(state, x, y, key, jnp.asarray(False))

    return Training(create, step)


keep_memory()  # as the launchers do, before JAX starts

CONTENDER = JaxContender(convolution, network, training)

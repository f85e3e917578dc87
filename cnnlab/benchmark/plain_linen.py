"""Flax Linen as a user would write it: `linen.Conv`, `linen.BatchNorm`, `linen.max_pool`, Optax.

The networks are those of cnnlab, step by step (`structure`), so that the parameters are as many.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen
from flax.training import train_state
from jax import Array

from cnnlab.benchmark import ours
from cnnlab.benchmark.structure import Step, structure
from cnnlab.benchmark.suite import IMAGE, Layer
from cnnlab.benchmark.with_jax import Convolution, JaxContender, Training


class Block(linen.Module):
    """Two 3x3 convolutions and a shortcut of option A."""

    filters: int
    stride: int

    @linen.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """x [N, H, W, C] -> [N, H/S, W/S, K]."""
        conv = partial(linen.Conv, self.filters, (3, 3), padding=1, use_bias=False)
        norm = partial(linen.BatchNorm, use_running_average=not train, momentum=0.9)
        y = linen.relu(norm()(conv(strides=self.stride)(x)))
        y = norm()(conv()(y))
        x = x[:, :: self.stride, :: self.stride]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.filters - x.shape[-1])))
        return linen.relu(x + y)


class Net(linen.Module):
    """A network of steps."""

    steps: tuple[Step, ...]

    @linen.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """x [N, H, W, C] -> logits [N, classes]."""
        for step in self.steps:
            match step:
                case ("conv", k, f, s, p, bias):
                    x = linen.Conv(k, (f, f), strides=s, padding=p, use_bias=bias)(x)
                case ("bn",):
                    x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
                case ("relu",):
                    x = linen.relu(x)
                case ("max_pool", f, s, p):
                    x = linen.max_pool(x, (f, f), (s, s), ((p, p), (p, p)))
                case ("dropout", rate):
                    x = linen.Dropout(rate, deterministic=not train)(x)
                case ("gap",):
                    x = x.mean((1, 2))
                case ("fc", k):
                    x = linen.Dense(k)(x.reshape(len(x), -1))
                case ("block", k, s):
                    x = Block(k, s)(x, train)
        return x


class TrainState(train_state.TrainState):
    """With running statistics, as in Flax's ImageNet example."""

    batch_stats: Any


def convolution(layer: Layer) -> Convolution:
    """The layer's convolution."""
    size = (layer.kernel, layer.kernel)
    conv = linen.Conv(layer.filters, size, padding=layer.padding, use_bias=False)

    def convolve(x: Array, kernel: Array) -> Any:
        return conv.apply({"params": {"kernel": kernel}}, x)

    return convolve


def network(model: str) -> linen.Module:
    """The counterpart of a cnnlab network."""
    return Net(structure(ours.network(model)))


def training(model: linen.Module, optimizer: optax.GradientTransformation) -> Training:
    """The training step of Flax's examples."""

    def create(key: Array) -> TrainState:
        variables = model.init({"params": key, "dropout": key}, jnp.zeros((1, *IMAGE)))
        params, stats = variables["params"], variables.get("batch_stats", {})
        return TrainState.create(
            apply_fn=model.apply, params=params, tx=optimizer, batch_stats=stats
        )

    def step(state: TrainState, x: Array, y: Array, key: Array) -> TrainState:
        def loss_of(params: Any) -> tuple[Array, Any]:
            logits, updates = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.fold_in(key, state.step)},
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
            return loss, updates.get("batch_stats", {})

        gradients, stats = jax.grad(loss_of, has_aux=True)(state.params)
        return state.apply_gradients(grads=gradients, batch_stats=stats)

    return Training(create, step)


CONTENDER = JaxContender(convolution, network, training)

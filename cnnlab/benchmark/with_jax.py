"""Tasks of a JAX contender, from its convolution, its network and its training step."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from jax import Array

from cnnlab import ops
from cnnlab.benchmark.suite import (
    CLASSES,
    FORWARD,
    IMAGE,
    INPUT_GRADIENT,
    LEARNING_RATE,
    MOMENTUM,
    TRAINING,
    Job,
    Layer,
    Matmul,
)
from cnnlab.benchmark.tasks import Task
from cnnlab.training.environment import environment

Convolution = Callable[[Array, Array], Array]
"""(x [N, H, W, C], kernel [F, F, C, K]) -> [N, H', W', K]."""


class Training(NamedTuple):
    """`create(key) -> state` and `step(state, x, y, key) -> state`, to be jitted."""

    create: Callable[[Array], Any]
    step: Callable[[Any, Array, Array, Array], Any]


class JaxContender(NamedTuple):
    """What sets one JAX contender apart from another."""

    convolution: Callable[[Layer], Convolution]
    network: Callable[[str], linen.Module]
    training: Callable[[linen.Module, optax.GradientTransformation], Training]

    def facts(self, _: str | None) -> dict[str, Any]:
        """Versions and device."""
        return environment()

    def program(self, layer: Layer, batch: int) -> str:
        """What the compiler is given for a convolution and both its gradients."""
        convolve, (x, kernel, _) = self.convolution(layer), _arrays(layer, batch, "float32")
        gradients = jax.grad(lambda x, w: convolve(x, w).sum() ** 2, argnums=(0, 1))
        return _jit(gradients).lower(x, kernel).as_text()

    def prepare(self, job: Job) -> Task:
        """Compile a job."""
        match job.subject:
            case Matmul(size=size):
                a = jnp.asarray(normal(size, size), job.dtype)
                return _compiled(jnp.matmul, (a, a), weights=0)
            case Layer() as layer:
                return self._layer(layer, job)
            case net:
                model, x = self.network(net.model), jnp.asarray(normal(job.batch, *IMAGE))
                make = self._training if job.what == TRAINING else _inference
                return make(model, x)

    def _layer(self, layer: Layer, job: Job) -> Task:
        convolve = self.convolution(layer)
        x, kernel, upstream = _arrays(layer, job.batch, job.dtype)
        if job.what == FORWARD:
            return _compiled(convolve, (x, kernel), weights=kernel.size)
        which = 0 if job.what == INPUT_GRADIENT else 1

        def gradient(x: Array, kernel: Array, upstream: Array) -> Array:
            _, pull_back = jax.vjp(convolve, x, kernel)
            found: Array = pull_back(upstream)[which]
            return found

        return _compiled(gradient, (x, kernel, upstream), weights=kernel.size)

    def _training(self, model: linen.Module, x: Array) -> Task:
        y, key = jnp.arange(len(x)) % CLASSES, jax.random.key(1)
        create, step = self.training(model, optax.sgd(LEARNING_RATE, MOMENTUM))
        state = _filled(jax.eval_shape(create, key))
        weights = _count(state.params)
        start = time.perf_counter()
        run = _jit(step, donate_argnums=0).lower(state, x, y, key).compile()
        seconds = time.perf_counter() - start

        def call() -> Any:
            nonlocal state
            state = run(state, x, y, key)
            return state

        return Task(call, jax.block_until_ready, weights, seconds)


def _inference(model: linen.Module, x: Array) -> Task:
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = _filled(jax.eval_shape(model.init, keys, x[:1]))

    def infer(variables: Any, x: Array) -> Any:
        return model.apply(variables, x, train=False)

    return _compiled(infer, (variables, x), weights=_count(variables["params"]))


def _jit(function: Callable[..., Any], **options: Any) -> Any:
    """As runs are compiled; it makes no difference to what does not call `ops`."""
    return jax.jit(ops.using(ops.preferred())(function), **options)


def _compiled(function: Callable[..., Any], arguments: tuple[Any, ...], *, weights: int) -> Task:
    start = time.perf_counter()
    run = _jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    # Calls that do not depend on each other may run at the same time on a CPU.
    alone = jax.block_until_ready if jax.default_backend() == "cpu" else lambda result: result
    return Task(lambda: alone(run(*arguments)), jax.block_until_ready, weights, seconds)


def _arrays(layer: Layer, batch: int, dtype: str) -> tuple[Array, Array, Array]:
    """Input, filters, and the gradient that comes from above."""
    size, out = layer.size, layer.output_size
    x = normal(batch, size, size, layer.channels)
    kernel = normal(layer.kernel, layer.kernel, layer.channels, layer.filters)
    upstream = normal(batch, out, out, layer.filters)
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype), jnp.asarray(upstream, dtype)


def _filled(shapes: Any) -> Any:
    """Numbers such as training begins with; to initialise would be to compile for them."""

    def fill(leaf: jax.ShapeDtypeStruct) -> Array:
        if leaf.ndim < 2:
            return jnp.ones(leaf.shape, leaf.dtype)
        return jnp.asarray(normal(*leaf.shape) * math.sqrt(2 / math.prod(leaf.shape[:-1])))

    return jax.tree.map(fill, shapes)


def normal(*shape: int) -> np.ndarray:
    """Standard normal float32 numbers, the same at every call."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _count(params: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))

"""The MACs of every registered network against XLA's own count of operations.

The rule: XLA counts two operations a MAC, none for a tap that meets only padding, and one for each
other sum, product or comparison. So its count, less two for every tap on the image, is what the
rest of the network does: not negative, and a few operations for each number a layer puts out.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params

import cnnlab
from cnnlab import models

OPERATIONS_A_NUMBER = 12  # the most costly: LRN's window of five and its power, a 3x3 pooling


def equations(jaxpr):
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)


def taps(size, kernel, stride, pads, dilation, count):
    """How many of one axis's filter taps meet the image, over all positions: by looking."""
    starts = np.arange(count)[:, None] * stride - pads[0]
    at = starts + np.arange(kernel)[None] * dilation
    return int(((at >= 0) & (at < size)).sum())


def macs_of(eqn):
    """(nominal, on the image) multiply-adds of one convolution or matrix product."""
    x, w = (var.aval.shape for var in eqn.invars)
    y, params = eqn.outvars[0].aval.shape, eqn.params
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        both = math.prod(y) * math.prod(x[axis] for axis in contracted)
        return both, both
    depth = math.prod(w[2:])  # kernels are [F, F, C/groups, K]
    nominal = math.prod(y[1:3]) * math.prod(w)
    on_image = math.prod(
        taps(*numbers)
        for numbers in zip(
            x[1:3],
            w[:2],
            params["window_strides"],
            params["padding"],
            params["rhs_dilation"],
            y[1:3],
            strict=True,
        )
    )
    return nominal, on_image * depth


def test_macs_against_xla(every):
    network = models.network(every)
    model = network.build()
    image = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    traced = jax.jit(model.apply).trace(variables, image)
    products = [
        macs_of(eqn)
        for eqn in equations(traced.jaxpr.jaxpr)
        if eqn.primitive.name in ("conv_general_dilated", "dot_general")
    ]
    nominal, on_image = map(sum, zip(*products, strict=True))
    summary = cnnlab.summarize(model, network.input_shape)
    assert summary.macs == nominal
    flops = traced.lower().cost_analysis()["flops"]
    numbers = sum(math.prod(row.shape) for row in summary.rows)
    assert 0 <= flops - 2 * on_image <= OPERATIONS_A_NUMBER * numbers

"""The layer table of a network, as the notes write VGG's: by tracing shapes, allocating nothing.

Conventions: a MAC is one multiply-add of a CONV, LOCAL or FC layer, with the padding's zeros
counted; bias adds, norms and pooling are not. Activations are the numbers that INPUT, CONV, LOCAL,
POOL, GAP and FC put out for one image, as in N0's table; BN, RELU, DROP and ADD work in place.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen
from jax.ad_checkpoint import checkpoint_name

from cnnlab import nn
from cnnlab.analysis.receptive_field import WHOLE, Field, receptive_fields
from cnnlab.geometry import ReceptiveField


@dataclass(frozen=True)
class Row:
    """One layer: `shape` is its output's for one image, `field` what one output neuron sees."""

    path: str
    notation: str
    shape: tuple[int, ...]
    weights: int
    biases: int
    activations: int
    macs: int
    field: Field


@dataclass(frozen=True)
class Summary:
    """Rows and their totals, for one image."""

    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        """Trainable numbers: weights and biases, a norm's scale and offset."""
        return sum(row.weights + row.biases for row in self.rows)

    @property
    def activations(self) -> int:
        """Numbers put out in one forward pass of one image, the input included."""
        return sum(row.activations for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds of one forward pass of one image."""
        return sum(row.macs for row in self.rows)

    @property
    def receptive_field(self) -> ReceptiveField:
        """What a neuron of the last feature map sees."""
        return [row.field for row in self.rows if row.field is not WHOLE][-1]

    def __str__(self) -> str:
        lines = [f"{'layer':<16}{'output':>14}{'weights':>13}{'MACs':>17}{'sees':>6}"]
        for row in self.rows:
            shape = "x".join(map(str, row.shape))
            sees = "all" if row.field is WHOLE else str(row.field.size)
            weights = f"{row.weights + row.biases:,}"
            lines.append(f"{row.notation:<16}{shape:>14}{weights:>13}{row.macs:>17,}{sees:>6}")
        total = f"{self.params:,}"
        lines.append(f"{'total':<16}{'':>14}{total:>13}{self.macs:>17,}{'':>6}")
        return "\n".join(lines)


def summarize(model: linen.Module, input_shape: tuple[int, ...]) -> Summary:
    """The layer table of `model` on one image of `input_shape` (H, W, C).

    Raises:
        DoesNotFit: where the model does not fit that input.
    """
    image = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    traced: dict[str, Row] = {}

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        y = call(*args, **kwargs)
        layer = context.module
        if context.method_name != "__call__" or not isinstance(layer, nn.Layer):
            return y
        path = "/".join(layer.path)
        traced[path] = _row(path, layer, args[0], y)
        return checkpoint_name(y, path)

    def forward(variables: Any, x: Any) -> Any:
        with linen.intercept_methods(record):
            return model.apply(variables, x, train=False)

    fields = receptive_fields(forward, variables, image)
    size = math.prod(input_shape)
    first = Row("", "INPUT", tuple(input_shape), 0, 0, size, 0, ReceptiveField())
    # Fields are known only once the whole is traced.
    rows = (dataclasses.replace(row, field=fields[path]) for path, row in traced.items())
    return Summary((first, *rows))


def _row(path: str, layer: nn.Layer, x: Any, y: Any) -> Row:
    shape = y.shape[1:]
    sizes = {
        name: math.prod(value.shape) for name, value in layer.variables.get("params", {}).items()
    }
    biases = sizes.pop("bias", 0)
    weights = sum(sizes.values())
    activations = 0 if layer.in_place else math.prod(shape)
    macs = layer.macs(weights, shape)
    return Row(path, layer.notation, shape, weights, biases, activations, macs, WHOLE)

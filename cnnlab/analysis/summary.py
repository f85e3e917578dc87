"""The layer table of a network, as the notes write VGG's: by tracing shapes, allocating nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import linen
from flax.traverse_util import flatten_dict

from cnnlab import nn
from cnnlab.analysis import rendering
from cnnlab.analysis.counts import Count, total
from cnnlab.analysis.memory import Memory, estimate_memory
from cnnlab.analysis.receptive_field import ALL, WHOLE, Field, receptive_fields
from cnnlab.analysis.trace import Call, layer_calls
from cnnlab.geometry import ReceptiveField, whole
from cnnlab.ops import Size

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One layer, for one image.

    Attributes:
        path: its name in the network, e.g. `stage1_block1/conv1`; "" for the input.
        notation: what it is, as the notes write it.
        shape: of what it puts out, e.g. (H, W, C).
        weights: trainable numbers but biases. What is called again counts once.
        biases: trainable numbers that are added.
        activations: numbers it puts out, 0 where it works in place.
        macs: multiply-adds; None where the layer does not say, and they are not known.
        fields: what one of its neurons sees along the height and the width; `WHOLE` (None) for
            all of it.
        kernel: F in pixels, a pair where height and width differ; None without a window.
        stride: S in pixels.
        padding: P in pixels on each side.
    """

    path: str
    notation: str
    shape: tuple[int, ...]
    weights: int
    biases: int
    activations: int
    macs: Count
    fields: tuple[Field, Field]
    kernel: Size | None = None
    stride: Size | None = None
    padding: Size | None = None

    @property
    def params(self) -> int:
        """Trainable numbers: weights and biases."""
        return self.weights + self.biases

    @property
    def field(self) -> Field:
        """The larger of the two fields."""
        height, width = self.fields
        if height is WHOLE or width is WHOLE:
            return WHOLE
        return max(height, width, key=lambda field: field.size)


@dataclass(frozen=True)
class Summary:
    """Rows and their totals, for one image.

    `print` shows a table, a notebook draws one; `table` writes Markdown, LaTeX and HTML, and
    `to_frame` gives the plain numbers to pandas, and through it to CSV and JSON. They all have the
    columns of `COLUMNS`, and choose among them by `columns=`.
    """

    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        """Trainable numbers: weights and biases, a norm's scale and offset."""
        return sum(row.params for row in self.rows)

    @property
    def activations(self) -> int:
        """Numbers put out in one forward pass of one image, the input included."""
        return sum(row.activations for row in self.rows)

    @property
    def macs(self) -> Count:
        """Multiply-adds of one forward pass of one image; None where a layer's are not known."""
        return total(row.macs for row in self.rows)

    @property
    def receptive_field(self) -> Field:
        """What a neuron of the last feature map sees; one pixel where the image is the last."""
        return [row.field for row in self.rows if len(row.shape) > 1][-1]

    @property
    def sees(self) -> int | str:
        """`receptive_field` in a word, as records keep it: pixels, or `ALL` of the image."""
        return ALL if self.receptive_field is WHOLE else self.receptive_field.size

    def memory(self, batch_size: int = 1, dtype: Any = "float32", *, cache: int = 1) -> Memory:
        """The notes' estimate of the memory that a batch takes.

        Args:
            batch_size: images.
            dtype: of the activations; parameters are always float32.
            cache: numbers the optimiser keeps for each parameter: 1 momentum, 2 Adam.

        Raises:
            ValueError: a number out of range; an unknown dtype.
        """
        image, *layers = self.rows
        return estimate_memory(
            activations=sum(row.activations for row in layers),
            params=self.params,
            pixels=image.activations,
            batch_size=batch_size,
            dtype=dtype,
            cache=cache,
        )

    def table(self, form: str = "text", columns: Sequence[str] = rendering.SHOWN) -> str:
        """The table and its totals, to be read.

        Args:
            form: "text", "markdown", "latex" or "html".
            columns: some of `COLUMNS`, in the order wanted.

        Raises:
            ValueError: an unknown form or column; no columns.
        """
        return rendering.table(self, form, columns)

    def to_frame(self, columns: Sequence[str] = tuple(rendering.COLUMNS)) -> "pd.DataFrame":
        """The rows as plain numbers, without totals.

        A number is missing where there is no window, and where MACs are not known.

        Sizes of windows, receptive fields and their steps have a column along each axis:
        `kernel_h` and `kernel_w` for `kernel`. A missing receptive field is the whole image. Shares
        are fractions of the network's total.

        Args:
            columns: some of `COLUMNS`, in the order wanted.

        Raises:
            ValueError: an unknown column; no columns.
        """
        return rendering.frame(self, columns)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return self.table("html")


def summarize(model: linen.Module, input_shape: tuple[int, ...]) -> Summary:
    """The layer table of `model` at test time, on one image of `input_shape` (H, W, C).

    Conventions: a MAC is one multiply-add of a CONV, LOCAL or FC layer, with the padding's zeros
    counted; bias adds, norms and pooling are not. A layer of your own says what it has
    (`nn.Layer.macs`), or its MACs are unknown, and with them the total. Activations are the numbers
    that INPUT, CONV, LOCAL, POOL, GAP and FC put out, as in N0's table; BN, RELU, LRN, DROP, ADD
    and CONCAT work in place. A layer that is called again has a row for each call, and its weights
    stand in the first. What is there in training only, such as GoogLeNet's auxiliary heads, is in
    no row and no total.
    A network that scans its blocks (`scan=True`) is summed up as its twin that does not.

    Raises:
        DoesNotFit: where the model does not fit that input; says which layer, and what it is given.
        ValueError: `input_shape` is no image's; the model has parameters outside its layers.
        TypeError: `model` is no Linen module.
        UnknownField: an operation whose receptive field is not known.
    """
    input_shape = _checked(model, input_shape)
    if getattr(model, "scan", False):
        model = model.clone(scan=False)
    # Two images, so that no reshape can take a dimension of size 1 for the batch.
    images = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
    calls: list[Call] = []

    def forward(x: Any) -> list[Any]:
        # Not `init`, which would also call what is only there to be trained.
        with layer_calls() as called:
            rngs = {"params": jax.random.key(0)}
            _, variables = model.apply({}, x, train=False, rngs=rngs, mutable=True)
        calls[:] = called
        _check_all_counted(variables.get("params", {}), called)
        return [call.output for call in called]

    fields = receptive_fields(forward, images)
    rows = [_row(call, seen) for call, seen in zip(calls, fields, strict=True)]
    pixel = ReceptiveField()
    size = math.prod(input_shape)
    return Summary((Row("", "INPUT", input_shape, 0, 0, size, 0, (pixel, pixel)), *rows))


def _checked(model: Any, input_shape: Any) -> tuple[int, ...]:
    """The shape in plain integers, of an image for a module."""
    if not isinstance(model, linen.Module):
        hint = "; cnnlab.models.create makes one from a name or a pattern"
        raise TypeError(
            f"summarize wants a Linen module, not {model!r}{hint * isinstance(model, str)}"
        )
    try:
        height, width, channels = (whole("size", size, at_least=1) for size in input_shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"input_shape is (height, width, channels), whole numbers from 1; got {input_shape!r}"
        ) from None
    return height, width, channels


def _check_all_counted(params: Any, calls: list[Call]) -> None:
    shapes = {id(leaf) for call in calls for leaf in jax.tree.leaves(call.params)}
    lost = ["/".join(path) for path, leaf in flatten_dict(params).items() if id(leaf) not in shapes]
    if lost:
        raise ValueError(
            f"a summary counts what is inside nn.Layer, and these are not: {', '.join(lost)}"
        )


def _row(call: Call, fields: tuple[Field, Field]) -> Row:
    layer, shape = call.layer, call.output.shape[1:]
    sizes = {path: leaf.size for path, leaf in flatten_dict(call.params).items()}
    biases = sum(size for path, size in sizes.items() if path[-1] == "bias")
    weights = sum(sizes.values()) - biases
    first = call.time == 1
    return Row(
        path=call.path,
        notation=layer.notation,
        shape=shape,
        weights=weights * first,
        biases=biases * first,
        activations=0 if layer.in_place else math.prod(shape),
        macs=_macs(call, weights),
        fields=fields,
        **_window(layer),
    )


def _macs(call: Call, weights: int) -> Count:
    macs = call.layer.macs(weights, call.output.shape[1:])
    return None if macs is None else whole(f"macs of {call.path}", macs, at_least=0)


def _window(layer: nn.Layer) -> dict[str, Size]:
    """Kernel, stride and padding in pixels."""
    window = nn.window(layer)
    return {name: _plain(size) for name, size in window._asdict().items()} if window else {}


def _plain(size: Size) -> Size:
    """One number where height and width are equal."""
    return size[0] if isinstance(size, tuple) and size[0] == size[1] else size

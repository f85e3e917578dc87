"""The layers of the notes as Linen modules: parameters and notation around `cnnlab.ops`.

Every layer takes a volume and gives a volume, `[N, H, W, C] -> [N, H', W', K]`, by the same call
`layer(x, train=...)`, so that layers can be strung together without asking what they are.
Parameters and running statistics are float32; `dtype` is the type computed in.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from flax.errors import ScopeParamShapeError
from jax import Array

from cnnlab import geometry, ops
from cnnlab.ops import Size

Initializer = Callable[..., Array]

MADE_FOR = "made_for"
"""The collection in which an FC on a volume keeps the volume's size: by a name, with no arrays."""


class OtherSize(geometry.DoesNotFit):
    """Weights that were made for an input of another size, or of another depth.

    Attributes:
        map_size: (H, W) of the map that they were made for; None where that is not known.
    """

    def __init__(self, reason: str, map_size: tuple[int, int] | None = None) -> None:
        super().__init__(reason)
        self.map_size = map_size


he_normal = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Zero-mean Gaussian of variance 2 / fan-in (He et al. 2015, arXiv 1502.01852, eq. 10)."""

he_normal_local = jax.nn.initializers.variance_scaling(
    2.0, "fan_in", "normal", in_axis=(2, 3, 4), out_axis=5, batch_axis=(0, 1)
)
"""`he_normal` for unshared kernels [H', W', F, F, C, K]: each position has fan-in F*F*C."""


class Layer(linen.Module):
    """One row of a layer table: `notation` names it as the notes do.

    A layer of your own says what it costs by `macs`, or is a `NoMacs`; else its MACs are unknown.
    """

    in_place: ClassVar[bool] = False
    """Whether the output can take the input's place, so that it needs no memory of its own."""

    @property
    def notation(self) -> str:
        """The layer in the pattern language, e.g. `CONV3-64/2`; else its class's name."""
        return type(self).__name__.upper()

    def macs(self, weights: int, shape: tuple[int, ...]) -> int | None:
        """Multiply-adds for one image of a layer with so many weights whose output has `shape`.

        None: they are not known.
        """
        return None

    @property
    def called(self) -> str:
        """Its path in the network; its kind, where it is itself the network."""
        return "/".join(self.path) or type(self).__name__.lower()

    @linen.nowrap
    def param(self, name: str, init_fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """As Linen's.

        Raises:
            OtherSize: there is one already, and this input calls for another shape.
        """
        try:
            return super().param(name, init_fn, *args, **options)
        except ScopeParamShapeError:
            held: tuple[int, ...] = self.get_variable("params", name).shape
            wanted = jax.eval_shape(lambda: init_fn(jax.random.key(0), *args)).shape
            raise OtherSize(
                f"{self.called}'s weights were made for another input: {name} is {list(held)}, and "
                f"this one calls for {list(wanted)}",
                self._map_size(held, wanted),
            ) from None

    def _map_size(self, held: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, int] | None:
        """(H, W) of the map that a parameter was made for, if its shape tells another one."""
        return None


class NoMacs(Layer):
    """A layer of which no MACs are counted: it has no filters (`cnnlab.summarize`)."""

    def macs(self, weights: int, shape: tuple[int, ...]) -> int:
        """0, whatever it works out."""
        return 0


class Window(NamedTuple):
    """What a layer slides over its input: F, S and P, in pixels."""

    kernel: Size
    stride: Size
    padding: Size


def window(layer: Layer) -> Window | None:
    """The window that a layer has, by its fields."""
    kernel = getattr(layer, "kernel_size", None)
    if kernel is None:
        return None
    # Windows tile the input where a layer's stride is None; without one they go pixel by pixel.
    stride = getattr(layer, "stride", 1)
    padding = getattr(layer, "pixels", getattr(layer, "padding", 0))
    return Window(kernel, kernel if stride is None else stride, padding)


def written(size: Size) -> str:
    """A size as it stands in a notation: `3`, or `1x7`."""
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def _same(kernel_size: Size, dilation: Size) -> Size:
    height, width = map(geometry.same_padding, ops.pair(kernel_size), ops.pair(dilation))
    return height, width


class _Filters(Layer):
    """What CONV and LOCAL share: K filters of size F at stride S over padding P."""

    filters: int
    kernel_size: Size
    stride: Size = 1
    padding: Size | None = None
    """Pixels on each side; None keeps the size at stride 1: (F-1)/2."""
    use_bias: bool = True
    fit: str = "crop"
    dtype: Any = jnp.float32

    dilation: ClassVar[Size] = 1
    groups: ClassVar[int] = 1
    symbol: ClassVar[str]

    @property
    def pixels(self) -> Size:
        """The padding in pixels, (F-1)/2 where none was given."""
        return _same(self.kernel_size, self.dilation) if self.padding is None else self.padding

    @property
    def notation(self) -> str:
        stride = "" if self.stride == 1 else f"/{written(self.stride)}"
        padding = "" if self.padding is None else f"p{written(self.padding)}"
        groups = "" if self.groups == 1 else f"g{self.groups}"
        return f"{self.symbol}{written(self.kernel_size)}-{self.filters}{stride}{padding}{groups}"


class Conv(_Filters):
    """CONV: K shared filters, [N, H, W, C] -> [N, H', W', K] (N0, Convolutional Layer).

    Parameters: kernel [F, F, C/groups, K] (He), bias [K] (zeros) unless `use_bias` is off, as it
    should be before a batch normalisation, whose offset makes it idle.
    """

    dilation: Size = 1  # type: ignore[misc]
    groups: int = 1  # type: ignore[misc]
    kernel_init: Initializer = he_normal

    symbol: ClassVar[str] = "CONV"

    def macs(self, weights: int, shape: tuple[int, ...]) -> int:
        """Every weight once at each position."""
        return weights * math.prod(shape[:2])

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H', W', K]."""
        shape = (*ops.pair(self.kernel_size), x.shape[-1] // self.groups, self.filters)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", linen.initializers.zeros, shape[-1:]) if self.use_bias else None
        return ops.conv2d(
            x.astype(self.dtype),
            kernel,
            bias,
            stride=self.stride,
            padding=self.pixels,
            dilation=self.dilation,
            groups=self.groups,
            fit=self.fit,
        )


class LocalConv(_Filters):
    """LOCAL: a filter of its own at every position, [N, H, W, C] -> [N, H', W', K] (N2).

    Parameters: kernel [H', W', F, F, C, K] (He), bias [H', W', K] (zeros).
    """

    kernel_init: Initializer = he_normal_local

    symbol: ClassVar[str] = "LOCAL"

    def macs(self, weights: int, shape: tuple[int, ...]) -> int:
        """Every weight once."""
        return weights

    def _map_size(self, held: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, int] | None:
        return None if held[:2] == wanted[:2] else (held[0], held[1])

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H', W', K].

        Raises:
            OtherSize: the weights were made for more or fewer positions.
        """
        kernels, strides, pads = map(ops.pair, (self.kernel_size, self.stride, self.pixels))
        height, width = (
            geometry.output_size(size, kernel=f, stride=s, padding=p, fit=self.fit)
            for size, f, s, p in zip(x.shape[1:3], kernels, strides, pads, strict=True)
        )
        shape = (height, width, *kernels, x.shape[-1], self.filters)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = None
        if self.use_bias:
            bias = self.param("bias", linen.initializers.zeros, (height, width, self.filters))
        return ops.local_conv2d(
            x.astype(self.dtype),
            kernel,
            bias,
            stride=self.stride,
            padding=self.pixels,
            fit=self.fit,
        )


class Whiten(Layer):
    """WHITEN: fixed filters that whiten patches, [N, H, W, C] -> [N, H', W', 2 F F C].

    They are `ops.whitening_filters` of the images that the network was initialised with, and the
    same with the other sign, so that a non-linearity behind them loses nothing (Jordan 2024, arXiv
    2404.00498). No padding and no parameters; statistics (collection `batch_stats`):
    kernel [F, F, C, K].
    """

    kernel_size: int
    dtype: Any = jnp.float32

    @property
    def notation(self) -> str:
        return f"WHITEN{self.kernel_size}"

    def macs(self, weights: int, shape: tuple[int, ...]) -> int:
        """Every filter's weights once at each position, F F C = K / 2 of them."""
        filters = shape[-1]
        return filters * filters // 2 * math.prod(shape[:2])

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H - F + 1, W - F + 1, 2 F F C]."""

        def filters() -> Array:
            half = ops.whitening_filters(x.astype(jnp.float32), self.kernel_size)
            # Of the images only once: to `analysis` they are numbers, and not what a neuron sees.
            return jax.lax.stop_gradient(jnp.concatenate([half, -half], axis=-1))

        kernel = self.variable("batch_stats", "kernel", filters).value
        return ops.conv2d(x.astype(self.dtype), kernel)


class Dense(Layer):
    """FC: every output sees every input number, [N, ...] -> [N, K] (N0, Fully-connected layer).

    Parameters: kernel [D, K] (He) with D the numbers of one input volume, bias [K] (zeros). Which
    number is which depends on the volume's height and width. So the weights remember the volume
    that they were made for, in the collection `made_for`, as a name with no arrays: "6x6x256".
    Without that collection only D is known.
    """

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Initializer = he_normal
    pooled_to: tuple[int, int] | None = None
    """(H, W) to which maps of another size are averaged first (`ops.adaptive_avg_pool`)."""

    @property
    def notation(self) -> str:
        return f"FC-{self.features}"

    def macs(self, weights: int, shape: tuple[int, ...]) -> int:
        """Every weight once."""
        return weights

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, ...] -> [N, K].

        Raises:
            OtherSize: the weights were made for another volume; names both.
        """
        if self.pooled_to:
            x = ops.adaptive_avg_pool(x, size=self.pooled_to)
        self._remember(x.shape[1:])
        x = x.reshape(x.shape[0], -1).astype(self.dtype)
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = None
        if self.use_bias:
            bias = self.param("bias", linen.initializers.zeros, (self.features,))
        return ops.dense(x, kernel, bias)

    def _remember(self, volume: tuple[int, ...]) -> None:
        """Keep the volume with new weights; refuse it where weights were made for another."""
        written = "x".join(map(str, volume))
        if not self.has_variable("params", "kernel"):
            if len(volume) > 1 and self.is_mutable_collection(MADE_FOR):
                self.variable(MADE_FOR, written, dict)
            return
        reason = f"{self.called}'s weights were made for"
        for known in self.variables.get(MADE_FOR, {}):
            if known != written:
                height, width, *_ = map(int, known.split("x"))
                size = None if (height, width) == volume[:2] else (height, width)
                raise OtherSize(f"{reason} {known}, not {written}", size)
        numbers, found = len(self.get_variable("params", "kernel")), math.prod(volume)
        if numbers != found:
            more = f"{numbers:,} numbers, not the {found:,} of {written}"
            raise OtherSize(f"{reason} {more}", _square(numbers, volume))


def _square(numbers: int, volume: tuple[int, ...]) -> tuple[int, int] | None:
    """The size of a square map of so many numbers, if there is one as deep as the volume."""
    side = math.isqrt(numbers // volume[-1])
    fits = len(volume) == 3 and side * side * volume[-1] == numbers
    return (side, side) if fits else None


class BatchNorm(NoMacs):
    """BN: each channel to zero mean and unit variance, then scaled and offset (N0).

    Parameters: scale [C] (ones) unless `use_scale` is off, bias [C] (zeros); statistics (collection
    `batch_stats`): mean [C], var [C]. `momentum` is the fraction of the old statistic kept (see
    `ops.batch_norm`).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    scale_init: Initializer = linen.initializers.ones

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return "BN"

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [..., C] -> [..., C]; `train` takes the batch's statistics, else the running."""
        shape = x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape) if self.use_scale else jnp.ones(shape)
        offset = self.param("bias", linen.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        y, new_mean, new_var = ops.batch_norm(
            x,
            scale,
            offset,
            mean.value,
            var.value,
            train=train,
            momentum=self.momentum,
            epsilon=self.epsilon,
        )
        if train and not self.is_initializing():
            mean.value, var.value = new_mean, new_var
        return y


class LocalResponseNorm(NoMacs):
    """LRN: each value divided by its neighbours' energy over depth (Krizhevsky et al. 2012)."""

    size: int = 5
    k: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return "LRN"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, H, W, C]."""
        return ops.local_response_norm(
            x, size=self.size, k=self.k, alpha=self.alpha, beta=self.beta
        )


class ReLU(NoMacs):
    """RELU: max(0, x), elementwise (N0, Layers used to build ConvNets)."""

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return "RELU"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Any shape, kept."""
        return ops.relu(x)


class GELU(NoMacs):
    """GELU: x times the share of a standard normal below it (Hendrycks and Gimpel 2016).

    By the tanh approximation of their section 2, within 5e-4 of the exact one and quicker; in
    float32 whatever x is, which on a CPU is quicker too than to round each product to bfloat16.
    """

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return "GELU"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Any shape, kept."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return jax.nn.gelu(wide, approximate=True).astype(x.dtype)


class Tanh(NoMacs):
    """TANH: the hyperbolic tangent, elementwise."""

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return "TANH"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Any shape, kept."""
        return jnp.tanh(x)


class Add(NoMacs):
    """ADD: a shortcut's sum, F(x) + x, in the place of F(x) (He et al. 2015, eq. 1)."""

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return "ADD"

    def __call__(self, y: Array, shortcut: Array, *, train: bool = False) -> Array:
        """Two arrays of one shape, which is kept."""
        return y + shortcut


class Concat(NoMacs):
    """CONCAT: branches side by side in depth; they lie there already (Szegedy et al. 2014)."""

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return "CONCAT"

    def __call__(self, *branches: Array, train: bool = False) -> Array:
        """Arrays [N, H, W, C1], [N, H, W, C2], ... -> [N, H, W, C1 + C2 + ...]."""
        return jnp.concatenate(branches, axis=-1)


class Dropout(NoMacs):
    """DROP: at training each value is zero with probability `rate`; needs the rng `dropout`."""

    rate: float

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        return f"DROP{self.rate:g}"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Any shape, kept."""
        if not train or self.rate == 0:
            return x
        return ops.dropout(x, self.make_rng("dropout"), self.rate, train=True)

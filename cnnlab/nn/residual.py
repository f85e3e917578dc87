"""Residual blocks: y = x + F(x), in the orders, depths and shortcuts of the papers.

He et al. 2015 (arXiv 1512.03385): blocks of two and of three convolutions, shortcuts A, B and C.
He et al. 2016 (arXiv 1603.05027, fig. 4): five orders of the steps in a block.
Huang et al. 2016 (arXiv 1603.09382): blocks left out at random in training.
A block gets `conv` and `norm` as constructors and reads no dtype.
"""

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen
from jax import Array

from cnnlab.errors import unknown
from cnnlab.nn.layers import Add, NoMacs, ReLU

ORDERS = {
    "original": "conv bn + relu",
    "bn_after_add": "conv + bn relu",
    "relu_before_add": "conv bn relu +",
    "relu_preact": "relu conv bn +",
    "full_preact": "bn relu conv +",
}
"""The last layer of a block, each order of He et al. 2016, fig. 4; those before it have no sum."""

SHORTCUTS = ("none", "A", "B", "C")
"""A, B, C of He et al. 2015, sec. 4.1; none makes a block of the plain net."""


def steps(order: str) -> tuple[list[str], list[str], list[str]]:
    """What an order has before the convolution, between it and the sum, and behind the sum."""
    before, rest = ORDERS[order].split("conv")
    between, behind = rest.split("+")
    return before.split(), between.split(), behind.split()


def run(
    names: list[str], x: Array, i: int | str, *, norm: Callable[..., linen.Module], train: bool
) -> Array:
    """The steps `bn` and `relu` among `names` on x, called bn<i> and relu<i>."""
    for name in names:
        layer = norm if name == "bn" else ReLU
        x = layer(name=f"{name}{i}")(x, train=train)
    return x


def scan(block: linen.Module, x: Array, *, times: int, train: bool) -> Array:
    """x [N, H, W, C] through `times` blocks like `block`, which keeps its shape, as one loop.

    Their parameters and statistics are `block`'s, stacked along a first axis. The loop is compiled
    once, however deep the net. It is for accelerators: a CPU convolves slowly inside a loop.
    """

    def body(block: linen.Module, x: Array, _: None) -> tuple[Array, None]:
        return block(x, train=train), None

    loop = linen.scan(
        body,
        variable_axes={"params": 0, "batch_stats": 0},
        split_rngs={"params": True},
        length=times,
    )
    x, _ = loop(block, x, None)
    return x


def check(shortcut: str, order: str, survival: float, scan: bool = False) -> None:
    """Refuse what no block, or no loop of blocks, can be.

    Raises:
        ValueError: an unknown shortcut or order, with the nearest; a survival that is no
            probability above 0; a plain net that is to survive without its blocks; a loop of
            blocks that are not alike, since each has its own survival.
    """
    if shortcut not in SHORTCUTS:
        raise ValueError(unknown("shortcut", shortcut, SHORTCUTS))
    if order not in ORDERS:
        raise ValueError(unknown("order", order, ORDERS))
    number = isinstance(survival, Real) and not isinstance(survival, bool)
    if not number or not 0 < survival <= 1:
        raise ValueError(f"survival is a probability in (0, 1]; got {survival!r}")
    if shortcut == "none" and survival < 1:
        raise ValueError(f"no block can be left out without a shortcut; got survival={survival!r}")
    if scan and survival < 1:
        raise ValueError(
            f"a scan is over blocks that are alike; with survival={survival!r} each has its own"
        )


class ShortcutA(NoMacs):
    """SHORTCUT: option A, every S-th pixel and channels of zeros (He et al. 2015, sec. 4.2).

    It has no parameters, and the sum can read its input in place (claim A21).
    """

    filters: int
    stride: int = 1

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        """E.g. `SHORTCUT-32/2`."""
        return f"SHORTCUT-{self.filters}" + ("" if self.stride == 1 else f"/{self.stride}")

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, ceil(H/S), ceil(W/S), K]."""
        x = jax.lax.slice(x, (0, 0, 0, 0), x.shape, (1, self.stride, self.stride, 1))
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.filters - x.shape[-1])))


class StochasticDepth(NoMacs):
    """SURVIVE: in training all of x or nothing, one draw a batch; in a test its expectation.

    x is kept with probability `survival` in (0, 1] and multiplied by it at test time (Huang et al.
    2016, eq. 2 and 5); needs the rng `dropout`. What made x is computed all the same, so that
    training is one program: no gradient reaches a block left out, but its norms see the batch. The
    authors' code also averages pixels in shortcuts that step, which is not done here.
    """

    survival: float

    in_place: ClassVar[bool] = True

    @property
    def notation(self) -> str:
        """E.g. `SURVIVE0.5`."""
        return f"SURVIVE{self.survival:.3g}"

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Any shape, kept."""
        if not train:
            return x * self.survival
        kept = jax.random.bernoulli(self.make_rng("dropout"), self.survival)
        return jnp.where(kept, x, 0)


class ResidualBlock(linen.Module):
    """x + F(x) with two 3x3 convolutions in F (He et al. 2015, fig. 5 left).

    `order` says where the norms and ReLUs stand. `shortcut` says what x passes through: where the
    shape changes, A subsamples and adds channels of zeros, B projects by a 1x1 convolution; C
    projects everywhere; none leaves x out. Choices:

    - a projection is normalised where F is before the sum: not in `bn_after_add` and
      `full_preact`, as in the authors' code for the latter;
    - with pre-activation a shortcut that is not the identity starts behind it ("before splitting
      into two paths"), as in the same code.
    """

    filters: int
    stride: int
    conv: Callable[..., linen.Module]
    norm: Callable[..., linen.Module]
    shortcut: str = "A"
    order: str = "original"
    activated: bool = False
    """x comes activated, so that the block has no pre-activation of its own."""
    survival: float = 1.0
    """The probability of F to be there in a training step (`StochasticDepth`)."""

    def __post_init__(self) -> None:
        check(self.shortcut, self.order, self.survival)
        super().__post_init__()

    @property
    def convs(self) -> tuple[tuple[int, int, int], ...]:
        """Filters, size and stride of the convolutions in F."""
        return (self.filters, 3, self.stride), (self.filters, 3, 1)

    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """x [N, H, W, C] -> [N, ceil(H/S), ceil(W/S), K].

        Raises:
            ValueError: an unknown shortcut or order, a survival outside (0, 1]; when it is made.
        """
        before, between, behind = steps(self.order)
        bn_relu = partial(run, norm=self.norm, train=train)
        y = split = x if self.activated else bn_relu(before, x, 1)
        for i, conv in enumerate(self.convs, 1):
            if i > 1:
                y = bn_relu(before, y, i)
            y = self.conv(*conv, name=f"conv{i}")(y, train=train)
            y = bn_relu(between, y, i)
            if i == len(self.convs) and self.shortcut != "none":
                y = self._add(y, x, split, train)
            y = bn_relu(behind, y, i)
        return y

    def _add(self, y: Array, x: Array, split: Array, train: bool) -> Array:
        changes, filters = y.shape != x.shape, y.shape[-1]
        if self.shortcut == "C" or (self.shortcut == "B" and changes):
            x = self.conv(filters, 1, self.stride, name="shortcut_conv")(split, train=train)
            if "bn" in steps(self.order)[1]:
                x = self.norm(name="shortcut_bn")(x, train=train)
        elif changes:
            x = ShortcutA(filters, self.stride, name="shortcut")(split)
        if self.survival < 1:
            y = StochasticDepth(self.survival, name="stochastic_depth")(y, train=train)
        return Add(name="add")(y, x)


class Bottleneck(ResidualBlock):
    """x + F(x), in F 1x1 to K channels, 3x3, 1x1 to 4K (He et al. 2015, fig. 5 right).

    The 3x3 steps ("v1.5"), as in fb.resnet.torch and torchvision.
    """

    @property
    def convs(self) -> tuple[tuple[int, int, int], ...]:
        """Filters, size and stride of the convolutions in F."""
        return (self.filters, 1, 1), (self.filters, 3, self.stride), (4 * self.filters, 1, 1)


class BottleneckV1(ResidualBlock):
    """The bottleneck whose first 1x1 steps, past three of four pixels (He et al. 2015)."""

    @property
    def convs(self) -> tuple[tuple[int, int, int], ...]:
        """Filters, size and stride of the convolutions in F."""
        return (self.filters, 1, self.stride), (self.filters, 3, 1), (4 * self.filters, 1, 1)

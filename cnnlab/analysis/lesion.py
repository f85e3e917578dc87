"""Lesions: what a trained residual or plain net says without some of its blocks (Veit et al. 2016).

A block that is cut out becomes its shortcut: of the sum x + F(x) the shortcut's side stays. A plain
net's block has no shortcut, and gives way to what option A's would be (He et al. 2015, sec. 4.1):
the identity where the block keeps the shape; where it does not, every S-th pixel and channels of
zeros. In earnest only blocks that keep the shape can be cut out of a plain net: residual and plain
nets are to be compared on those. Nothing is trained anew, and running statistics stay as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from jax import Array

from cnnlab import nn
from cnnlab.errors import unknown


class Block(NamedTuple):
    """A block's name in the network, e.g. `stage1_block1`, and whether it keeps its input's shape.

    Those that do not are the down-sampling ones.
    """

    name: str
    keeps_shape: bool


def blocks(model: linen.Module, image_shape: tuple[int, int, int]) -> tuple[Block, ...]:
    """The blocks of `model` on an image (H, W, C), in order of computation; nothing is computed.

    Raises:
        ValueError: it has none, or runs them as one loop, out of which none can be cut.
    """
    if getattr(model, "scan", False):
        raise ValueError("no block can be cut out of a scan; make the model without it")
    found: list[Block] = []

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        if _is_block(context):
            found.append(Block(_name(context.module), output.shape == args[0].shape))
        return output

    with linen.intercept_methods(note):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *image_shape)))
    if not found:
        raise ValueError(f"a lesion cuts out residual blocks, and this has none: {model!r}")
    return tuple(found)


def without(removed: Iterable[str], found: Iterable[Block]) -> dict[str, bool]:
    """For each block whether it is kept, as `lesioned` takes it, where some are cut out by name.

    Raises:
        ValueError: no such block; says those there are and the nearest.
    """
    kept = {block.name: True for block in found}
    for name in removed:
        if name not in kept:
            raise ValueError(unknown("block", name, kept))
        kept[name] = False
    return kept


def some(
    found: Iterable[Block], number: int, *, draws: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    """Names of `number` blocks that keep the shape, at random and all different: so many draws.

    Raises:
        ValueError: there are not so many.
    """
    names = [block.name for block in found if block.keeps_shape]
    if not 0 <= number <= len(names):
        raise ValueError(f"{number} blocks of the {len(names)} that keep the shape")
    random = np.random.default_rng(seed)
    return tuple(tuple(map(str, random.choice(names, number, replace=False))) for _ in range(draws))


def lesioned(
    model: linen.Module, variables: Mapping[str, Any], x: Array, kept: Mapping[str, Array | bool]
) -> Array:
    """Logits [N, classes] on x [N, H, W, C], as in evaluation, without the blocks not `kept`.

    Pure. Every block is computed, so that jitted it is one program whatever is cut out.

    Args:
        model: a residual or plain net.
        variables: its parameters and running statistics.
        x: images as the network takes them.
        kept: of each block by name whether it stays; see `without`.
    """

    def cut(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        module = context.module
        if isinstance(module, nn.Add) and isinstance(module.parent, nn.ResidualBlock):
            branch, shortcut = args
            return call(jnp.where(kept[_name(module.parent)], branch, 0), shortcut, **kwargs)
        output = call(*args, **kwargs)
        if _is_block(context) and module.shortcut == "none":
            return jnp.where(kept[_name(module)], output, _stand_in(module, args[0], output))
        return output

    with linen.intercept_methods(cut):
        logits: Any = model.apply(variables, x, train=False)
    return logits


def _is_block(context: Any) -> bool:
    return isinstance(context.module, nn.ResidualBlock) and context.method_name == "__call__"


def _name(block: linen.Module) -> str:
    return "/".join(block.path)


def _stand_in(block: nn.ResidualBlock, x: Array, output: Array) -> Array:
    if x.shape == output.shape:
        return x
    shortcut: Any = nn.ShortcutA(output.shape[-1], block.stride).apply({}, x)
    return shortcut

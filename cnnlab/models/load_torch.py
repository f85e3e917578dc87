"""Weights of torchvision's networks, for the networks here that compute the same.

Tested against torchvision's own logits, to 1e-4 of their size in float32. What differs is only how
the same numbers are kept:

| | PyTorch | here |
| --- | --- | --- |
| convolution | weight [K, C, F, F] | kernel [F, F, C, K] |
| first FC on a volume | weight [K, D], D flattened as C, H, W | kernel [D, K], D as H, W, C |
| FC | weight [K, D] | kernel [D, K] |
| batch norm | weight, bias, running_mean, running_var | scale, bias, mean, var |
| bias of a convolution before a batch norm (VGG's) | bias | taken off mean: the same function |
"""

import itertools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, traverse_util

from cnnlab import nn
from cnnlab.errors import Mistake, unknown
from cnnlab.models import alexnet, googlenet, resnet, vgg
from cnnlab.models.network import Network
from cnnlab.models.pattern import Pattern
from cnnlab.models.torch_files import read_state_dict

_Path = tuple[str, ...]

_VGGS = [f"vgg{depth}{suffix}" for depth in (11, 13, 16, 19) for suffix in ("", "_bn")]
_RESNETS = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
_GOOGLENETS = ["googlenet", "googlenet_bn"]
"""Torchvision's name of the same network, and ours."""
_NETWORKS: dict[str, Network] = {
    "alexnet": alexnet.NETWORKS["alexnet"],
    **{name: googlenet.NETWORKS["googlenet_bn"] for name in _GOOGLENETS},
    **{name: vgg.NETWORKS[name] for name in _VGGS},
    **{name: resnet.NETWORKS[name] for name in _RESNETS},
}


def load_torch(
    name: str, source: str | os.PathLike[str] | Mapping[str, Any]
) -> tuple[linen.Module, dict[str, Any]]:
    """One of torchvision's networks with its weights: `model.apply(variables, x)` gives its logits.

    Images x are [N, H, W, C], prepared as for torchvision, of any size that its network takes:
    `alexnet` from 63x63 on, `vgg` from 32x32, the others smaller ones too. The last map is averaged
    to the size that the weights are for, as in torchvision. Torchvision's `googlenet` is
    `googlenet_bn` in `create`; here it goes by both names, and has auxiliary heads (their loss
    weighted 0.3) if the weights have them. Torchvision's `transform_input` prepares images and is
    no part of the network.

    Args:
        name: `alexnet`, `googlenet` or `googlenet_bn`, `vgg11`, `13`, `16`, `19`, each also with
            `_bn`, `resnet18`, `34`, `50`, `101`, `152`.
        source: a `.safetensors`, `.pth` or `.pt` file (`~` is your home), of which no pickled code
            is run; or its entries by name, as NumPy arrays or whatever `np.asarray` takes. The last
            layer's weight says how many classes there are.

    Returns:
        The module, and its variables as float32: those of `init`, which are `params`, with batch
        norm `batch_stats`, and where an FC sees a volume `made_for` (`nn.Dense`).

    Raises:
        Mistake: no such network (says the nearest); entries that are missing, extra, of another
            shape, no real numbers, not finite in float32, or variances below 0 (lists them all,
            shapes in PyTorch's layout); a file that holds no state dict.
        OSError: the file cannot be opened.
    """
    if name not in _NETWORKS:
        raise Mistake(unknown("network with torchvision's weights", name, _NETWORKS))
    state = _state(source)
    model = _build(name, state)
    image = jnp.zeros((1, *_NETWORKS[name].input_shape))
    made = jax.eval_shape(model.init, jax.random.key(0), image)
    entries = _entries(model, made)
    _check(name, state, entries)
    arrays: dict[_Path, np.ndarray] = {}
    for key, entry in entries.items():
        part = entry.convert(state[key].astype(np.float32, copy=False))
        before = arrays.get(entry.path)
        arrays[entry.path] = part if before is None else _added(key, before, part)
    variables = traverse_util.unflatten_dict({path: jnp.array(x) for path, x in arrays.items()})
    return model, variables | {kind: made[kind] for kind in made.keys() & {nn.MADE_FOR}}


def _state(source: Any) -> dict[str, np.ndarray]:
    """The entries of a file or a mapping but for PyTorch's counts of batches, as arrays."""
    if not isinstance(source, Mapping | str | os.PathLike):
        raise Mistake(f"weights come from a file, or are arrays by name; got {source!r:.80}")
    state = source if isinstance(source, Mapping) else read_state_dict(source)
    arrays, odd = {}, []
    for key, value in state.items():
        try:
            arrays[str(key)] = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:  # of NumPy, or of what it is given
            odd.append(f"\n  {key}: {error}")
    if odd:
        raise Mistake(f"no arrays:{''.join(odd)}")
    return {key: x for key, x in arrays.items() if not key.endswith("num_batches_tracked")}


def _added(key: str, before: np.ndarray, part: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        total = before + part
    if not np.isfinite(total).all():
        raise Mistake(f"{key}: taken off the running mean it is out of float32's range")
    return total


def _build(name: str, state: Mapping[str, np.ndarray]) -> linen.Module:
    last = "fc.weight" if name in (*_GOOGLENETS, *_RESNETS) else "classifier.6.weight"
    classes = next(iter(np.shape(state.get(last, 0))), 0)
    options: dict[str, Any] = {"classes": classes} if classes else {}
    if name in _GOOGLENETS and any(key.startswith(("aux1.", "aux2.")) for key in state):
        options["aux"] = 0.3
    return _NETWORKS[name].build(**options)


class _Entry(NamedTuple):
    """Where an entry of PyTorch's goes; entries with the same path are added up."""

    path: _Path
    shape: tuple[int, ...]
    """In PyTorch's layout."""
    convert: Callable[[np.ndarray], np.ndarray]


def _entries(model: linen.Module, made: Mapping[str, Any]) -> dict[str, _Entry]:
    """The state dict that fits `model`, which makes such variables: an entry of each name."""
    volumes = traverse_util.flatten_dict(made.get(nn.MADE_FOR, {}), keep_empty_nodes=True)
    depths = {tuple(path): int(volume.split("x")[-1]) for *path, volume in volumes}
    translate = _translator(model)
    entries = {}
    for path, array in traverse_util.flatten_dict(made).items():
        _, *module, leaf = path
        shape, convert = _layout(array.shape, depths.get(tuple(module), 1))
        entries[f"{translate(module)}.{_LEAVES[leaf]}"] = _Entry(path, shape, convert)
    for conv, norm in _idle_biases(model):
        path = ("batch_stats", norm, "mean")
        shape = entries[f"{translate([norm])}.running_mean"].shape
        entries[f"{translate([conv])}.bias"] = _Entry(path, shape, np.negative)
    return entries


def _layout(shape: tuple[int, ...], depth: int) -> tuple[tuple[int, ...], Any]:
    """PyTorch's shape of a parameter of ours, and how to get from its to ours.

    `depth` is C of what a FC layer sees, a volume [H, W, C] or C numbers.
    """
    match shape:
        case (height, width, channels, filters):
            return (filters, channels, height, width), lambda w: w.transpose(2, 3, 1, 0)
        case (numbers, outputs):
            volume = (outputs, depth, numbers // depth)
            return (outputs, numbers), lambda w: w.reshape(volume).transpose(2, 1, 0).reshape(shape)
    return shape, lambda vector: vector


_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_PARTS = {
    "shortcut_conv": "downsample.0",
    "shortcut_bn": "downsample.1",
    "conv1x1": "branch1",
    "conv3x3_reduce": "branch2.0",
    "conv3x3": "branch2.1",
    "conv5x5_reduce": "branch3.0",
    "conv5x5": "branch3.1",
    "pool_proj": "branch4.1",
}


def _translator(model: linen.Module) -> Callable[[Sequence[str]], str]:
    """From a module's path in `model` to torchvision's name of it."""
    if isinstance(model, Pattern):
        sequential = _sequential([step.name for step in model.steps])
        return lambda module: sequential[module[0]]
    return lambda module: ".".join(map(_translate, module))


def _sequential(names: list[str]) -> dict[str, str]:
    """`features.i` for the layers up to the last pooling, `classifier.j` for those after it."""
    head = 1 + max(i for i, name in enumerate(names) if name.startswith("pool"))
    return {
        name: f"features.{i}" if i < head else f"classifier.{i - head}"
        for i, name in enumerate(names)
    }


def _translate(part: str) -> str:
    if block := re.fullmatch(r"stage(\d+)_block(\d+)", part):
        return f"layer{block[1]}.{int(block[2]) - 1}"
    return _PARTS.get(part, part.replace("inception_", "inception"))


def _idle_biases(model: linen.Module) -> Iterator[tuple[str, str]]:
    """The convolutions that have a bias in torchvision's VGG alone, each with the norm after it."""
    if isinstance(model, Pattern):
        for step, following in itertools.pairwise(model.steps):
            if issubclass(following.layer, nn.BatchNorm):
                yield step.name, following.name


def _check(name: str, state: Mapping[str, np.ndarray], entries: Mapping[str, _Entry]) -> None:
    """Refuse entries that are not the network's, or not numbers that it can compute with."""
    problems: dict[str, list[str]] = defaultdict(list)
    for key, entry in entries.items():
        if key not in state:
            problems["missing"].append(f"{key} {_sizes(entry.shape)}")
        elif state[key].shape != entry.shape:
            sizes = f"{_sizes(state[key].shape)}, not {_sizes(entry.shape)}"
            problems["misshapen"].append(f"{key} {sizes}")
        else:
            for kind, said in _spoilt(key, state[key]):
                problems[kind].append(f"{key} {said}")
    extra = [f"{key} {_sizes(state[key].shape)}" for key in state if key not in entries]
    problems["extra"] += extra
    lines = [
        f"\n  {kind}: {'; '.join(sorted(problems[kind]))}" for kind in _PROBLEMS if problems[kind]
    ]
    if lines:
        raise Mistake(f"not a state dict of torchvision's {name}:{''.join(lines)}")


_PROBLEMS = ("missing", "extra", "misshapen", "not real", "not finite", "out of range", "negative")


def _spoilt(key: str, value: np.ndarray) -> Iterator[tuple[str, str]]:
    """What is wrong with an entry's numbers, by kind."""
    if not any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        yield "not real", str(value.dtype)
        return
    if lost := np.count_nonzero(~np.isfinite(value)):
        yield "not finite", f"{lost} of {value.size}"
        return
    with np.errstate(over="ignore"):
        kept = value.astype(np.float32, copy=False)
    if not np.isfinite(kept).all():
        yield "out of range", f"of float32: {value[~np.isfinite(kept)][0]}"
    if key.endswith("running_var") and (kept < 0).any():
        yield "negative", f"{kept.min()}"


def _sizes(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"

"""What is to be seen of a network in training, taken off the device now and then."""

import time
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from flax.core import DenyList
from jax import Array
from numpy.typing import NDArray

from cnnlab import data, ops
from cnnlab.analysis.trace import Call, first_convolution, layer_calls, spread
from cnnlab.data import Images
from cnnlab.training.feed import Feed
from cnnlab.training.state import State

_IMAGES, _LAYERS, _MAPS, _SIDE = 6, 12, 16, 32
_AMONG = 64  # training images, of which the first of each class are shown
_INTERVAL = 2.0  # seconds at least from one snapshot to the next
_PATIENCE = 60  # times as long as a snapshot takes must pass before the next: 1.7% of the time


class Volume(NamedTuple):
    """What one layer makes of some images.

    Attributes:
        layer: with those that rework its output in place: `CONV3-16 -> BN -> RELU`.
        name: of the last of them, as in the summary.
        shape: of the whole, (H, W, K).
        maps: float32 [N, H', W', K'], the first of the K, of large ones not every pixel.
    """

    layer: str
    name: str
    shape: tuple[int, ...]
    maps: NDArray[np.float32]


class Snapshot(NamedTuple):
    """A network at a step, float32 on the host.

    Attributes:
        step: how many steps it was trained.
        scores: softmax of the logits, [N, classes].
        filters: of the first convolution, [F, F, C, K]; None where the net has none on the image.
        volumes: in order of computation.
    """

    step: int
    scores: NDArray[np.float32]
    filters: NDArray[np.float32] | None
    volumes: Sequence[Volume]


class Camera:
    """Takes snapshots of one run's network, and keeps the last.

    Attributes:
        images: those that the network is shown: the first training image of each of a few classes.
        last: the newest snapshot.
    """

    def __init__(self, model: linen.Module, feed: Feed, step: int, state: State):
        """Take the first snapshot, of a state before `step`, for which a program is compiled."""
        self.images = _of_each_class(feed.first(_AMONG))
        described: list[tuple[str, str, tuple[int, ...]]] = []

        def observe(variables: Any, images: Array) -> tuple[Array, Array | None, list[Array]]:
            x = data.normalise(images, feed.mean, feed.std)
            with layer_calls() as calls:
                # As in `analysis.activations`: what a network sows is dropped.
                logits, _ = model.apply(variables, x, train=False, mutable=DenyList("params"))
            # What a scan computes cannot be taken out of it.
            shown = [] if getattr(model, "scan", False) else _shown(calls)
            described[:] = [(text, call.path, call.output.shape[1:]) for text, call in shown]
            maps = [_thinned(call.output) for _, call in shown]
            return jax.nn.softmax(logits.astype(jnp.float32)), _filters(calls, x), maps

        self._described = described
        self._observe = jax.jit(ops.using(ops.preferred())(observe))
        self._cost = 0.0
        self.last = self._take(step, state)
        self._taken = time.perf_counter()

    def look(self, step: int, state: State) -> None:
        """Take a snapshot of the state after `step` steps, unless that would slow training down."""
        now = time.perf_counter()
        if now - self._taken >= max(_INTERVAL, _PATIENCE * self._cost):
            # The steps that the device is still at are no part of what a snapshot costs.
            jax.block_until_ready(state.step)
            started = time.perf_counter()
            self.last = self._take(step, state)
            self._taken = time.perf_counter()
            self._cost = self._taken - started

    def finish(self, step: int, state: State) -> None:
        """Take the last snapshot, if it is not taken yet."""
        if self.last.step != step:
            self.last = self._take(step, state)

    def _take(self, step: int, state: State) -> Snapshot:
        # One device's copy: among several processes the others take no part in this.
        variables = jax.tree.map(lambda leaf: leaf.addressable_data(0), state.variables)
        found = jax.device_get(self._observe(variables, self.images.images))
        scores, filters, maps = found
        pairs = zip(self._described, maps, strict=True)
        return Snapshot(step, scores, filters, [Volume(*words, each) for words, each in pairs])


def _of_each_class(found: Images) -> Images:
    _, firsts = np.unique(found.labels, return_index=True)
    chosen = np.sort(firsts)[:_IMAGES]
    return Images(found.images[chosen], found.labels[chosen])


def _shown(calls: Sequence[Call]) -> list[tuple[str, Call]]:
    """The layers whose output has height and width, each with those that follow it in place.

    Of many, a few from the first to the last.
    """
    found, together = [], []
    for call, after in zip_longest(calls, calls[1:]):
        together.append(call.layer.notation)
        if after and after.layer.in_place:
            continue
        if call.output.ndim == 4 and call.output.shape[1:3] != (1, 1):
            found.append((" -> ".join(together), call))
        together = []
    return spread(found, _LAYERS)


def _thinned(output: Array) -> Array:
    stride = -(-max(output.shape[1:3]) // _SIDE)
    return output[:, ::stride, ::stride, :_MAPS].astype(jnp.float32)


def _filters(calls: Sequence[Call], x: Array) -> Array | None:
    """The kernel of the first convolution, if the network has one on the image."""
    call = first_convolution(calls, x.shape[-1])
    # Not the parameter itself, which the next step is given to use up.
    return jnp.copy(call.params["kernel"]) if call else None

"""What a training step takes: the training set and the order of the epoch, or the step's batch.

A training set that fits is decoded whole and put on every device, where each step takes its batch
out of it. One that does not is streamed: a step's batch is decoded, cut and put on the devices
while those before it are trained on.
"""

import collections
import functools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cnnlab import data
from cnnlab.data import Dataset, Images, Records
from cnnlab.training import placement
from cnnlab.training.recipe import Recipe
from cnnlab.training.step import epoch_order

Arguments = Callable[[int], tuple[Array, ...]]
"""What a program that begins at a step takes, between the state and the key."""

_SAMPLE = 256  # training images that a network may be initialised by
_AHEAD = 2  # batches on their way to the devices before they are asked for


class TrainingSet(NamedTuple):
    """The training split on every device, and the statistics it is normalised by, if it is."""

    images: Array
    labels: Array
    mean: np.ndarray | None
    std: np.ndarray | None


@functools.lru_cache(maxsize=1)
def training_set(dataset: Dataset) -> TrainingSet:
    """The training split, put on every device."""
    split = dataset.decoded("train")
    images, labels = (placement.place(array, placement.everywhere()) for array in split)
    prepared = dataset.preprocess != ""
    statistics = (None, None) if prepared else data.channel_statistics(split.images)
    return TrainingSet(images, labels, *statistics)


class Resident:
    """Feeds every step the whole training set and the order of its epoch.

    Attributes:
        examples: number of training images.
        mean: of the channels, float32 [C], in units of [0, 1] pixels.
        std: standard deviations in the same units.
        layout: how what it gives lies on the devices.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset) -> None:
        _, labels, self.mean, self.std = training_set(dataset)
        self.examples, self.layout = len(labels), placement.everywhere()
        self._dataset = dataset  # not the arrays, lest those of every data set stay
        self._batch_size = recipe.train.batch_size

    def sample(self) -> Array:
        """Some training images as stored, uint8 [n, H, W, C], to initialise a network by."""
        return training_set(self._dataset).images[:_SAMPLE]

    def first(self, number: int) -> Images:
        """The first training images as stored, and their labels, on the host."""
        whole = (array.addressable_data(0) for array in training_set(self._dataset)[:2])
        return Images(*(np.asarray(array[:number]) for array in whole))

    def order(self, key: Array, epoch: int) -> Array:
        """`epoch_order`."""
        return _compile_order(self.examples, self._batch_size)(key, epoch)

    def shapes(self) -> tuple[Array, ...]:
        """What stands for the arguments when a step is compiled."""
        return *training_set(self._dataset)[:2], self.order(placement.key_of(0), 0)

    @contextmanager
    def open(self, seed: int, steps: range) -> Iterator[Arguments]:
        """Begin to feed the `steps` of a run, one program after the other."""
        training, key = training_set(self._dataset), placement.key_of(seed)
        per_epoch = self.examples // self._batch_size
        order = functools.lru_cache(maxsize=1)(functools.partial(self.order, key))
        yield lambda step: (*training[:2], order(step // per_epoch))


@functools.lru_cache(maxsize=32)
def _compile_order(examples: int, batch_size: int) -> Callable[[Array, int], Array]:
    """`epoch_order`, compiled now: the first epoch's images/s would count the compilation."""

    def order(key: Array, epoch: int) -> Array:
        return epoch_order(key, epoch, examples=examples, batch_size=batch_size)

    jitted = jax.jit(order, out_shardings=placement.everywhere())
    return jitted.lower(placement.key_of(0), 0).compile()


class Streamed:
    """Feeds every step a batch of its own; the attributes are as `Resident`'s."""

    def __init__(self, recipe: Recipe, dataset: Dataset) -> None:
        records = dataset.split("train")
        assert isinstance(records, Records)
        self.examples, self.mean, self.std = records.number, records.mean, records.std
        self.layout = placement.in_shares()
        self._records = records
        self._augment, self._batch_size = recipe.augment, recipe.train.batch_size

    def sample(self) -> Array:
        """Some training images, cut from the middle, to initialise a network by."""
        return placement.place(self.first(_SAMPLE).images, placement.everywhere())

    def first(self, number: int) -> Images:
        """The first training images, cut from the middle, and their labels, on the host."""
        number = min(number, self.examples)
        return next(self._records.batches(number, np.arange(number)))

    def shapes(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """What stands for the arguments when a step is compiled."""
        side = self._records.size
        images = jax.ShapeDtypeStruct((self._batch_size, side, side, 3), jnp.uint8)
        return images, jax.ShapeDtypeStruct((self._batch_size,), jnp.int32)

    @contextmanager
    def open(self, seed: int, steps: range) -> Iterator[Arguments]:
        """Begin to feed the `steps` of a run, each in its turn."""
        batches = self._records.training_batches(
            steps,
            seed=seed % 2**32,
            batch_size=self._batch_size,
            rows=placement.own_rows(self._batch_size),
            smallest=self._augment.resized_crop,
            flip=self._augment.flip,
            workers=placement.decoders(),
        )
        with closing(batches):
            placed = _ahead(batches, self._batch_size)
            yield lambda _: next(placed)


def _ahead(batches: Iterator[Images], batch_size: int) -> Iterator[tuple[Array, ...]]:
    """Put batches on the devices, each begun a few before it is asked for."""
    waiting: collections.deque[tuple[Array, ...]] = collections.deque()
    for batch in batches:
        waiting.append(tuple(placement.share_out(rows, batch_size) for rows in batch))
        if len(waiting) > _AHEAD:
            yield waiting.popleft()
    yield from waiting


Feed = Resident | Streamed


def feed_of(recipe: Recipe, dataset: Dataset) -> Feed:
    """How a recipe's steps are fed: the one place that chooses."""
    kind = Streamed if dataset.name in data.streamed() else Resident
    return kind(recipe, dataset)

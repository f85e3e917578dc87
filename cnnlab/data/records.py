"""Splits too large to be decoded whole: photographs of any size, decoded a batch at a time.

A batch is a function of the seed and the step, so that a run goes on at any step with no more than
its number, and each host decodes only its own rows of it. Grain shuffles, and decodes in threads
and processes ahead of what is asked for.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from numpy.typing import NDArray

from cnnlab.data import crops
from cnnlab.data.decoding import Source
from cnnlab.data.images import Images
from cnnlab.data.stored import DataMissing, Stored

_Example = tuple[NDArray[np.uint8], np.int32]
"""An image [H, W, 3] and its label."""


class Encoded(NamedTuple):
    """One image as its file holds it, its label, and its number in the stored split."""

    image: bytes
    label: int
    number: int


class Records:
    """One split, still encoded: a sequence of `Encoded`.

    Attributes:
        size: Side in pixels of the square that every image is brought to.
        mean: Published means of the channels, float32 [C], in units of [0, 1] pixels.
        std: Published standard deviations, float32 [C], in the same units.
    """

    def __init__(
        self,
        found: Stored,
        split: str,
        indices: NDArray[np.intp],
        size: int,
        statistics: tuple[Sequence[float], Sequence[float]],
    ) -> None:
        """Take the images `indices` [N] of a stored split."""
        self._found, self._split, self._indices, self.size = found, split, indices, size
        self.mean, self.std = (np.array(values, np.float32) for values in statistics)

    @property
    def number(self) -> int:
        """How many images there are."""
        return len(self._indices)

    def __len__(self) -> int:
        return self.number

    @cached_property
    def _source(self) -> Source:
        return Source(self._found, self._split, encoded=True)

    def __getitem__(self, index: int) -> Encoded:
        """Read an image.

        Raises:
            DataMissing: If a file is damaged, or the label is none; names file and record.
        """
        number = int(self._indices[index])
        record = self._source[number]
        return Encoded(record["image"], record["label"], number)

    def batches(self, batch_size: int, rows: NDArray[np.intp]) -> Iterator[Images]:
        """Yield these rows of each batch of the whole split, in order, cut from the middle.

        The last batch is filled up with its own images again, as `Images.batches` does.

        Raises:
            DataMissing: If a file is damaged.
        """
        import grain  # a third of a second: paid only where something is streamed

        starts = range(0, self.number, batch_size)
        chosen = [start + rows % min(batch_size, self.number - start) for start in starts]
        images = grain.MapDataset.source(np.concatenate(chosen)).map(self._centre)
        with contextlib.closing(iter(images.to_iter_dataset().batch(len(rows)))) as batches:
            yield from itertools.starmap(Images, batches)

    def training_batches(
        self,
        steps: range,
        *,
        seed: int,
        batch_size: int,
        rows: NDArray[np.intp],
        smallest: float,
        flip: bool,
        workers: int = 0,
    ) -> Generator[Images, None, None]:
        """Yield these rows of the batches of consecutive steps.

        Every epoch is a shuffle of its own, whose last, partial batch sits out. How an image is
        cut depends on the seed and on its place in the run.

        Args:
            steps: Which steps, counted from the run's first.
            seed: What shuffle and crops are derived from, 0 to 2^32 - 1.
            batch_size: Rows of the whole batch.
            rows: Which of them to yield, int [n].
            smallest: The least fraction of an image's area that `crops.random_box` draws; 0 cuts
                from the middle as in evaluation.
            flip: Whether to mirror left to right with probability one half.
            workers: Processes that decode; with 0 a thread of this one does.

        Raises:
            DataMissing: If a file is damaged.
        """
        import grain

        whole = self.number // batch_size * batch_size
        shuffled = grain.MapDataset.source(self).seed(seed).shuffle()[:whole].repeat()
        images = shuffled.random_map(partial(self._cut, smallest=smallest, flip=flip))

        def row(number: int) -> _Example:
            step, place = divmod(number, len(rows))
            return images[step * batch_size + rows[place]]

        numbers = range(steps.start * len(rows), steps.stop * len(rows))
        yield from _decoded(grain.MapDataset.source(numbers).map(row).batch(len(rows)), workers)

    def _cut(
        self, record: Encoded, random: np.random.Generator, *, smallest: float, flip: bool
    ) -> _Example:
        image = self._decode(record)
        mirrored = random.random() < 0.5
        if smallest:
            image = crops.random_crop(random, image, self.size, smallest)
        else:
            image = crops.centre_crop(image, self.size)
        return image[:, ::-1] if flip and mirrored else image, np.int32(record.label)

    def _centre(self, index: int) -> _Example:
        record = self[index]
        return crops.centre_crop(self._decode(record), self.size), np.int32(record.label)

    def _decode(self, record: Encoded) -> NDArray[np.uint8]:
        image = crops.decode(record.image)
        if image is None:
            place = self._found.place(self._split, record.number)
            raise DataMissing(f"{place} is damaged: its image cannot be decoded")
        return image


def _decoded(batches: Any, workers: int) -> Iterator[Images]:
    """Make a Grain data set's batches ahead of their use: one in a thread, or two a worker."""
    import grain

    if not flags.FLAGS.is_parsed():  # Grain has flags, which only a launcher parses
        flags.FLAGS.mark_as_parsed()
    ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    processes = grain.MultiprocessingOptions(num_workers=workers)
    pipeline = batches.to_iter_dataset(ahead).mp_prefetch(processes, _depend_on_parent)
    with contextlib.closing(iter(pipeline)) as made:
        for batch in made:
            # Copied, because a worker's lies in shared memory, which JAX would go on using.
            yield Images(*map(np.array, batch))


def _depend_on_parent(index: int, count: int) -> None:
    """Leave a worker's signals to its parent, which saves before it ends, and end with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)

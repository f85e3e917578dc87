"""The records of a stored data set, decoded, and each held against what is said of them.

Files lie, by accident or because another tool wrote them: a label beyond the classes or an image of
another size is told with its file and number, and never trained on.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnlab.data.images import Images
from cnnlab.data.stored import DataMissing, Stored

_CHUNK = 4096  # records decoded at a time
_JPEG, _PNG, _TABLE = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff\xdb"


def read(found: Stored, split: str, indices: NDArray[np.intp]) -> Images:
    """Decode some images of a stored split, in the order asked for, with OpenCV.

    Args:
        found: A data set `stored.find` returned.
        split: The name of a stored split.
        indices: Which images, int [N].

    Raises:
        DataMissing: If a file is damaged, or an image or a label is not as described; names the
            file and the record.
    """
    source = Source(found, split)
    if len(indices):
        _ = source[int(indices[0])]  # before there is room for as many of its size
    images = np.empty((len(indices), *found.image_shape), np.uint8)
    labels = np.empty(len(indices), np.int32)
    for start in range(0, len(indices), _CHUNK):
        part = slice(start, start + _CHUNK)
        records = source.many(indices[part].tolist())
        images[part] = [record["image"] for record in records]
        labels[part] = [record["label"] for record in records]
    return Images(images, labels)


def check(found: Stored, images: Images) -> None:
    """Hold decoded images against the description.

    Raises:
        ValueError: They are not as described; says in what.
    """
    pixels, labels = images
    if (pixels.dtype, pixels.shape) != (np.uint8, (len(labels), *found.image_shape)):
        raise ValueError(f"images {pixels.dtype} {pixels.shape} are not as features.json says")
    if labels.dtype != np.int32 or ((labels < 0) | (labels >= found.classes)).any():
        raise ValueError(f"labels {labels.dtype} are not 0 to {found.classes - 1}")


class Source:
    """The records of a stored split by number: dicts with "image", uint8 [H, W, C], and "label".

    With `encoded`, "image" is the file's bytes.
    """

    def __init__(self, found: Stored, split: str, *, encoded: bool = False):
        """Open a split.

        Raises:
            DataMissing: If a file is damaged, or does not hold as many records as described.
        """
        self._found, self._split = found, split
        for shard, length in found.shards[split].items():
            with _reader(shard) as reader:
                number = reader.num_records()
            if number != length:
                raise DataMissing(
                    f"{shard} is damaged, or another's: it holds {number:,} records, and "
                    f"dataset_info.json says {length:,}"
                )
        self._records = _opened(found.folder, split, encoded)

    def many(self, indices: list[int]) -> list[Any]:
        """Read some records.

        Raises:
            DataMissing: As `read`.
        """
        try:
            records = self._records.__getitems__(indices)
        except OSError:
            raise
        except Exception:  # in which record, only reading one by one tells
            return [self[index] for index in indices]
        for index, record in zip(indices, records, strict=True):
            self._check(index, record)
        return list(records)

    def __getitem__(self, index: int) -> Any:
        """Read a record.

        Raises:
            DataMissing: As `read`.
        """
        try:
            record = self._records[index]
        except OSError:
            raise
        except Exception as error:  # array_record's, protobuf's, OpenCV's and NumPy's are many
            place = self._found.place(self._split, index)
            raise DataMissing(f"{place} is damaged, or cannot be decoded: {error!r}") from error
        self._check(index, record)
        return record

    def _check(self, index: int, record: Any) -> None:
        image, label, found = record["image"], record["label"], self._found
        if isinstance(image, np.ndarray):
            said, there = (np.uint8, found.image_shape), (image.dtype, image.shape)
            if there != said:
                raise DataMissing(
                    f"{found.place(self._split, index)}: an image {image.dtype} {image.shape}, and "
                    f"features.json says uint8 {found.image_shape}"
                )
        if not 0 <= label < found.classes:
            raise DataMissing(
                f"{found.place(self._split, index)}: label {label}, and features.json says 0 to "
                f"{found.classes - 1}"
            )


def _opened(folder: Path, split: str, encoded: bool) -> Any:
    import tensorflow_datasets as tfds  # costs half a second: paid only when there is no cache

    decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
    try:
        return tfds.builder_from_directory(folder).as_data_source(split, decoders=decoders)
    except OSError:
        raise
    except Exception as error:  # TFDS has none of its own for a description that it cannot use
        raise DataMissing(f"TFDS cannot use what {folder} says: {error!r}") from error


@contextmanager
def _reader(shard: Path) -> Iterator[Any]:
    from array_record.python import array_record_module

    try:
        with closing(array_record_module.ArrayRecordReader(str(shard))) as reader:
            yield reader
    except (RuntimeError, ValueError, IndexError) as error:  # whatever is wrong with a file
        raise DataMissing(f"{shard} is damaged, or cannot be read: {error}") from error


def jpeg_quality(stored: Stored) -> str | None:
    """Return how the first training image was compressed: "q75", "" if unknown, None if not JPEG.

    The quality is the one at which OpenCV's encoder writes the same quantisation table.

    Raises:
        DataMissing: If the file is damaged.
    """
    shard = next(shard for shard, length in stored.shards["train"].items() if length)
    with _reader(shard) as reader:
        record: bytes = reader.read([0])[0]
    start = record.find(_JPEG)
    if start < 0 or _PNG in record:
        return None
    table = _quantisation(record[start:])
    matches = (q for q in range(100, 0, -1) if _quantisation(_encode_jpeg(q)) == table)
    return next((f"q{quality}" for quality in matches), "")


def _encode_jpeg(quality: int) -> bytes:
    import cv2

    block = np.zeros((8, 8), np.uint8)
    return cv2.imencode(".jpg", block, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _quantisation(jpeg: bytes) -> bytes:
    """Return the first quantisation table of a JPEG file: 64 bytes after the segment's header."""
    return jpeg.partition(_TABLE)[2][3:67]

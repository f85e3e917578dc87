"""ImageNet in small: photographs of many sizes, in the files that TFDS makes of the real one."""

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

SIZES = {"train": 60, "validation": 13}
"""Stored splits; each image's label is its own, 0 to 59 and 60 to 72."""
GREY, TALL, WIDE = 0, 1, 2
"""Labels of the odd ones."""


def photograph(label: int) -> Image.Image:
    """Six by six random colours, blurred."""
    random = np.random.default_rng(label)
    width, height = map(int, random.integers(40, 90, 2))
    if label in (TALL, WIDE):
        width, height = (20, 200) if label == TALL else (200, 20)
    colours = Image.fromarray(random.integers(0, 256, (6, 6, 3), np.uint8))
    drawn = colours.resize((width, height), Image.Resampling.BICUBIC)
    return drawn.convert("L") if label == GREY else drawn


def jpeg(image: Image.Image, **options: Any) -> bytes:
    """As a camera would write it, nearly without loss."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95, subsampling=0, **options)
    return file.getvalue()


def prepare(directory: Path) -> None:
    """Write `imagenet2012` in three shards a split."""
    builder = tfds.builder_cls("imagenet2012")(data_dir=str(directory))

    def examples(labels: range) -> Iterator[tuple[int, dict[str, Any]]]:
        for label in labels:
            image = io.BytesIO(jpeg(photograph(label)))
            yield label, {"image": image, "label": label, "file_name": f"{label}.JPEG"}

    train = SIZES["train"]
    labels = {"train": range(train), "validation": range(train, train + SIZES["validation"])}
    builder._split_generators = lambda _: {name: examples(part) for name, part in labels.items()}
    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=3)
    with tempfile.TemporaryDirectory() as unused:
        builder.download_and_prepare(
            download_dir=unused, download_config=config, file_format="array_record"
        )

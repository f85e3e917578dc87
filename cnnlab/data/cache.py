"""Decoded arrays kept on disk, so that a data set is decoded once."""

import logging
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnnlab.data.images import Images
from cnnlab.files import writing

_log = logging.getLogger(__name__)

_UNUSABLE = (
    *(OSError, ValueError, KeyError, EOFError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a file may raise that is no such array any more."""


def load(path: Path, decode: Callable[[], Images], check: Callable[[Images], None]) -> Images:
    """Return the images kept at `path`, or decode them and keep them there.

    The file is an uncompressed .npz, whose checksums are verified when it is read: a damaged one
    is decoded anew, and a folder that cannot be written costs a warning, no more. It appears whole
    or not at all, whatever else writes it at the same time.

    Args:
        path: The file, named after all that its content depends on.
        decode: Makes the images when the file is not there.
        check: Raises ValueError for images that `decode` would not make.
    """
    try:
        images = _read(path)
        check(images)
        return images
    except FileNotFoundError:
        pass
    except _UNUSABLE as error:
        _log.warning("cannot use the cache file %s (%s): decoding again", path, error)
    images = decode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path) as file:
            np.savez(file, images=images.images, labels=images.labels)
    except OSError as error:
        _log.warning("cannot keep decoded images at %s (%s): going on without", path, error)
    return images


def _read(path: Path) -> Images:
    with np.load(path) as arrays:
        return Images(arrays["images"], arrays["labels"])

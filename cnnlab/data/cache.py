"""Decoded arrays kept on disk, so that a data set is decoded once."""

import logging
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnnlab.data.images import Images

_log = logging.getLogger(__name__)


def load(path: Path, decode: Callable[[], Images]) -> Images:
    """Return the images kept at `path`, or decode them and keep them there.

    The file is an uncompressed .npz, whose checksums are verified when it is read: a damaged one
    is decoded anew, and a folder that cannot be written costs a warning, no more. It appears whole
    or not at all, whatever else writes it at the same time.

    Args:
        path: The file, named after all that its content depends on.
        decode: Makes the images when the file is not there.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("cannot use the cache file %s (%s): decoding again", path, error)
    images = decode()
    try:
        _write(path, images)
    except OSError as error:
        _log.warning("cannot keep decoded images at %s (%s): going on without", path, error)
    return images


def _read(path: Path) -> Images:
    with np.load(path) as arrays:
        return Images(arrays["images"], arrays["labels"])


def _write(path: Path, images: Images) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with open(descriptor, "wb") as file:
            np.savez(file, images=images.images, labels=images.labels)
            file.flush()
            os.fsync(descriptor)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise

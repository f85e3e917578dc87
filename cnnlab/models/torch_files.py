"""Files of PyTorch's weights, read without PyTorch and without running what a pickle asks for.

`.safetensors` holds nothing but arrays. `.pth` and `.pt` hold a pickle and the numbers its tensors
view: as members of a zip file since PyTorch 1.6, one after another in the file before. A pickle is
a program; the reader here knows how to rebuild tensors and refuses whatever else one calls for.
"""

import functools
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from cnnlab.errors import unknown

_DTYPES = {
    "torch.BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch.BoolStorage": np.dtype(bool),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.ShortStorage": np.dtype(np.int16),
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The entries of a state dict in a `.safetensors`, `.pth` or `.pt` file, as NumPy arrays.

    Numbers and shapes are as in the file, in PyTorch's layout; bfloat16 is that of `ml_dtypes`.

    Raises:
        ValueError: another suffix; a damaged file; one that holds anything but arrays by name, or
            whose pickle calls for anything but tensors (nothing of it is run).
        OSError: the file cannot be opened.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise ValueError(unknown("suffix of a file of weights", path.suffix, _READERS))
    with path.open("rb") as file:
        try:
            return _READERS[path.suffix](file)
        except Exception as error:  # a damaged pickle can end in any of them
            raise ValueError(f"{path}: no state dict can be read from it: {error}") from error


def _read_safetensors(file: IO[bytes]) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(file.name)


def _read_pickled(file: IO[bytes]) -> dict[str, np.ndarray]:
    is_zip = zipfile.is_zipfile(file)
    file.seek(0)
    return _as_state_dict(_read_zip(file) if is_zip else _read_legacy(file))


_READERS: dict[str, Callable[[IO[bytes]], dict[str, np.ndarray]]] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_pickled,
    ".pt": _read_pickled,
}


def _as_state_dict(unpickled: Any) -> dict[str, np.ndarray]:
    if not isinstance(unpickled, Mapping):
        raise ValueError(f"it holds a {type(unpickled).__name__}, not tensors by name")
    arrays = {
        name: value.data if isinstance(value, _Parameter) else value
        for name, value in unpickled.items()
    }
    odd = [
        name
        for name, value in arrays.items()
        if not (isinstance(name, str) and isinstance(value, np.ndarray))
    ]
    if odd:
        raise ValueError(f"it holds more than tensors by name: {', '.join(map(repr, odd))}")
    return arrays


def _read_zip(file: IO[bytes]) -> Any:
    """`<name>/data.pkl` is the pickle, `<name>/data/<key>` the numbers of one storage."""
    with zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        pickles = [member for member in members if member.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"a zip file without PyTorch's data.pkl: {', '.join(members[:5])}")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members:
            _check_byte_order(archive.read(f"{root}byteorder").decode())

        @functools.cache
        def numbers(key: str, nbytes: int) -> np.ndarray:
            return np.frombuffer(archive.read(f"{root}data/{key}"), np.uint8, nbytes)

        with archive.open(pickles[0]) as pickled:
            return _TensorUnpickler(pickled, numbers).load()


def _read_legacy(file: IO[bytes]) -> Any:
    """Five pickles (magic number, protocol, machine, object, storage keys), then the numbers."""
    try:
        magic = _TensorUnpickler(file).load()
    except Exception:
        magic = None
    if magic != _LEGACY_MAGIC:
        raise ValueError("neither of PyTorch's formats (a zip file, or its magic number first)")
    protocol, machine = _TensorUnpickler(file).load(), _TensorUnpickler(file).load()
    if protocol != _LEGACY_PROTOCOL:
        raise ValueError(f"protocol {protocol}; only {_LEGACY_PROTOCOL} is known")
    _check_byte_order("little" if machine["little_endian"] else "big")
    storages: dict[str, np.ndarray] = {}

    def numbers(key: str, nbytes: int) -> np.ndarray:
        # Tensors view them now, though they stand at the end of the file.
        return storages.setdefault(key, np.zeros(nbytes, np.uint8))

    unpickled = _TensorUnpickler(file, numbers).load()
    for key in _TensorUnpickler(file).load():
        file.seek(8, os.SEEK_CUR)  # how many they are, which the pickle has said
        if file.readinto(storages[key]) != storages[key].nbytes:  # type: ignore[attr-defined]
            raise ValueError("it is cut short")
    return unpickled


def _check_byte_order(order: str) -> None:
    if order != sys.byteorder:
        raise ValueError(f"written by a {order}-endian machine; this one is {sys.byteorder}-endian")


def _no_numbers(key: str, nbytes: int) -> NoReturn:
    raise ValueError("a tensor where PyTorch's format has none")


class _Storage(NamedTuple):
    """Numbers as they lie in memory, as bytes, and what they are."""

    numbers: np.ndarray
    dtype: np.dtype


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds tensors over what `numbers(key, nbytes)` gives, and calls nothing else."""

    def __init__(
        self, file: IO[bytes], numbers: Callable[[str, int], np.ndarray] = _no_numbers
    ) -> None:
        super().__init__(file, encoding="utf-8")
        self.numbers = numbers

    def find_class(self, module: str, name: str) -> Any:
        called = f"{module}.{name}"
        if called in _DTYPES:
            return called
        if called not in _CALLED:
            raise ValueError(f"its pickle calls for {called}; only tensors are read")
        return _CALLED[called]

    def persistent_load(self, pid: Any) -> _Storage:
        """`("storage", type, key, device, count)`, and of old `(..., (view, offset, count))`."""
        kind, of_type, key, _, count, *views = pid
        if kind != "storage" or of_type not in _DTYPES:
            raise ValueError(f"its pickle refers to a {kind}, {of_type}; only tensors are read")
        dtype = _DTYPES[of_type]
        numbers = self.numbers(key, count * dtype.itemsize)
        for _, offset, size in filter(None, views):
            numbers = numbers[offset * dtype.itemsize :][: size * dtype.itemsize]
        return _Storage(numbers, dtype)


class _Rebuild:
    """A function that a pickle may call, and not change by giving it a state."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> NoReturn:
        raise ValueError("its pickle would change how tensors are rebuilt")


def _tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: offset and strides count numbers, not bytes."""
    size = storage.dtype.itemsize
    steps = tuple(stride * size for stride in strides)
    return np.ndarray(shape, storage.dtype, storage.numbers, offset * size, steps)


class _Parameter:
    """`torch.nn.Parameter` as files before PyTorch 0.4 have it: its data, then a state."""

    __slots__ = ("data",)

    def __new__(cls, data: Any = None, *_: Any) -> "_Parameter":
        self = super().__new__(cls)
        self.data = data
        return self

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Whether it takes gradients, and hooks; the oldest have five parts, the data first."""
        if len(state) == 5:
            self.data = state[0]


_CALLED: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_parameter": _Rebuild(lambda data, *_: data),
    "torch._utils._rebuild_tensor": _Rebuild(_tensor),
    "torch._utils._rebuild_tensor_v2": _Rebuild(_tensor),
    "torch.nn.parameter.Parameter": _Parameter,
}

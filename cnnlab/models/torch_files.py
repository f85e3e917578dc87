"""Files of PyTorch's weights, read without PyTorch and without running what a pickle asks for.

`.safetensors` holds nothing but arrays. `.pth` and `.pt` hold a pickle and the numbers its tensors
view: as members of a zip file since PyTorch 1.6, one after another in the file before. A pickle is
a program; the reader here knows how to rebuild tensors and refuses whatever else one calls for.

No file takes more memory than a few times its own size: what it says of sizes is held against what
there is, before anything is made of that size.
"""

import functools
import io
import math
import os
import pickle
import pickletools
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from cnnlab.errors import Mistake, unknown
from cnnlab.geometry import whole

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

_MOST_PICKLED = 2**20
"""Bytes of a pickle: the names and shapes of 5,000 tensors."""
_MOST_TUPLES = 2**15
"""In a pickle, which holds a few for each tensor. Hashed, too deep a nest of them ends Python."""


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The entries of a state dict in a `.safetensors`, `.pth` or `.pt` file, as NumPy arrays.

    Numbers and shapes are as in the file, in PyTorch's layout; bfloat16 is that of `ml_dtypes`.

    Args:
        path: of the file; `~` is the user's home.

    Raises:
        Mistake: another suffix; a damaged file; one that holds anything but arrays by name, or
            whose pickle calls for anything but tensors (nothing of it is run); one that declares
            more numbers than it holds.
        OSError: the file cannot be opened.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix not in _READERS:
        raise Mistake(unknown("suffix of a file of weights", path.suffix, _READERS))
    with path.open("rb") as file:
        try:
            return _READERS[path.suffix](file)
        except Exception as error:  # a damaged pickle can end in any of them
            reason = str(error) or type(error).__name__
            raise Mistake(f"{path}: no state dict can be read from it: {reason}") from error


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
        members = _members(archive, os.fstat(file.fileno()).st_size)
        pickles = [member for member in members if member.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"a zip file without PyTorch's data.pkl: {', '.join([*members][:5])}")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members:
            _check_byte_order(_stored(archive, members[f"{root}byteorder"]).decode())

        @functools.cache
        def numbers(key: str, count: int, size: int) -> np.ndarray:
            member = members.get(f"{root}data/{key}")
            if member is None or member.file_size != count * size:
                held = member.file_size if member else 0
                raise ValueError(f"data/{key} has {held:,} bytes; a tensor wants {count * size:,}")
            return np.frombuffer(_stored(archive, member), np.uint8)

        if members[pickles[0]].file_size > _MOST_PICKLED:
            raise ValueError(f"its data.pkl has more than {_MOST_PICKLED:,} bytes")
        return _unpickled(io.BytesIO(_stored(archive, members[pickles[0]])), numbers)


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The members by name, if those that are not compressed have room in `size` bytes."""
    infos = archive.infolist()
    members = {info.filename: info for info in infos}
    if len(members) < len(infos):
        raise ValueError("two of its members have one name")
    total = sum(info.file_size for info in infos if info.compress_type == zipfile.ZIP_STORED)
    if total > size:
        raise ValueError(f"its members overlap: {total:,} bytes of them in {size:,}")
    return members


def _stored(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """What a member holds, as it stands in the archive: of what is compressed no size is sure."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(
            f"{member.filename} is compressed, as PyTorch writes no tensors: {member.file_size:,} "
            f"bytes in {member.compress_size:,}. Unpack the file and pack it again with `zip -0`"
        )
    return archive.read(member)


def _read_legacy(file: IO[bytes]) -> Any:
    """Five pickles (magic number, protocol, machine, object, storage keys), then the numbers."""
    size = os.fstat(file.fileno()).st_size
    pickles = io.BytesIO(file.read(_MOST_PICKLED))
    try:
        magic = _unpickled(pickles)
    except Exception:
        magic = None
    if magic != _LEGACY_MAGIC:
        raise ValueError("neither of PyTorch's formats (a zip file, or its magic number first)")
    protocol, machine = _unpickled(pickles), _unpickled(pickles)
    if protocol != _LEGACY_PROTOCOL:
        raise ValueError(f"protocol {protocol}; only {_LEGACY_PROTOCOL} is known")
    _check_byte_order("little" if machine["little_endian"] else "big")
    storages = _LegacyStorages(size)
    unpickled = _unpickled(pickles, storages.numbers)
    keys = _unpickled(pickles)
    file.seek(pickles.tell())
    storages.fill(keys, file)
    return unpickled


class _LegacyStorages:
    """Numbers that tensors view before they are read: they stand at the end of the file."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._arrays: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def numbers(self, key: str, count: int, size: int) -> np.ndarray:
        if key not in self._arrays:
            held = sum(array.nbytes for array in self._arrays.values())
            if held + count * size > self._size:
                raise ValueError(f"its tensors want more than the file's {self._size:,} bytes")
            self._arrays[key], self._counts[key] = np.zeros(count * size, np.uint8), count
        if (self._counts[key], self._arrays[key].nbytes) != (count, count * size):
            raise ValueError(f"storage {key} has two sizes")
        return self._arrays[key]

    def fill(self, keys: Sequence[str], file: IO[bytes]) -> None:
        """Read them all, in the order of `keys`; each behind how many they are."""
        if Counter(keys) != Counter(list(self._arrays)):
            seen = len(self._arrays)
            raise ValueError(f"its tensors view {seen} storages, and it lists {len(keys)} others")
        for key in keys:
            array, held = self._arrays[key], file.read(8)
            if len(held) == 8 and int.from_bytes(held, sys.byteorder) != self._counts[key]:
                raise ValueError(f"storage {key} has not the {self._counts[key]:,} numbers it says")
            if len(held) < 8 or file.readinto(array) != array.nbytes:  # type: ignore[attr-defined]
                raise ValueError("it is cut short")


def _check_byte_order(order: str) -> None:
    if order != sys.byteorder:
        raise ValueError(f"written by a {order}-endian machine; this one is {sys.byteorder}-endian")


def _no_numbers(key: str, count: int, size: int) -> NoReturn:
    raise ValueError("a tensor where PyTorch's format has none")


_Numbers = Callable[[str, int, int], np.ndarray]
"""Of a storage's key, how many numbers it has and bytes of each: their bytes."""


class _Storage(NamedTuple):
    """Numbers as they lie in memory, as bytes, and what they are."""

    numbers: np.ndarray
    dtype: np.dtype


def _unpickled(stream: io.BytesIO, numbers: _Numbers = _no_numbers) -> Any:
    """The next object in a stream of pickles."""
    start, tuples = stream.tell(), 0
    for done, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        tuples += opcode.name.startswith("TUPLE")
        # Python keeps room for all indexes up to the largest, and a pickle counts them from 0.
        if tuples > _MOST_TUPLES or (opcode.name.endswith("PUT") and (argument or 0) > done):
            raise ValueError(f"its pickle would take much memory ({opcode.name} {argument})")
    stream.seek(start)
    return _TensorUnpickler(stream, numbers).load()


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds tensors over the bytes that `numbers` gives, and calls nothing else."""

    def __init__(self, stream: io.BytesIO, numbers: _Numbers) -> None:
        super().__init__(stream, encoding="utf-8")
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
        count = whole("a storage's size", count, at_least=0)
        numbers = self.numbers(key, count, dtype.itemsize)
        for _, offset, size in filter(None, views):
            if not 0 <= offset <= offset + size <= count:
                raise ValueError(f"a view of {size} numbers from {offset} on, of {count}")
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
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool = False,
    hooks: Any = None,
    metadata: Any = None,
) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: offset and strides count numbers, not bytes."""
    if metadata:
        raise ValueError(f"a tensor that stands for other numbers than it holds: {metadata}")
    size = storage.dtype.itemsize
    if math.prod(shape) * size > storage.numbers.nbytes:
        raise ValueError(f"a tensor {list(shape)} of {storage.numbers.nbytes // size} numbers")
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

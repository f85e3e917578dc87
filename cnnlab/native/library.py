"""The compiled extension: built at first use, kept in the user's cache folder."""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jaxlib
from filelock import FileLock

from cnnlab.files import read_bytes, write_whole
from cnnlab.machine import cache_folder

HERE = Path(__file__).parent
SOURCES = ("convolution.cc", "normalisation.cc", "pooling.cc", "threads.h", "numbers.h")
CALLS = (
    "conv_forward",
    "conv_backward_data",
    "conv_backward_filters",
    "batch_norm_moments",
    "batch_norm_apply",
    "batch_norm_backward",
    "max_pool_forward",
    "max_pool_backward",
)
FLAGS = ("-std=c++20", "-O3", "-march=native", "-mprefer-vector-width=512", "-fPIC", "-shared")
WHEEL, HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"


class Unavailable(Exception):
    """Why there is no extension here."""


@functools.cache
def missing() -> str | None:
    """Why oneDNN cannot be used here; None where it is loaded and XLA knows its calls."""
    try:
        for name in CALLS:
            call = jax.ffi.pycapsule(getattr(_loaded(), name))
            jax.ffi.register_ffi_target(f"cnnlab_{name}", call, platform="cpu")
    except (Unavailable, OSError, AttributeError) as error:
        return str(error)
    return None


@functools.cache
def convolves_bfloat16() -> bool:
    """Whether oneDNN has convolutions in bfloat16 for this processor; not before AVX-512.

    Raises:
        Unavailable, OSError: as `build`.
    """
    ask = _loaded().convolves_bfloat16
    ask.restype = ctypes.c_bool
    return bool(ask())


@functools.cache
def _loaded() -> ctypes.CDLL:
    return ctypes.CDLL(os.fspath(build()))


def version() -> str:
    """OneDNN's, of the installed wheel."""
    return importlib.metadata.version(WHEEL)


def build() -> Path:
    """The extension's file in the cache folder, compiled if it is not there.

    Raises:
        Unavailable: no compiler, no oneDNN, another platform, or it does not compile.
        OSError: the cache folder cannot be written.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unavailable(f"it is for Linux on x86_64, not {sys.platform} on {platform.machine()}")
    library, header = _installed(WHEEL, "libdnnl.so.3"), _installed(HEADERS, "dnnl.hpp")
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise Unavailable("there is no C++ compiler (g++, or $CXX)")
    command = [
        compiler,
        *FLAGS,
        "-fopenmp",
        *(os.fspath(HERE / name) for name in SOURCES if name.endswith(".cc")),
        f"-I{header.parent}",
        f"-isystem{jax.ffi.include_dir()}",
        os.fspath(library),
        f"-Wl,-rpath,{library.parent}",
    ]
    target = cache_folder() / f"native-{_key(command)}.so"
    if _whole(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / "native.lock"):  # processes that start together compile once
        if not _whole(target):
            made = _compiled(command)
            write_whole(target, made + hashlib.sha256(made).digest())
    return target


def _whole(target: Path) -> bool:
    """Whether the extension ends in its digest, as it was written: another would end the process.

    The loader heeds nothing that stands behind what it loads.
    """
    content = read_bytes(target) if target.exists() else b""
    return hashlib.sha256(content[:-32]).digest() == content[-32:]


def _compiled(command: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "native.so"
        done = subprocess.run([*command, "-o", made], capture_output=True, text=True)
        if done.returncode != 0:
            raise Unavailable(f"{command[0]} failed: {done.stderr.strip()[:500]}")
        return read_bytes(made)


def _installed(wheel: str, name: str) -> Path:
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(f"{wheel} is not installed (pip install 'cnnlab[onednn]')") from None
    for file in files:
        if file.name == name and (found := Path(os.fspath(file.locate())).resolve()).exists():
            return found
    raise Unavailable(f"{wheel} has no {name}")


def _key(command: list[str]) -> str:
    """Names all that the machine code depends on, the processor's features included."""
    digest = hashlib.sha256("\0".join([*command, jaxlib.__version__, version()]).encode())
    digest.update(subprocess.run([command[0], "--version"], capture_output=True).stdout)
    cpu = Path("/proc/cpuinfo").read_text().splitlines()
    digest.update(next((line for line in cpu if line.startswith("flags")), "").encode())
    for name in SOURCES:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()[:16]

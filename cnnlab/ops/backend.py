"""Which code computes convolutions, batch norm and max pooling: XLA's, or oneDNN's on a CPU.

`current()` is XLA unless `using` says otherwise: XLA's operations have every derivative, can be
exported, and run everywhere. What training and evaluation use is `preferred()`.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
from collections.abc import Iterator

import jax

from cnnlab.errors import Mistake, unknown
from cnnlab.native import library
from cnnlab.ops.activation import forget

BACKENDS = ("xla", "onednn")
VARIABLE = "CNNLAB_CONV"

log = logging.getLogger("cnnlab")
_current = contextvars.ContextVar("backend", default="xla")


class BackendError(Mistake):
    """A backend that does not exist, or cannot be used here."""


@contextlib.contextmanager
def using(backend: str) -> Iterator[None]:
    """Compute by `backend`, "xla" or "onednn"; around a function (`using(b)(f)`) or a block.

    It counts where a function is traced: one that is already compiled stays as it is, so put it
    around the function that is given to `jax.jit`, not around the call.

    Raises:
        BackendError: no such backend, or oneDNN cannot be used here; says why and what to install.
    """
    _check(backend)
    before = _current.set(backend)
    forget()
    try:
        yield
    finally:
        _current.reset(before)
        forget()


def current() -> str:
    """The backend of the operations called from here."""
    return _current.get()


def preferred() -> str:
    """The backend for training and evaluation on this machine.

    What `$CNNLAB_CONV` says; where it says nothing, oneDNN if it can be used and JAX has one CPU as
    its only device, else XLA. (XLA cannot share a custom call out: of several devices each computes
    the whole batch, with the same results, so that a run begun on one can be forced to go on.)

    Raises:
        BackendError: as `using`, of the variable's value.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted:
        _check(wanted, f"{VARIABLE}: ")
        return wanted
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return "xla"
    reason = library.missing()
    if reason is None:
        return "onednn"
    _say_once(reason)
    return "xla"


def description(backend: str) -> str:
    """The backend, with oneDNN's version."""
    return f"onednn {library.version()}" if backend == "onednn" else backend


def _check(backend: str, where: str = "") -> None:
    if backend not in BACKENDS:
        raise BackendError(where + unknown("backend", backend, BACKENDS))
    if backend == "onednn":
        device = jax.default_backend()
        other = f"it computes on CPUs, and JAX's device is a {device}" if device != "cpu" else None
        if reason := other or library.missing():
            raise BackendError(f"{where}oneDNN cannot be used here: {reason}")


_said: set[str] = set()


def _say_once(reason: str) -> None:
    if reason not in _said:
        _said.add(reason)
        log.warning("convolutions by XLA, slower than by oneDNN: %s", reason)

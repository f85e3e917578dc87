"""The C library's memory, which XLA takes a step's buffers from."""

import ctypes
import functools
import threading
import time

import jax

# The names of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8

_TOP = 2**31 - 1
"""Bytes that may stay at the heap's end."""

SECONDS = 1.0
"""Between two returns of holes."""


@functools.cache
def keep_memory() -> None:
    """Let glibc keep freed memory, so that a step's buffers are not mapped and zeroed anew.

    XLA takes one buffer for a step's temporaries and gives it back at the end. From 32 MiB glibc
    maps such a buffer afresh: ResNet-20 at batch 128 then has 60,000 page faults a step. Only the
    main heap can keep it, which a thread uses or does not, by chance; so where one CPU is the only
    device, who calls a program also runs it. Launchers and the processes of sweeps call this,
    before JAX starts; with another C library it does nothing.

    To align a buffer glibc (2.36) takes some bytes more and frees them, and as long as a thread
    keeps those for itself the next buffer does not fit where the last one was. The pages of such
    holes go back to the system every `SECONDS`: without that ResNet-20 took up to 2.6 GiB.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_ARENA_MAX, 1)  # XLA's threads take from the heap that can grow
        libc.mallopt(_MMAP_MAX, 0)  # never a mapping of its own
        libc.mallopt(_TRIM_THRESHOLD, _TOP)
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        threading.Thread(target=_trim, args=(libc,), name="trim memory", daemon=True).start()


def _trim(libc: ctypes.CDLL) -> None:
    while True:
        time.sleep(SECONDS)
        libc.malloc_trim(ctypes.c_size_t(_TOP))

"""What a process has of its machine: cores, variables, a folder for what can be made again."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def cores() -> list[int]:
    """The numbers of the cores that this process may use, ascending."""
    if hasattr(os, "sched_getaffinity"):  # what a container or `taskset` leaves, which Linux tells
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def variables(given: Mapping[str, str]) -> Iterator[None]:
    """Environment variables of this process, and so of those that are started inside."""
    before = {name: os.environ.pop(name, None) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/cnnlab`, else `~/.cache/cnnlab`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnnlab"

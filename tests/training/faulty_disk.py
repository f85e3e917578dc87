"""A disk that refuses one call, or sees its process killed at it: what Python asks of files."""

import builtins
import io
import os
import signal
from collections.abc import Callable
from typing import Any

CALLS = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "listdir", "scandir", "fsync")
METHODS = ("read", "readinto", "readline", "write", "flush", "close")
KILL = -signal.SIGKILL


class Disk:
    """Counts what is asked of the files below `root`; the call of one number fails.

    With an errno, or for `KILL` with the end of the process.
    """

    def __init__(self, root: str, number: int, code: int):
        self.root, self.number, self.code, self.calls = os.path.realpath(root), number, code, 0

    def install(self, replace: Callable[[Any, str, Any], None] = setattr) -> None:
        for name in CALLS:
            replace(os, name, self._guarded(getattr(os, name)))
        opening = self._opening(builtins.open)
        replace(builtins, "open", opening)
        replace(io, "open", opening)

    def asked(self, place: Any, *named: Any) -> None:
        """Count a call; the error of the one that fails names what the system's would."""
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}")
        if not os.path.abspath(os.fsdecode(place)).startswith(self.root):
            return
        self.calls += 1
        if self.calls == self.number and self.code == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.calls == self.number:
            raise OSError(self.code, os.strerror(self.code), *named)

    def _guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(place: Any = ".", *rest: Any, **options: Any) -> Any:
            if options.get("dir_fd") is None:
                self.asked(place, *([] if isinstance(place, int) else [place]))
            return call(place, *rest, **options)

        return guarded

    def _opening(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def opening(place: Any, *rest: Any, **options: Any) -> Any:
            below = not isinstance(place, int) and os.path.abspath(os.fsdecode(place))
            if not below or not below.startswith(self.root):
                return call(place, *rest, **options)
            self.asked(place, place)
            return File(self, place, call(place, *rest, **options))

        return opening


class File:
    """A file whose every call may fail."""

    def __init__(self, disk: Disk, place: Any, file: Any):
        self._disk, self._place, self._file = disk, place, file

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if name not in METHODS:
            return found

        def guarded(*values: Any) -> Any:
            try:
                self._disk.asked(self._place)
            except OSError:
                if name == "close":  # as the kernel does: it is closed all the same
                    found()
                raise
            return found(*values)

        return guarded

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Any:
        return iter(self._file)

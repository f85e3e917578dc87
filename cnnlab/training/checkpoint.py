"""Checkpoints by Orbax: there whole or not at all, and checked before they are read.

A checkpoint is a folder named after its step. Its `contents.json` tells the digest of each of its
files, type and shape of each array, and its own digest. So damage is what can be seen in the files:
one of them is missing, or its digest differs. Whatever else keeps a checkpoint from being read is
no damage to it: an I/O error, too little memory, a `config.json` that now describes another
network.
"""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from cnnlab.errors import Failure
from cnnlab.files import BadFile, Format, strict, sync, write_whole
from cnnlab.training.placement import by_leader, everywhere, largest, leads
from cnnlab.training.state import State, digest

log = logging.getLogger("cnnlab")

_CONTENTS = "contents.json"
_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_FORMAT = Format(strict({"files": _TEXTS, "arrays": _TEXTS, "sha256": _TEXT}))
_ITEMS = "state", "digest"
_NONE = 0
"""Stands for no checkpoint among steps, of which 0 is never saved."""


class SaveFailed(Failure):
    """A checkpoint could not be written; the message names the last whole one."""


class RestoreFailed(Failure):
    """A checkpoint could not be read, though nothing shows that it is damaged; it stays."""


class _Damaged(Exception):
    """What a checkpoint lacks, or which digest differs."""


class Checkpoints:
    """The last `keep` states of a run, in `folder`/<step>, for the process that has the run's lock.

    Or for those that joined for the run: each does all that is here, at the same time.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self.folder, self._keep = folder.absolute(), keep
        self._checkpointer = _checkpointer()
        by_leader(self._tidy)

    def _tidy(self) -> int:
        """Make the folder, and remove what killed processes began to write or to remove."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if re.fullmatch(r"\d+\.(partial|orbax-checkpoint-tmp).*", path.name):
                shutil.rmtree(path)
        return 0

    def save(self, state: State) -> None:
        """Write `state` under its step; nothing to do where that step is there.

        Raises:
            SaveFailed: it could not be written (disk full, no permission).
        """
        step = int(state.step)
        if by_leader(lambda: step in _steps(self.folder)):
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            digest=ocp.args.JsonSave({"sha256": digest(state)}),
        )
        partial = self.folder / f"{step}.partial"
        try:
            self._checkpointer.save(partial, args=items, force=True)
            by_leader(lambda: self._finish(partial, step, state))
        except Exception as error:  # tensorstore raises ValueError and RuntimeError as well
            for path in self.folder.glob(f"{partial.name}*"):
                shutil.rmtree(path, ignore_errors=True)
            last = max(_steps(self.folder), default=None)
            raise SaveFailed(
                f"checkpoint at step {step} could not be written to {self.folder}: {error}. "
                f"Last whole checkpoint: {'none' if last is None else f'step {last}'}"
            ) from error

    def _finish(self, partial: Path, step: int, state: State) -> int:
        """Give a checkpoint its name when all of it is on the disk, and remove the oldest."""
        write_whole(partial / _CONTENTS, _contents(partial, state))
        partial.rename(self.folder / str(step))
        sync(self.folder)
        for old in _steps(self.folder)[: -self._keep]:
            going = self.folder / f"{old}.partial"  # cut short here, it looks like no checkpoint
            shutil.rmtree((self.folder / str(old)).rename(going))
        return 0

    def newest(self, like: State) -> State | None:
        """The newest state that is as it was written; damaged ones are said and set aside.

        `like` has the shapes and types to expect, in arrays or as `jax.eval_shape` gives them.
        None where there is no good checkpoint.

        Raises:
            RestoreFailed: one could not be read, though nothing shows that it is damaged.
        """
        return _newest(self.folder, self._checkpointer, like, self._set_aside)

    def _set_aside(self, step: int) -> int:
        """Move a checkpoint to the folder `damaged` beside the good ones' folder."""
        home, number = self.folder.with_name("damaged"), 1
        home.mkdir(exist_ok=True)
        target = home / str(step)
        while target.exists():
            number += 1
            target = home / f"{step}-{number}"
        (self.folder / str(step)).rename(target)
        return 0

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        return max(_steps(self.folder), default=None)

    def close(self) -> None:
        """Let go of Orbax."""
        self._checkpointer.close()


def load(folder: Path, like: State) -> State | None:
    """The newest good state of a run's checkpoints in `folder`, in which nothing is changed.

    As `Checkpoints.newest`, but that damaged ones are only said.
    """
    checkpointer = _checkpointer()
    try:
        return _newest(folder.absolute(), checkpointer, like, lambda step: 0)
    finally:
        checkpointer.close()


def _checkpointer() -> ocp.Checkpointer:
    logging.getLogger("absl").addFilter(_not_of_orbax)
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(*_ITEMS))


def _not_of_orbax(record: logging.LogRecord) -> bool:
    """Orbax logs, with a traceback, what it raises as well."""
    return "/orbax/" not in record.pathname


def _steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, ascending."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch("[1-9][0-9]*", name))


def _newest(
    folder: Path, checkpointer: ocp.Checkpointer, like: State, spoilt: Callable[[int], int]
) -> State | None:
    """The newest good state; the leader hands the step of each damaged one to `spoilt`."""
    passed: set[int] = set()

    def following() -> int:
        return max(set(_steps(folder)) - passed, default=_NONE)

    while step := by_leader(following):
        passed.add(step)
        try:
            return _read(folder / str(step), checkpointer, like)
        except _Damaged as damage:
            if leads() and (folder / str(step)).exists():  # else it was removed for newer ones
                older = following()
                instead = f"trying the one at step {older}" if older else "starting anew"
                log.warning("checkpoint at step %d is damaged (%s); %s", step, damage, instead)
            by_leader(lambda: spoilt(step))
    return None


def _read(path: Path, checkpointer: ocp.Checkpointer, like: State) -> State:
    """The state in a checkpoint, the same to all processes.

    Raises:
        _Damaged, RestoreFailed: in all of them.
    """
    said: list[str] = []

    def look() -> int:
        said.extend(_damage(path, like))
        return len(said)

    try:
        if by_leader(look):
            raise _Damaged("; ".join(said))
        restored = _restored(path, checkpointer, like)
        written = restored.digest["sha256"]
    except _Damaged:
        raise
    except Exception as error:
        raise _unread(path, error) from error
    if largest(digest(restored.state) != written):
        damage = _Damaged("its digest is not the one it was written with")
        # Without a list of its arrays nobody knows whether they were read as others than they are.
        raise damage if (path / _CONTENTS).exists() else _unread(path, damage)
    state: State = restored.state
    return state


def _unread(path: Path, error: Exception) -> RestoreFailed:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return RestoreFailed(
        f"the checkpoint {path} could not be read: {reason}; nothing was moved or changed"
    )


def _restored(path: Path, checkpointer: ocp.Checkpointer, like: State) -> Any:
    """What Orbax makes of a checkpoint; in all processes or in none."""
    whole, restored, error = everywhere(), None, None
    shapes: Any = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), like
    )
    items = ocp.args.Composite(
        state=ocp.args.StandardRestore(shapes), digest=ocp.args.JsonRestore()
    )
    try:
        restored = checkpointer.restore(path, args=items)
    except Exception as caught:  # raised again when the others know
        error = caught
    if largest(error is not None):
        raise error or Failure("another of the processes that joined could not read it")
    return restored


def _contents(folder: Path, state: State) -> str:
    """What is in a checkpoint, as `contents.json` tells it; all of it is on the disk then."""
    files = {}
    for path in sorted(folder.rglob("*")):
        sync(path)
        if path.is_file():
            files[path.relative_to(folder).as_posix()] = _sha256(path)
    contents = {"files": files, "arrays": _arrays(state)}
    return json.dumps(contents | {"sha256": _own_digest(contents)}, indent=1)


def _own_digest(contents: dict[str, Any]) -> str:
    told = {key: value for key, value in contents.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _arrays(state: State) -> dict[str, str]:
    """Type and shape of each array by its place in a state."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): f"{leaf.dtype} {list(leaf.shape)}" for path, leaf in leaves}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _damage(path: Path, like: State) -> list[str]:
    """What is missing in a checkpoint, or has another digest than it was written with.

    Raises:
        RestoreFailed: nothing, but the arrays are not those of `like`.
        OSError: that cannot be seen.
    """
    if not (path / _CONTENTS).exists():  # older than such files
        return [f"{name} is missing" for name in _ITEMS if not any((path / name).glob("*"))]
    try:
        contents = _FORMAT.read(path / _CONTENTS)
    except BadFile:
        contents = {}
    if contents.get("sha256") != _own_digest(contents):
        return [f"{_CONTENTS} is not as it was written"]
    found = []
    for name, expected in contents["files"].items():
        try:
            if _sha256(path / name) != expected:
                found.append(f"{name} is not as it was written")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            found.append(f"{name} is missing")
    if not found:
        _check_arrays(contents["arrays"], _arrays(like))
    return found


def _check_arrays(found: dict[str, str], expected: dict[str, str]) -> None:
    for place in sorted(found.keys() | expected.keys()):
        if found.get(place) != expected.get(place):
            raise RestoreFailed(
                f"its network is not the recipe's: {place} is {found.get(place, 'missing')} there, "
                f"{expected.get(place, 'missing')} by the recipe"
            )

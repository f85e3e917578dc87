"""Checkpoints by Orbax: written whole or not at all, and checked when read."""

import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from cnnlab.errors import Failure
from cnnlab.training.placement import agreed, everywhere, leads
from cnnlab.training.state import State, digest

log = logging.getLogger("cnnlab")


class SaveFailed(Failure):
    """A checkpoint could not be written; the message names the last whole one."""


class Checkpoints:
    """The last `keep` states of a run, in `folder`/<step>."""

    def __init__(self, folder: Path, keep: int = 2):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, create=True
        )
        self.folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_names=("state", "digest")
        )

    def save(self, state: State) -> None:
        """Write `state` under its step; nothing to do where that step is there.

        Raises:
            SaveFailed: it could not be written (disk full, no permission).
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            digest=ocp.args.JsonSave({"sha256": digest(state)}),
        )
        try:
            self._manager.save(step, args=items, force=True)
        except Exception as error:  # tensorstore raises ValueError and RuntimeError as well
            last = self._manager.latest_step()
            raise SaveFailed(
                f"checkpoint at step {step} could not be written to {self.folder}: {error}. "
                f"Last whole checkpoint: {'none' if last is None else f'step {last}'}"
            ) from error

    def newest(self, like: State) -> State | None:
        """The newest state that reads back as it was written; damaged ones are said and set aside.

        `like` has the shapes and types to expect, in arrays or as `jax.eval_shape` gives them.
        None where there is no good checkpoint.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step, older in zip(steps, [*steps, None][1:], strict=True):
            try:
                return self._read(step, like)
            except Exception as error:  # whatever a damaged file makes Orbax raise
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                instead = "starting anew" if older is None else f"trying the one at step {older}"
                log.warning("checkpoint at step %d is damaged (%s); %s", step, reason, instead)
                self._set_aside(step)
        return None

    def _set_aside(self, step: int) -> None:
        """Move a checkpoint to the folder `damaged` beside the good ones' folder."""
        if leads():
            damaged = self.folder.with_name("damaged") / str(step)
            shutil.rmtree(damaged, ignore_errors=True)
            damaged.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(damaged)
        agreed(step)  # nobody looks before the leader has moved it
        self._manager.reload()

    def _read(self, step: int, like: State) -> State:
        whole = everywhere()
        shapes: Any = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), like
        )
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(shapes), digest=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=items)
        if digest(restored.state) != restored.digest["sha256"]:
            raise ValueError("its digest is not the one it was written with")
        return restored.state

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        return self._manager.latest_step()

    def close(self) -> None:
        """Wait for Orbax and let go of the folder."""
        self._manager.close()

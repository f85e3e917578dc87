"""The loop: steps, and between them what is due - a report, an evaluation, a checkpoint."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from jax import Array

from cnnlab.errors import Failure
from cnnlab.training import placement
from cnnlab.training.checkpoint import Checkpoints
from cnnlab.training.evaluate import Score
from cnnlab.training.feed import Arguments
from cnnlab.training.interrupt import Interrupted, Wish
from cnnlab.training.journal import Journal
from cnnlab.training.program import Program
from cnnlab.training.progress import Display
from cnnlab.training.state import State


class NotFinite(Failure):
    """The loss or a parameter became infinite or no number, by the step `step`."""

    def __init__(self, message: str, step: int = 0):
        super().__init__(message)
        self.step = step


@dataclass
class Loop:
    """What one attempt at a run works with; `validate` scores a state on the validation split.

    `fed` is asked once for what each program takes, in the order of the steps. `look` is shown the
    state between two steps, and must leave it as it is.
    """

    program: Program
    fed: Arguments
    key: Array
    checkpoints: Checkpoints
    journal: Journal
    display: Display
    validate: Callable[[State], Score]
    wish: Wish
    look: Callable[[int, State], object] | None = None

    def run(self, state: State) -> State:
        """From `state` to the last step; `state` is donated.

        Raises:
            NotFinite: the loss or a parameter is no number; nothing is saved from then on.
            SaveFailed: a checkpoint could not be written.
            Interrupted: a signal asked to stop; saved.
        """
        plan, step = self.program.plan, int(state.step)
        while step < plan.steps:
            # A resumed run is cut into the same dispatches: how many steps depends on this one.
            count = plan.until_report(step) if self.program.many else 1
            many = (placement.scalar(count),) * self.program.many
            state = self.program.train(state, *self.fed(step), self.key, *many)
            step += count
            if plan.reports(step):
                self._report(step, state)
            if self.look:
                self.look(step, state)
            self._between(step, state)
        self._save(state)
        return state

    def _between(self, step: int, state: State) -> None:
        plan = self.program.plan
        if _due(step, plan.evaluate_every) and step < plan.steps:
            score = self.validate(state)
            self.journal.write(step, validation_error=score.error, validation_loss=score.loss)
            self.display.resume()
        if _due(step, plan.checkpoint_every):
            self._save(state)
            self.display.resume()
        if number := self._asked_to_stop(step):
            self._save(state)
            name = signal.Signals(number).name
            raise Interrupted(f"{name} at step {step}: saved, and can be taken up again")

    def _asked_to_stop(self, step: int) -> int:
        """By which signal. Several processes must stop at the same step: they agree at reports."""
        if jax.process_count() == 1:
            return self.wish.number
        return placement.largest(self.wish.number) if self.program.plan.reports(step) else 0

    def _report(self, step: int, state: State) -> None:
        check_finite(state)
        error, loss = training_metrics(state)
        rate = self.display.advance(step, loss)
        epoch = step / self.program.plan.steps_per_epoch
        self.journal.write(
            step, epoch=epoch, train_error=error, train_loss=loss, images_per_second=rate
        )

    def _save(self, state: State) -> None:
        check_finite(state)
        # The loss is that of the parameters before the step: what the step made of them is seen
        # only by the next one's.
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state)):
            step = int(state.step)
            raise NotFinite(f"the parameters are not finite at step {step}", step)
        self.checkpoints.save(state)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def training_metrics(state: State) -> Score:
    """Error (percent) and loss over what the current epoch has seen, augmented as trained on."""
    tally = state.tally
    seen = int(tally.examples)
    return Score(100 * int(tally.wrong) / seen, float(tally.loss) / seen)


def check_finite(state: State) -> None:
    """Raise NotFinite where a step's loss was no number."""
    bad = int(state.tally.bad_step)
    if bad >= 0:
        raise NotFinite(f"the loss is not finite since step {bad}", bad)

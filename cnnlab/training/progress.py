"""What a person sees while a network trains: a bar in a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """Progress of one run of `steps` steps, with images/s over training alone.

    Compilation is over before it starts, and `resume` keeps evaluation and saving out of the rate.
    """

    def __init__(self, console: Console, title: str, step: int, steps: int, batch_size: int):
        self.console, self.title, self.steps, self.batch_size = console, title, steps, batch_size
        self._seconds, self._trained = 0.0, 0
        self._since, self._step = time.perf_counter(), step
        self._printed = time.perf_counter()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=steps, completed=step, note="")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def advance(self, step: int, loss: float) -> float:
        """Show that `step` is done; returns images/s since the run began or resumed."""
        now = time.perf_counter()
        self._seconds += now - self._since
        self._trained += (step - self._step) * self.batch_size
        self._since, self._step = now, step
        rate = self._trained / self._seconds
        note = f"loss {loss:.3f}  {rate:,.0f} images/s"
        self._bar.update(self._task, completed=step, note=note)
        if not self.console.is_terminal and (now - self._printed > 30 or step == self.steps):
            left = (self.steps - step) * self.batch_size / rate
            line = f"{self.title}  step {step}/{self.steps}  {note}  {left:.0f} s left"
            self.console.print(line, highlight=False)
            self._printed = now
        return rate

    def resume(self) -> None:
        """Leave out of the rate what happened since the last `advance`."""
        self._since = time.perf_counter()

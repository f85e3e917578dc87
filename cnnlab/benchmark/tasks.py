"""What a contender makes of a job: something to call again and again, and to wait for."""

from collections.abc import Callable
from typing import Any, NamedTuple

from cnnlab.errors import Failure


class CannotTakePart(Failure):
    """A contender that does not run on this machine."""


class Task(NamedTuple):
    """One job, ready to run.

    Attributes:
        call: does it once; an accelerator may still be at it when the call returns.
        wait: returns when what `call` gave is there.
        weights: how many the layer or network has; contenders must agree.
        compile_seconds: what tracing and compiling took, None where nothing is compiled.
    """

    call: Callable[[], Any]
    wait: Callable[[Any], Any]
    weights: int
    compile_seconds: float | None

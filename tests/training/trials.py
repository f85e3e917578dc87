"""Command lines in forks of one process, with a faulty disk or a kill: see `Trials`."""

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faulty_disk import Disk

ROOT = Path(__file__).parents[2]


class Answer(NamedTuple):
    """Exit status, what was said on stderr, and how many calls of the disk were counted."""

    status: int
    said: str
    calls: int


class Trials:
    """A process that forks for each command line: the imports, which take seconds, are done once.

    A command line has its disk: from `root` on, the call of number `fail` ends with `code`. It is
    killed after `kill` seconds, if it is not over by then.
    """

    def __init__(self) -> None:
        # A commit made while these tests run shall not make records differ.
        environment = {**os.environ, "GIT_DIR": os.devnull, "JAX_PLATFORMS": "cpu"}
        command, pipe = [sys.executable, __file__], subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True
        )

    def __call__(
        self, words: Sequence[str], root: Path, fail: int = 0, code: int = 0, kill: float = 0.0
    ) -> Answer:
        trial = {"words": list(words), "root": str(root), "fail": fail, "code": code, "kill": kill}
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(trial), file=self._process.stdin, flush=True)
        return Answer(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


def attempt(trial: dict[str, Any], report: int) -> None:
    """In the fork: the command line, to its end."""
    disk = Disk(trial["root"], trial["fail"], trial["code"])
    disk.install()
    sys.argv = trial["words"]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        os.write(report, str(disk.calls).encode())


def in_a_fork(trial: dict[str, Any]) -> Answer:
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(said.fileno(), 2)
            attempt(trial, writing)
            sys.exit()
        os.close(writing)
        if trial["kill"]:
            time.sleep(trial["kill"])
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(reading) as pipe:
            calls = int(pipe.read() or 0)
        said.seek(0)
        return Answer(status, said.read().decode(), calls)


def serve() -> None:
    for name in ("cnnlab.launch", "cnnlab.evidence", "sklearn.datasets"):
        importlib.import_module(name)
    # JAX warns of forks because of its threads; none runs before it is first used.
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")  # a fork has an end of its own for what it prints
    for line in sys.stdin:
        print(json.dumps(in_a_fork(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()

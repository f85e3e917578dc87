"""Runs several command lines, each in a fork: the imports, which take seconds, are done once.

    python command_lines.py '[["experiments/ablate.py", "--config=..."], ["cnnlab", "models"], ...]'

Prints a JSON list: of each command line its exit status, what it printed, and which of the modules
that read data it loaded.
"""

import contextlib
import io
import json
import os
import runpy
import sys
import traceback
import warnings

import cnnlab.evidence
import cnnlab.launch  # noqa: F401
from cnnlab import cli

READERS = ("sklearn.datasets", "tensorflow_datasets")


def answer(words: list[str]) -> dict[str, object]:
    said = io.StringIO()
    sys.argv = words
    status: object = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            if words[0] == "cnnlab":
                sys.exit(cli.main(words[1:]))
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as leaving:
            status = leaving.code
        except BaseException:
            status = "traceback"
            traceback.print_exc()
    loaded = [name for name in READERS if name in sys.modules]
    return {"status": status, "said": said.getvalue(), "loaded": loaded}


def in_a_fork(words: list[str]) -> dict[str, object]:
    reading, writing = os.pipe()
    if os.fork() == 0:
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer(words), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found: dict[str, object] = json.load(pipe)
    os.wait()
    return found


if __name__ == "__main__":
    # JAX warns of forks because of its threads; none runs before it is first used.
    warnings.simplefilter("ignore")
    print(json.dumps([in_a_fork(words) for words in json.loads(sys.argv[1])]))

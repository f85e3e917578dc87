"""What the launchers share: a config on the command line, and errors a person can read."""

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

# XLA's own log lines (C++) would break the progress bar; errors still come.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from cnnlab import training
from cnnlab.config_file import blamed
from cnnlab.errors import Failure, Mistake
from cnnlab.native.memory import keep_memory
from cnnlab.training import placement

EXIT_FAILED = 1
EXIT_USAGE = 2

CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "A config and its preset, e.g. configs/stacked_convs.py:digits; "
    "override any key with --config.KEY=VALUE.",
    lock_config=True,
)

DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes that are one: start it on every host."
)
_OTHERS = (
    "Where JAX does not find the other processes by itself, set JAX_COORDINATOR_ADDRESS "
    "(HOST:PORT), JAX_NUM_PROCESSES and JAX_PROCESS_ID."
)


def launch(main: Callable[[ConfigDict], int]) -> None:
    """Parse the flags, call `main` with the config and exit with what it returns.

    Exit status: 0 done, 1 a run failed, 2 a mistake in what was asked for, 75 stopped by a signal
    after saving (start again to go on).
    """
    keep_memory()
    flags.mark_flag_as_required("config")

    def work() -> int:
        if DISTRIBUTED.value:
            try:
                placement.join()
            except ValueError as error:
                return _say(f"--distributed: {error} {_OTHERS}", EXIT_USAGE)
        placement.keep_compiled()
        return main(CONFIG.value)

    app.run(lambda _: sys.exit(guarded(work)), flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    try:
        program, *stray = flags.FLAGS(arguments)
        if stray:
            raise flags.Error(f"words that belong to no flag: {' '.join(stray)}")
        # A config file that is not there says so only when it is read.
        if not hasattr(CONFIG.value, "is_locked"):
            raise TypeError(
                f"get_config must give a ConfigDict, not a {type(CONFIG.value).__name__}"
            )
        return [program]
    except Exception as error:  # a config file may raise anything; what is not its own goes on up
        sys.exit(_say(_misread(error, arguments), EXIT_USAGE))


def _misread(error: Exception, arguments: list[str]) -> object:
    """Words why a command line could not be read; an error of ours goes on up."""
    if mistake := blamed(error, _config_path(arguments)):
        return mistake
    if isinstance(error, KeyError | AttributeError):
        return _unknown_key(error, arguments)
    if isinstance(error, flags.Error | TypeError | ValueError | OSError):
        # ml_collections hands on the traceback of what it could not load; its last line tells.
        return str(error).strip().splitlines()[-1].strip().removeprefix("ValueError: ")
    raise error


def _config_path(arguments: list[str]) -> str:
    """The config file that a command line asks for, without its preset."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            return (value if equals else following).partition(":")[0]
    return ""


def _unknown_key(error: Exception, arguments: list[str]) -> str:
    """Words what ml_collections says of an override; an error of the config's own goes on up."""
    said = str(error.args[0]) if error.args else ""
    words, near = re.findall(r"\w+", said), re.search(r'Did you mean "(\w+)"', said)
    hint = f" Did you mean {near[1]!r}?" if near else ""
    for argument in arguments:
        path, _, _ = argument.partition("=")
        for key in words:
            if path.startswith("--config.") and key in path.split("."):
                return f"{argument}: the config has no key {key!r}.{hint}"
    raise error


def guarded(main: Callable[[], int]) -> int:
    """Call `main`, say in a line what stopped it, and give the exit status as `launch` does."""
    logging.set_verbosity(logging.WARNING)
    # Outside the training loop, which saves first, SIGTERM ends the launcher as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main()
    except Mistake as error:
        return _say(error, EXIT_USAGE)
    except (Failure, OSError) as error:
        return _say(error, EXIT_FAILED)
    except training.Interrupted as error:
        return _say(error, training.EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _say("stopped; start again to go on", training.EXIT_INTERRUPTED)


def failed(failures: Sequence[str]) -> int:
    """Say which runs failed, after all else; gives the exit status."""
    for failure in failures:
        _say(failure, EXIT_FAILED)
    return EXIT_FAILED if failures else 0


def _say(reason: object, status: int) -> int:
    print(f"error: {reason}", file=sys.stderr)
    return status

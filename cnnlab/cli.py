"""The command `cnnlab`: networks by name, layer tables, claims and their evidence, demos.

Exit status: 0 done, 1 a claim's figure disagrees or a file cannot be read or written, 2 a mistake
in what was asked for, 141 nobody reads the output any more (`| head`).
"""

import argparse
import ast
import dataclasses
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tabulate import tabulate

from cnnlab.errors import Failure, Mistake, unknown

if TYPE_CHECKING:
    import pandas as pd

    from cnnlab.pages import Page

FORMATS = ("text", "markdown", "csv", "json")

EXIT_DISAGREES = EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PIPE = 128 + 13

PATTERN_CLASSES = 10
PAGE = 140
"""Columns of a table that goes to a file."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as for every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise Mistake(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, unknown("choice", value, action.choices))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; gives the exit status."""
    try:
        args = _parser().parse_args(arguments)
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return EXIT_USAGE
    except BrokenPipeError:
        # Nobody reads any more (`| head`); what Python flushes at its end must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    except (Failure, OSError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="cnnlab", description="ConvNets by name and by pattern, to look at.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    models = commands.add_parser(
        "models", help="every network there is, its input, its source, its options"
    )
    models.set_defaults(run=_models)
    summary = commands.add_parser("summary", help="the layer table of a network")
    summary.set_defaults(run=_summary)
    summary.add_argument("model", help="a name, or a pattern 'INPUT -> ...'")
    summary.add_argument(
        "--input", metavar="SIZE", help="224, 224x224 or 224x224x3; else the network's own"
    )
    summary.add_argument(
        "--classes", type=int, help=f"else the network's own; of a pattern {PATTERN_CLASSES}"
    )
    summary.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of the network itself"
    )
    summary.add_argument("--batch-size", type=int, default=1, help="of the memory's line")
    summary.add_argument("--dtype", help="of activations in the memory's line; else the network's")
    claims = commands.add_parser(
        "claims", help="the notes' arithmetic, computed, and what training found"
    )
    claims.set_defaults(run=_claims)
    for command in (models, summary, claims):
        command.add_argument("--format", default="text", choices=FORMATS)
    report = commands.add_parser("report", help="a page of all claims with their evidence")
    report.set_defaults(run=_report)
    report.add_argument("--preset", help="else each claim's that was run")
    report.add_argument("--out", default="report.html", metavar="FILE", help="else report.html")
    _add_demos(commands)
    return parser


def _add_demos(commands: "argparse._SubParsersAction[_Parser]") -> None:
    """Each function of `cnnlab.demo` by its name, its arguments as options."""
    from cnnlab import demo

    named = commands.add_parser("demo", help="a page that shows a layer at work")
    demos = named.add_subparsers(title="demos", required=True, metavar="DEMO")
    for name in demo.__all__:
        make = getattr(demo, name)
        command = demos.add_parser(name, help=f"{name}, number by number")
        command.set_defaults(run=_demo, make=make)
        for option, given in inspect.signature(make).parameters.items():
            command.add_argument(
                f"--{option}",
                type=type(given.default),
                default=given.default,
                help=f"{given.default} if not given",
            )
        command.add_argument(
            "--out", default=f"{name}.html", metavar="FILE", help=f"{name}.html if not given"
        )


def _models(args: argparse.Namespace) -> int:
    from cnnlab import models

    networks = {name: models.network(name) for name in models.names()}
    rows = [
        {
            "name": name,
            "input": _volume(network.input_shape),
            "source": network.source,
            "options": _own_options(network.build),
        }
        for name, network in networks.items()
    ]
    print(_listed(rows, args.format))
    return 0


def _own_options(build: Callable[..., Any]) -> str:
    """What a network takes besides `classes` and `dtype`, as `--option` does: `shortcut=B`."""
    own = inspect.signature(build).parameters.values()
    return ", ".join(
        f"{option.name}={option.default}"
        for option in own
        if option.name not in ("classes", "dtype")
    )


def _summary(args: argparse.Namespace) -> int:
    from cnnlab import models, summarize

    try:
        own, options = _asked(args)
        shape = _input_shape(args.input, own)
        summary = summarize(models.create(args.model, **options), shape)
        dtype = args.dtype or options.get("dtype", "float32")
        memory = summary.memory(args.batch_size, dtype)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise Mistake(error) from error
    if args.format == "csv":
        print(summary.to_frame().to_csv(index=False), end="")
    elif args.format == "json":
        rows = json.loads(summary.to_frame().to_json(orient="records"))
        totals = {name: getattr(summary, name) for name in ("activations", "params", "macs")}
        parts = dataclasses.asdict(memory)
        print(json.dumps({"rows": rows, "totals": totals, "memory": parts}, indent=2))
    else:
        print(summary.table(args.format))
        batch = f"a batch of {args.batch_size}, activations in {dtype}"
        print(f"\nmemory for {batch}: {memory}")
        print("(the notes' estimate, with momentum; what XLA takes differs)")
    return 0


def _demo(args: argparse.Namespace) -> int:
    options = {name: getattr(args, name) for name in inspect.signature(args.make).parameters}
    try:
        page = args.make(**options)
    except ValueError as error:
        raise Mistake(error) from error
    return _save(page, args.out)


def _asked(args: argparse.Namespace) -> tuple[tuple[int, int, int] | None, dict[str, Any]]:
    """The input that the network itself has, and the options it is made with."""
    from cnnlab import models

    options = dict(map(_option, args.option))
    if args.classes is not None:
        options["classes"] = args.classes
    if args.model.lstrip().startswith("INPUT"):
        return None, {"classes": PATTERN_CLASSES} | options
    return models.network(args.model).input_shape, options


def _option(text: str) -> tuple[str, Any]:
    """`NAME=VALUE`, the value a Python literal or else a word."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(f"an option is written NAME=VALUE, e.g. shortcut=B; got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _input_shape(text: str | None, own: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """`N`, `HxW` or `HxWxC`; what it leaves out is as in the network's `own` input, if any."""
    if text is None:
        if own is None:
            raise ValueError("a pattern has no input of its own: give one, e.g. --input 32x32x3")
        return own
    if not re.fullmatch(r"\d+(x\d+){0,2}", text):
        raise ValueError(f"an input is written 224, 224x224 or 224x224x3; got {text!r}")
    height, *rest = map(int, text.split("x"))
    width, *channels = rest or [height]
    if channels:
        return height, width, channels[0]
    if own is None:
        raise ValueError(f"a pattern's input needs its channels: --input {height}x{width}x3")
    return height, width, own[2]


def _claims(args: argparse.Namespace) -> int:
    import pandas as pd

    from cnnlab import evidence

    trained = evidence.empirical_table()
    if trained.empty:
        home = evidence.published.HOME
        print(f"no claims that take training: looked in {home}/configs", file=sys.stderr)
    table = pd.concat([evidence.arithmetic_table(), trained])
    if args.format == "text":
        _print_claims(table)
    else:
        print(_listed(table.to_dict("records"), args.format))
    return EXIT_DISAGREES if "disagrees" in set(table["outcome"]) else 0


def _print_claims(claims: "pd.DataFrame") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "claim", "the note says", "ours", "outcome", show_lines=True)
    for _, row in claims.iterrows():
        ours = "\n".join(filter(None, (row["ours"], row["why"])))
        said = f"{row['claim']}\n({row['source']})"
        table.add_row(*map(Text, (row["id"], said, row["the note says"], ours, row["outcome"])))
    console = Console()
    if not console.is_terminal:  # rich would take 80 columns, too few for five
        console.width = PAGE
    console.print(table)


def _report(args: argparse.Namespace) -> int:
    from cnnlab import evidence

    page = evidence.evidence_page(preset=args.preset, folder=Path(args.out).parent)
    return _save(page, args.out)


def _save(page: "Page", out: str) -> int:
    try:
        print(page.save(out))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Mistake(f"cannot write {out}: {error.strerror}") from error
    return 0


def _listed(rows: Sequence[Mapping[Any, Any]], form: str) -> str:
    """Rows in one of `FORMATS`."""
    if form == "json":
        return json.dumps(rows, indent=2)
    if form == "csv":
        import pandas as pd

        return str(pd.DataFrame(rows).to_csv(index=False)).rstrip("\n")
    if form == "text":
        return tabulate(rows, headers="keys", tablefmt="simple")
    from cnnlab.analysis.rendering import markdown_text

    cells = [{key: markdown_text(value) for key, value in row.items()} for row in rows]
    return tabulate(cells, headers="keys", tablefmt="pipe")


def _volume(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))

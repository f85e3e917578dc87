"""Every claim's ablation from start to verdict: what is missing is run, what is done is skipped.

    python experiments/reproduce.py --preset cpu --claims E1,E2 --jobs 2
    python experiments/reproduce.py --preset paper --executor ray --address auto

Run it in the project's folder. Started again it goes on; started several times, on one machine or
on many that share `runs/`, it shares the runs. Exit status as of `experiments/ablate.py`.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
from rich.console import Console
from rich.markup import escape

from cnnlab import training
from cnnlab.data import DataMissing
from cnnlab.errors import unknown
from cnnlab.evidence import Ablation, CannotSweep, Ledger, print_report, write_records, write_report
from cnnlab.evidence.ablation import load_ablations
from cnnlab.evidence.cluster import connect, on_ray
from cnnlab.evidence.processes import on_processes, shares
from cnnlab.evidence.published import PRESETS, rewrite
from cnnlab.evidence.records import records_path
from cnnlab.evidence.selection import choose_rates, selection_recipes
from cnnlab.evidence.sweep import Done, Run, one_by_one, prepare, time_left
from cnnlab.files import inside
from cnnlab.launch import failed, guarded

EXECUTORS = ("local", "ray")

Executor = Callable[[Iterable[Run]], Iterator[Done]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run what is missing, print tables and verdicts, write the reports."""
    args = _parser().parse_args(arguments)
    return guarded(lambda: reproduce(args))


def reproduce(args: argparse.Namespace) -> int:
    """Do what the command line asks for; gives the exit status."""
    console = Console()
    if args.address and args.executor != "ray":
        raise CannotSweep(f"--address {args.address} is for --executor ray")
    if args.executor == "ray" and args.jobs != 1:
        raise CannotSweep(
            f"--jobs {args.jobs} is for --executor local; Ray's cluster says how many"
        )
    if args.executor == "ray" or args.jobs != 1:
        # This process only waits: it must not take an accelerator from those that work.
        jax.config.update("jax_platforms", "cpu")
    else:
        prepare()
    ablations = _chosen(load_ablations(Path("configs"), args.preset), args)
    ablations = [each for each in ablations if _can_run(each, args, console)]
    if not ablations:
        raise DataMissing(f"nothing to run: no claim with preset {args.preset!r} has its data here")
    sweeps = [_Sweep(ablation, ablation.home(Path(args.workdir))) for ablation in ablations]
    failures = _complete(sweeps, _Sweep.selection, args, console)
    # What is left of a selection that failed cannot go on.
    sweeps = [sweep.tuned() for sweep in sweeps if all(run.finished for run in sweep.selection())]
    failures += _complete(sweeps, _Sweep.runs, args, console)
    for sweep in sweeps:
        records = sweep.ledger.records(run.recipe for run in sweep.runs())
        print_report(console, sweep.ablation, records)
        page = write_report(sweep.home, sweep.ablation, records)
        console.print(f"Report and figure: {page}", highlight=False)
        if args.publish and len(records) < len(sweep.runs()):
            console.print("Not published: runs are missing")
        elif args.publish:
            told = sweep.ledger.records(run.recipe for run in sweep.selection())
            write_records(records_path(Path("results"), sweep.ablation), [*told, *records])
    if args.publish:
        rewrite(Path("results"), Path("configs"), Path("README.md"))
    return failed(failures)


def _can_run(ablation: Ablation, args: argparse.Namespace, console: Console) -> bool:
    """Whether a claim's data are here; of one that was asked for by name they must be.

    Raises:
        RecipeError, PatternError, DoesNotFit, DataMissing: as `training.inspect`.
    """
    try:
        for recipe in ablation.arms.values():
            training.inspect(recipe)
    except DataMissing as error:
        if ablation.claim.id in (args.claims or ()):
            raise
        console.print(f"{ablation.claim.id} is left out: {escape(str(error))}", highlight=False)
        return False
    return True


@dataclass(frozen=True)
class _Sweep:
    """An ablation, and the folder of its reports and runs."""

    ablation: Ablation
    home: Path

    @property
    def ledger(self) -> Ledger:
        return Ledger(inside(self.home.resolve(), self.ablation.preset))

    def selection(self) -> list[Run]:
        """The runs that tell the learning rates."""
        return [Run(self.ledger, recipe) for recipe in selection_recipes(self.ablation)]

    def runs(self) -> list[Run]:
        """The runs of the table; before `tuned`, as many and as long."""
        return [Run(self.ledger, recipe) for recipe in self.ablation.recipes()]

    def tuned(self) -> "_Sweep":
        """With each arm at the learning rate that the selection gives."""
        told = self.ledger.records(selection_recipes(self.ablation))
        return replace(self, ablation=choose_rates(self.ablation, told))


def _chosen(ablations: list[Ablation], args: argparse.Namespace) -> list[Ablation]:
    ids = [ablation.claim.id for ablation in ablations]
    for claim in args.claims or ids:
        if claim not in ids:
            raise CannotSweep(unknown(f"claim with preset {args.preset!r}", claim, ids))
    return [ablation for ablation in ablations if ablation.claim.id in (args.claims or ids)]


def _complete(
    sweeps: list[_Sweep],
    stage: Callable[[_Sweep], list[Run]],
    args: argparse.Namespace,
    console: Console,
) -> list[str]:
    """Do the missing runs of a stage, and say after each how long all the rest will take."""
    missing = [run for sweep in sweeps for run in stage(sweep) if not run.finished]
    if not missing:
        return []
    everything = [run for sweep in sweeps for run in (*sweep.selection(), *sweep.runs())]
    execute, at_once = _executor(args, console)
    _say_left(everything, at_once, console)
    failures = []
    for _, said in execute(missing):
        failures += said
        _say_left(everything, at_once, console)
    return failures


def _executor(args: argparse.Namespace, console: Console) -> tuple[Executor, int]:
    """What does the runs, and how many at once."""
    if args.executor == "ray":
        return on_ray, connect(args.address)
    if args.jobs == 1:
        return lambda runs: one_by_one(runs, console), 1
    parts = shares(args.jobs)
    return lambda runs: on_processes(runs, parts), len(parts)


def _say_left(runs: list[Run], at_once: int, console: Console) -> None:
    left = time_left(runs, at_once)
    line = f"{sum(run.finished for run in runs)} of {len(runs)} runs done"
    if left.seconds > 0:
        line += f", about {_spelt(left.seconds)} left"
    if left.unknown:
        line += f", {left.unknown} of unknown length"
    console.print(line, highlight=False)


def _spelt(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--preset", default="digits", type=_one_of(PRESETS), help=", ".join(PRESETS)
    )
    parser.add_argument(
        "--claims", type=lambda ids: ids.split(","), help="ids, e.g. E1,E2; all if left out"
    )
    parser.add_argument(
        "--publish", action="store_true", help="also write results/ and the README's summary"
    )
    parser.add_argument("--workdir", default="runs", help="where the runs' folders are kept")
    parser.add_argument(
        "--executor", default="local", type=_one_of(EXECUTORS), help=", ".join(EXECUTORS)
    )
    parser.add_argument(
        "--jobs", default=1, type=int, help="local: processes, each with its cores or GPU"
    )
    parser.add_argument("--address", help="ray: auto, HOST:PORT or ray://HOST:PORT; else started")
    return parser


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in choices:
            raise argparse.ArgumentTypeError(unknown("choice", name, choices))
        return name

    return check


if __name__ == "__main__":
    sys.exit(main())

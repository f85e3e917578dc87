"""The benchmark's command line: flags in, one race, its files and tables out."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnnlab.benchmark import report
from cnnlab.benchmark.race import UnequalNetworks, race
from cnnlab.benchmark.suite import REGISTERED, Job, Net, full_suite, quick_suite
from cnnlab.errors import unknown
from cnnlab.evidence.ablation import load_ablation
from cnnlab.evidence.published import replace_block
from cnnlab.files import read_text
from cnnlab.launch import EXIT_FAILED, EXIT_USAGE
from cnnlab.machine import cores
from cnnlab.training.recipe import DTYPES

STACKED = Path("configs/stacked_convs.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, write its files and print its tables; return the exit code.

    The files go to results/performance and docs/performance.md; with --quick or --only to
    runs/performance and no page; or where --folder and --page say.
    """
    given = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(given)
    partial = options.quick or options.only
    folder = options.folder or Path("runs" if partial else "results") / "performance"
    page = options.page or (None if partial else Path("docs/performance.md"))
    try:
        if page is not None:
            replace_block(read_text(page), "")  # a mistake shows now, not after minutes
        if not options.report_only:
            command = shlex.join(["python", "scripts/benchmark.py", *given])
            report.write(_run(options, command), folder)
        for made in report.rewrite(folder, page):
            print(f"{made}\n\n{made.read_text()}")
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED if isinstance(error, UnequalNetworks) else EXIT_USAGE
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="cnnlab against plain Flax Linen and PyTorch eager, layer and network."
    )
    add = parser.add_argument
    add("--threads", type=int, default=len(cores()), help="CPU cores for each contender (all)")
    add("--rounds", type=int, default=5, help="turns of each contender; fewer in slow rows (5)")
    add("--batch", type=int, default=128, help="images a network gets at once (128)")
    add("--layer-batch", type=int, help="images a single layer gets (16 on a CPU, else 128)")
    add("--dtype", choices=DTYPES, default="float32", help="bfloat16: of the single layers alone")
    add("--only", nargs="+", default=[], metavar="NAME", help="these layers and networks")
    add("--quick", action="store_true", help="tiny shapes and times that mean nothing")
    add("--report-only", action="store_true", help="run nothing, make the tables anew")
    add("--folder", type=Path, help="where the results go, or lie")
    add("--page", type=Path, help="a Markdown file that shows them between markers")
    return parser


def _run(options: argparse.Namespace, command: str) -> dict[str, Any]:
    if not 1 <= options.threads <= len(cores()):
        raise ValueError(f"--threads must be from 1 to {len(cores())}; got {options.threads}")
    for name in ("rounds", "batch", "layer_batch"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1; got {value}")

    if options.quick and options.only:
        raise ValueError(f"--only {' '.join(options.only)}: --quick has a network of its own")

    def suite(platform: str) -> list[Job]:
        if options.quick:
            jobs = quick_suite()
        else:
            layer_batch = options.layer_batch or (16 if platform == "cpu" else 128)
            jobs = full_suite(platform, _networks(options.batch), layer_batch)
        if options.dtype != "float32":
            jobs = [job._replace(dtype=options.dtype) for job in jobs if job.part != "net"]
        return _chosen(jobs, options.only)

    suite("cpu")  # a misspelt name shows before anything is started
    seconds = 0.0 if options.quick else 0.2
    results = race(suite, threads=options.threads, rounds=options.rounds, seconds=seconds)
    results["settings"] |= {"dtype": options.dtype, "command": command}
    return results


def _networks(batch: int) -> list[tuple[Net, int]]:
    """E1's at the batch size they are trained with and at `batch`, the registered at `batch`."""
    ablation = load_ablation(STACKED, "cpu")
    recipes = {arm: ablation.recipe(arm, seed=0) for arm in ("one_7x7", "three_3x3")}
    return [
        (Net(arm, recipe.model.name), size)
        for arm, recipe in recipes.items()
        for size in dict.fromkeys((recipe.train.batch_size, batch))
    ] + [(Net(name, name), batch) for name in REGISTERED]


def _chosen(jobs: list[Job], names: Sequence[str]) -> list[Job]:
    """The jobs of these names (all where there are none), and the product that they need."""
    known = dict.fromkeys(job.subject.name for job in jobs)
    for name in names:
        if name not in known:
            raise ValueError(unknown("layer or network", name, known))
    return [job for job in jobs if not names or job.subject.name in ("matmul", *names)]

"""What a trained network does when it is cut or its images move, in full, from a run's folder.

    python experiments/probe.py runs/lesions/cpu/residual/seed0-0123456789
    python experiments/probe.py runs/shift_response/cpu/strided/seed0-0123456789 --probe shift

The probe is the run's own unless another is named. `lesion` gives the test error without each block
and without so many blocks at random; `shift` the test error and the change of the logits under
shifts of 0 to 4 pixels. Records hold the summaries of both. Exit status as of
`experiments/ablate.py`.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from tabulate import tabulate

from cnnlab.analysis.lesion import blocks, some
from cnnlab.errors import unknown
from cnnlab.launch import guarded
from cnnlab.training import RecipeError, probes, recipe_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, load the network, print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a run's, e.g. runs/lesions/cpu/plain/seed0-...")
    parser.add_argument("--probe", help=", ".join(TABLES))
    args = parser.parse_args(arguments)
    return guarded(lambda: show(args.folder, args.probe))


def show(folder: Path, name: str | None) -> int:
    """Print the table of one probe; gives the exit status."""
    name = name or recipe_of(folder).probe
    if name not in TABLES:
        raise RecipeError(unknown("probe with a table", name, TABLES))
    network = probes.load(folder)
    probes.check(name, network.model, network.dataset.image_shape)
    print(f"{folder}: {network.dataset.title}")
    print(TABLES[name](network))
    return 0


def lesion_table(network: probes.Trained) -> str:
    """The test error without each block, and without so many of those that keep the shape."""
    found = blocks(network.model, network.dataset.image_shape)
    singles = [(block.name,) for block in found]
    numbers = range(2, sum(block.keeps_shape for block in found) + 1)
    draws = [some(found, n, draws=probes.LESION_DRAWS, seed=network.seed) for n in numbers]
    whole, *errors = probes.lesion_errors(network, [(), *singles, *chain(*draws)])
    rows = [["none", f"{whole:.2f}", "", ""]]
    for block, error in zip(found, errors[: len(found)], strict=True):
        kind = "" if block.keeps_shape else "down-sampling"
        rows.append([block.name, f"{error:.2f}", f"{error - whole:+.2f}", kind])
    several = np.reshape(errors[len(found) :], (len(numbers), -1))
    for number, drawn in zip(numbers, several, strict=True):
        spread = f"{drawn.min():.2f} to {drawn.max():.2f} in {len(drawn)} draws"
        rise = drawn.mean() - whole
        rows.append([f"{number} at random", f"{drawn.mean():.2f}", f"{rise:+.2f}", spread])
    return _table(["cut out", "test error %", "rise", ""], rows, left=(0, 3))


def shift_table(network: probes.Trained) -> str:
    """The test error and the change of the logits for each distance."""
    responses = probes.shift_responses(network)
    still = responses[0].error
    rows = [
        [str(distance), f"{error:.2f}", f"{error - still:+.2f}", f"{change:.4f}"]
        for distance, (error, change) in enumerate(responses)
    ]
    return _table(["pixels", "test error %", "rise", "change of logits"], rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> str:
    aligned = ["left" if i in left else "right" for i in range(len(headings))]
    return tabulate(rows, headings, "simple", colalign=aligned, disable_numparse=True)


TABLES: dict[str, Callable[[probes.Trained], str]] = {
    "lesion": lesion_table,
    "shift": shift_table,
}


if __name__ == "__main__":
    sys.exit(main())

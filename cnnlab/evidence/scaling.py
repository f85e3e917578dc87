"""The page docs/scaling.md: step times predicted from counts and published figures, none measured.

The model is `cnnlab.analysis.step_time`; here it is calibrated, held against published
measurements, and tabulated.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from tabulate import tabulate

from cnnlab.analysis import summarize
from cnnlab.analysis.chips import CHIPS, Chip
from cnnlab.analysis.counts import UNKNOWN, known
from cnnlab.analysis.measured import H100_OVER_A100, IMAGENET, MEASURED, Measured
from cnnlab.analysis.step_time import Case, images_per_second, step_seconds
from cnnlab.analysis.work import Work, count_work
from cnnlab.data import digits
from cnnlab.data.splits import stored_indices
from cnnlab.evidence.ablation import load_ablations
from cnnlab.evidence.scaling_text import TEXT
from cnnlab.training.program import build_model, state_and_update
from cnnlab.training.recipe import Recipe, plan

CHIP_COUNTS = tuple(2**i for i in range(11))
POD_CHIPS = ("a100", "h100", "tpu_v5e", "tpu_v5p")
GPUS = ("a100", "h100")
DTYPES = ("float32", "bfloat16")
BATCH = 128
"""Images on each chip where the whole batch grows with the chips."""
GLOBAL_BATCH = 4096
EPOCHS = 90

NOT_FUSED = Case(1.0, "unfused", hidden=0)
AT_BEST = Case(1.0, "least", waits=False)


class Images(NamedTuple):
    """What a step must know of a data set: H W C, classes, training images."""

    shape: tuple[int, int, int]
    classes: int
    examples: int


def _split(shape: tuple[int, int, int], classes: int, stored: int) -> Images:
    return Images(shape, classes, len(stored_indices("train", stored, 0)))


DATA = {
    "digits": Images(digits.IMAGE_SHAPE, digits.CLASSES, 1_257),
    "cifar10": _split((32, 32, 3), 10, 50_000),
    "cifar100": _split((32, 32, 3), 100, 50_000),
    "fashion_mnist": _split((28, 28, 1), 10, 60_000),
    "imagenet2012": _split((224, 224, 3), 1000, IMAGENET),
    "mnist": _split((28, 28, 1), 10, 60_000),
    "mnist_shifted": _split((28, 28, 1), 10, 60_000),
    "svhn_cropped": _split((32, 32, 3), 10, 73_257),
}
"""Data sets by the recipes' names, without the files."""


def page(configs: Path) -> str:
    """The whole page, for the `paper` presets in a folder of configs."""
    low, high = deviations()
    work = resnet50(BATCH, "bfloat16")
    facts = {
        "jax": jax.__version__,
        "chips": chips_table(),
        "sources": "\n".join(f"- {chip.name}: {chip.sources}." for chip in CHIPS.values()),
        "validation": validation_table(),
        "calibration": _described(MEASURED[0]),
        "efficiency": f"{efficiency():.2f}",
        "low": f"{low:.2f}",
        "high": f"{high:.2f}",
        "software": f"{software_spread():.1f}",
        "measured_ratio": f"{H100_OVER_A100:.2f}",
        "predicted_ratio": f"{_ratio(work):.2f}",
        "work": work_table(),
        "batch": BATCH,
        "global_batch": f"{GLOBAL_BATCH:,}",
        "largest": f"{BATCH * CHIP_COUNTS[-1]:,}",
        "epochs": EPOCHS,
        "pods": "\n\n".join(f"### {CHIPS[name].name}\n\n{pod_table(name)}" for name in POD_CHIPS),
        "waits": f"{work.waits:.0f}",
        "kernels": f"{work.kernels:.0f}",
        "presets": presets_table(configs),
    }
    return TEXT.format(**facts)


def _ratio(work: Work) -> float:
    case = Case(efficiency(), waits=False)
    rates = [images_per_second(CHIPS[name], work, 16, "bfloat16", case) for name in GPUS]
    return rates[1] / rates[0]


def step_work(recipe: Recipe, images: Images, batch: int) -> Work:
    """The work of a recipe's bare training step, on a prepared batch of that size."""
    model, durations = build_model(recipe.model, images.classes), plan(recipe, images.examples)
    create, update = state_and_update(recipe, model, durations)
    key = jax.random.key(0)
    x = jax.ShapeDtypeStruct((batch, *images.shape), jnp.float32)
    state = jax.eval_shape(create, key, x)
    y = jax.ShapeDtypeStruct((batch,), jnp.int32)
    first = jnp.array(False)
    return count_work(update, state, x, y, key, first, images=batch, params=state.params)


def resnet50(batch: float, dtype: str) -> Work:
    """The work of ResNet-50's step on ImageNet, counted at two batch sizes and drawn on."""
    return _resnet50(32, dtype).towards(_resnet50(64, dtype), batch)


@functools.cache
def _resnet50(batch: int, dtype: str) -> Work:
    recipe = _named("resnet50").override({"model.dtype": dtype, "train.epochs": EPOCHS})
    return step_work(recipe, DATA["imagenet2012"], batch)


def predicted(row: Measured, case: Case) -> float:
    """Images/s of a published run, whose chips each keep batch statistics of their own."""
    work = resnet50(row.batch, row.dtype)
    case = case._replace(waits=False)
    return images_per_second(CHIPS[row.chip], work, row.chips, row.dtype, case)


@functools.cache
def efficiency() -> float:
    """The model's one constant: what makes the first published run come out as measured.

    Communication is all but hidden there, so that images/s are proportional to it.
    """
    return MEASURED[0].images_per_second / predicted(MEASURED[0], Case(1.0))


def deviations() -> tuple[float, float]:
    """Least and largest measured/predicted of the runs that the model was not calibrated on."""
    case = Case(efficiency())
    ratios = [row.images_per_second / predicted(row, case) for row in MEASURED[1:]]
    return min(ratios), max(ratios)


def software_spread() -> float:
    """The fastest over the slowest of what was measured on one A100 in mixed precision."""
    rates = [
        row.images_per_second
        for row in MEASURED
        if (row.chip, row.chips, row.dtype) == ("a100", 1, "bfloat16")
    ]
    return max(rates) / min(rates)


def chips_table() -> str:
    """Every chip's figures and where they stand."""
    return _table(
        ["chip", "bf16 TFLOP/s", "float32", "memory", "GB/s", "joined", "links GB/s",
         "network GB/s"],
        (
            [
                chip.name,
                f"{chip.peak['bfloat16'] / 1e12:.4g}",
                f"{chip.peak['float32'] / 1e12:.4g}" if "float32" in chip.peak else "",
                f"{chip.memory / 1e9:.3g} GB",
                f"{chip.bandwidth / 1e9:,.0f}",
                f"{chip.group:,} {('switch', '', '2D torus', '3D torus')[chip.axes]}",
                f"{chip.link / 1e9:.0f}",
                f"{chip.network / 1e9:.3g}" if chip.network else "",
            ]
            for chip in CHIPS.values()
        ),
        left=(0, 5),
    )  # fmt: skip


def validation_table() -> str:
    """Published runs against the model, the calibration first."""
    case = Case(efficiency())

    def cells(row: Measured) -> list[str]:
        guess = predicted(row, case)
        ends = [predicted(row, end) for end in (NOT_FUSED, AT_BEST)]
        return [
            _described(row),
            row.source,
            f"{row.images_per_second:,.0f}",
            f"{guess:,.0f}",
            f"{row.images_per_second / guess:.2f}" + " (calibrated)" * (row is MEASURED[0]),
            _between(ends),
        ]

    headings = ["run", "source", "measured", "predicted", "measured / predicted", "between"]
    return _table(headings, map(cells, MEASURED), left=(0, 1, 4))


def work_table() -> str:
    """ResNet-50's step, for each image of a batch."""
    network = build_model(_named("resnet50").model, 1000)
    macs = known(summarize(network, DATA["imagenet2012"].shape).macs, "resnet50")

    def cells(dtype: str) -> list[str]:
        work = resnet50(BATCH, dtype)
        flops = work.known("flops") / BATCH
        sizes = (work.known(traffic) / BATCH for traffic in ("least", "fused", "unfused"))
        each = [f"{size / 1e6:,.0f} MB" for size in sizes]
        return [dtype, f"{flops / 1e9:.2f} G", f"{flops / (2 * macs):.2f}", *each]

    headings = ["dtype", "FLOPs", "over 2 x forward MACs", "least", "fused", "nothing fused"]
    return _table(headings, map(cells, DTYPES), left=(0,))


def _named(name: str) -> Recipe:
    return Recipe().override({"model.name": name})


def pod_table(name: str) -> str:
    """ResNet-50 in bfloat16 on 1 to 1,024 of a chip: a batch each, and one batch for all."""
    headings = ["chips", "images/s", "between", "efficiency", f"{EPOCHS} epochs",
                f"images/s, {GLOBAL_BATCH:,} a step", "efficiency", f"{EPOCHS} epochs",
                "own statistics"]  # fmt: skip
    return _table(headings, (_pod_row(CHIPS[name], chips) for chips in CHIP_COUNTS))


def _pod_row(chip: Chip, chips: int) -> list[str]:
    case = Case(efficiency())

    def rate(chips: int, batch: float, case: Case) -> float:
        return images_per_second(chip, resnet50(batch, "bfloat16"), chips, "bfloat16", case)

    def described(batch: float, alone: float) -> list[str]:
        found = rate(chips, batch, case)
        return [f"{found / chips / alone:.0%}", _time(EPOCHS * IMAGENET / found)]

    weak = rate(chips, BATCH, case)
    ends = [rate(chips, BATCH, end) for end in (NOT_FUSED, AT_BEST)]
    row = [f"{chips:,}", f"{weak:,.0f}", _between(ends), *described(BATCH, rate(1, BATCH, case))]
    share = GLOBAL_BATCH / chips
    if not _fits(chip, int(share)):
        return [*row, "too large", "", "", ""]
    strong, own = rate(chips, share, case), rate(chips, share, case._replace(waits=False))
    return [*row, f"{strong:,.0f}", *described(share, rate(1, BATCH, case)), f"{own:,.0f}"]


@functools.cache
def _resnet50_bytes(batch: int) -> int:
    summary = summarize(build_model(_named("resnet50").model, 1000), DATA["imagenet2012"].shape)
    return summary.memory(batch, "bfloat16").training


def _fits(chip: Chip, batch: int) -> bool:
    return _resnet50_bytes(batch) <= chip.memory


def presets_table(configs: Path) -> str:
    """The time of one run of each arm on one GPU, and of all arms and seeds."""
    headings = ["preset", "arm", "steps", "kernels a step"]
    headings += [f"{_short(CHIPS[gpu])}, {dtype}" for gpu in GPUS for dtype in DTYPES]
    rows: list[list[str]] = []
    for ablation in load_ablations(configs, "paper"):
        title = f"{ablation.name}:{ablation.preset}"
        runs = {arm: preset_run(recipe) for arm, recipe in ablation.arms.items()}
        rows += [[title, arm, *_run_cells(run)] for arm, run in runs.items()]
        each = zip(*(run.predicted for run in runs.values()), strict=True)
        fits = map(all, zip(*(run.fits for run in runs.values()), strict=True))
        count, rates = ablation.seeds, len(ablation.rates)
        totals = [
            _time(None if None in seconds else (count + rates) * sum(seconds)) if fit else ""
            for seconds, fit in zip(each, fits, strict=True)
        ]
        name = f"all, {count} seeds" + (f", {rates} learning rates" if rates else "")
        rows.append([title, name, "", "", *totals])
    return _table(headings, rows, left=(0, 1))


class Run(NamedTuple):
    """One run on one GPU: seconds on each of `GPUS` in each of `DTYPES`, and whether it fits.

    None where the step has operations whose work is not known.
    """

    steps: int
    kernels: float | None
    fits: list[bool]
    least: list[float | None]
    predicted: list[float | None]
    unfused: list[float | None]


def preset_run(recipe: Recipe) -> Run:
    """What a recipe's training takes."""
    name = recipe.data.name
    images, batch = DATA[name], recipe.train.batch_size
    variants = {dtype: recipe.override({"model.dtype": dtype}) for dtype in DTYPES}
    works = {dtype: step_work(variant, images, batch) for dtype, variant in variants.items()}
    network = summarize(build_model(recipe.model, images.classes), images.shape)
    fits = [
        network.memory(batch, dtype).training <= CHIPS[gpu].memory
        for gpu in GPUS
        for dtype in DTYPES
    ]
    steps = plan(recipe, images.examples).steps
    cases = (AT_BEST, Case(efficiency()), NOT_FUSED)
    times = (
        [
            None if work.unknown else steps * step_seconds(CHIPS[gpu], work, 1, dtype, case)
            for gpu in GPUS
            for dtype, work in works.items()
        ]
        for case in cases
    )
    return Run(steps, works["float32"].kernels, fits, *times)


def _run_cells(run: Run) -> list[str]:
    times = zip(run.least, run.predicted, run.unfused, run.fits, strict=True)
    cells = [
        _span(least, found, most) if fits else "too large" for least, found, most, fits in times
    ]
    kernels = UNKNOWN if run.kernels is None else f"{run.kernels:.0f}"
    return [f"{run.steps:,}", kernels, *cells]


def _span(least: float | None, found: float | None, most: float | None) -> str:
    return UNKNOWN if found is None else f"{_time(found)} [{_time(least)}, {_time(most)}]"


def _described(row: Measured) -> str:
    chips = f"{row.chips} x " if row.chips > 1 else ""
    dtype = "float32" if row.dtype == "float32" else "mixed"
    return f"{chips}{_short(CHIPS[row.chip])}, {dtype}, {row.batch} each"


def _short(chip: Chip) -> str:
    return chip.name.partition(" SXM")[0]


def _between(ends: Sequence[float]) -> str:
    return f"{ends[0]:,.0f} to {ends[1]:,.0f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = ()) -> str:
    aligned = ["left" if i in left else "right" for i in range(len(headings))]
    return tabulate(list(rows), headings, "pipe", colalign=aligned, disable_numparse=True)

"""Tables of a benchmark's results, and where they stand: files of a machine, a block of a page."""

import json
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from cnnlab.benchmark.suite import TRAINING
from cnnlab.evidence.published import replace_block
from cnnlab.files import Format, read_text, strict, write_whole
from cnnlab.training.environment import code_of

BUSY = 0.25
"""Running processes for each core, above which a machine is not called idle."""

_TEXT, _NUMBER, _COUNT = {"type": "string"}, {"type": "number"}, {"type": "integer", "minimum": 0}
TIMES = {"type": "array", "minItems": 1, "items": {"type": "number", "exclusiveMinimum": 0}}
"""Seconds, or other numbers measured in some rounds, in a schema."""
_ROW = {
    **dict.fromkeys(("part", "name", "detail", "what"), _TEXT),
    **dict.fromkeys(("batch", "flops", "weights"), _COUNT),
    "compile": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
    "seconds": {"type": "object", "additionalProperties": {**TIMES, "minItems": 0}},
    "failed": {"type": "object", "additionalProperties": _TEXT},
}
_MACHINE = {
    "commit": {"type": ["string", "null"]},
    "dirty": {"type": ["boolean", "null"]},
    **dict.fromkeys(("device", "platform", "convolutions"), _TEXT),
    **dict.fromkeys(("threads", "cores", "memory_gib", "load"), _NUMBER),
}
_SETTINGS = {
    **dict.fromkeys(("dtype", "command"), _TEXT),
    **dict.fromkeys(("rounds", "seconds"), _NUMBER),
}


RESULTS = Format(
    strict(
        {
            "date": _TEXT,
            "machine": strict(_MACHINE),
            "settings": strict(_SETTINGS),
            "contenders": {"type": "array", "minItems": 1, "items": _TEXT},
            "skipped": {"type": "object", "additionalProperties": _TEXT},
            "rows": {"type": "array", "minItems": 1, "items": strict(_ROW)},
        }
    )
)
"""What `write` leaves of a race."""

_READING = """\
A median over the rounds. "To X" is X's time divided by {first}'s, round by round: above 1 {first}
is faster; the median [least, largest]. Compiling and warming up are not in the times.\
"""

_OF_A_NETWORK = """\
The peak stands with the single layers. A network's operations are those of its convolutions and FC
layers, three times as many in a training step as forward: somewhat too many, since products with
the padding's zeros and the first layer's input gradient are among them, which nobody needs.\
"""


def write(results: dict[str, Any], folder: Path) -> Path:
    """Write the results as JSON into `folder`, in a file named after the machine; its path."""
    path = folder / f"{machine_tag(results)}.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(results, indent=1) + "\n")
    return path


def rewrite(folder: Path, page: Path | None) -> list[Path]:
    """Make the Markdown beside every JSON file of `folder`, and the block of `page` with all.

    Returns:
        The Markdown files.

    Raises:
        BadFile: a file holds no results; says in what.
        MarkerMissing: `page` has no markers (`evidence.published`).
        FileNotFoundError: there is no `page`, or nothing to report on.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"{folder}: no results to report on")
    reports = {path.with_suffix(".md"): markdown(RESULTS.read(path)) for path in files}
    for path, report in reports.items():
        write_whole(path, f"# Performance\n\n{report}\n")
    if page is not None:
        write_whole(page, replace_block(read_text(page), "\n\n".join(reports.values())))
    return list(reports)


def machine_tag(results: dict[str, Any]) -> str:
    """A file name: the device; the threads, if fewer than its cores; the type, if not float32."""
    machine = results["machine"]
    words = machine["device"]
    if machine["platform"] == "cpu" and machine["threads"] != machine["cores"]:
        words += f" {machine['threads']} threads"
    if results["settings"]["dtype"] != "float32":
        words += f" {results['settings']['dtype']}"
    return machine_name(words)


def machine_name(device: str) -> str:
    """A device in words as a file may be called."""
    words = re.sub(r"\((R|TM)\)", "", device)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def markdown(results: dict[str, Any]) -> str:
    """The machine, the tables of networks and layers, and what compiling took."""
    rows, names = results["rows"], results["contenders"]
    peak = peak_flops(results)
    nets = [row for row in rows if row["part"] == "net"]
    layers = [row for row in rows if row["part"] == "layer"]
    parts = [
        f"### {results['machine']['device']}",
        "\n".join(_facts(results)),
        _READING.format(first=names[0]),
        *_networks(names, nets, peak),
        "#### Single layers: ms, GFLOP/s, percent of the peak",
        f"The peak is {peak / 1e9:.0f} GFLOP/s: the fastest of the contenders' products of two "
        f"{results['settings']['dtype']} matrices ({_peaks(results)}).",
        _table(names, layers, ("layer", "batch", "what"), _layer_cell, peak),
        "#### What was timed",
        _subjects(nets + layers),
        "#### Tracing and compiling, seconds, once",
        _compiling(names, nets + layers),
    ]
    return "\n\n".join([*parts, *_failures(rows)])


def _networks(names: list[str], nets: list[dict[str, Any]], peak: float) -> Iterable[str]:
    """All of them, which training steps are level, and training where XLA computes all of it."""
    if not nets:
        return
    heads = ("network", "batch", "what")
    yield "#### Whole networks: images/s, percent of the peak"
    yield _OF_A_NETWORK
    yield _table(names, nets, heads, _net_cell, peak)
    steps = [row for row in nets if row["what"] == TRAINING]
    for rival in names[1:]:
        if level := list(_level(steps, names[0], rival)):
            yield f"Training steps level with {rival}'s (1 is in the range): {', '.join(level)}."
    without_onednn = ["cnnlab (xla)", "Flax Linen"]
    if set(without_onednn) <= set(names):
        yield "#### Training steps where there is no oneDNN: images/s, percent of the peak"
        yield _table(without_onednn, steps, heads, _net_cell, peak)


def _level(rows: list[dict[str, Any]], first: str, rival: str) -> Iterable[str]:
    """The rows in which neither is faster."""
    for row in rows:
        found = ratio(row["seconds"], first, rival)
        if found and found[1] <= 1 <= found[2]:
            yield f"{row['name']} at {row['batch']}"


def peak_flops(results: dict[str, Any]) -> float:
    """The largest of the contenders' median rates of the matrix product, FLOP/s."""
    (row,) = (row for row in results["rows"] if row["part"] == "matmul")
    return max(row["flops"] / statistics.median(times) for times in row["seconds"].values())


def ratio(
    seconds: Mapping[str, list[float]], first: str, rival: str
) -> tuple[float, float, float] | None:
    """The rival's time over the first's, round by round: median, least and largest."""
    ours, theirs = seconds.get(first), seconds.get(rival)
    if not ours or not theirs:
        return None
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def in_print(found: tuple[float, float, float] | None) -> str:
    """A `ratio`, e.g. `1.50 [1.00, 2.00]`; nothing where there is none."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*found) if found else ""


def _facts(results: dict[str, Any]) -> Iterable[str]:
    machine, settings = results["machine"], results["settings"]
    versions = {"JAX": "jax", "jaxlib": "jaxlib", "Flax": "flax", "Optax": "optax"}
    versions |= {"PyTorch": "torch", "NumPy": "numpy", "Python": "python"}
    packages = ", ".join(
        f"{name} {machine[key]}" for name, key in versions.items() if key in machine
    )
    yield f"- {results['date']}, commit {code_of(machine)}"
    yield (
        f"- {machine['threads']} threads of {machine['cores']} cores, "
        f"{machine['memory_gib']:.0f} GiB of memory, {machine['platform']}"
    )
    yield f"- {packages}; {settings['dtype']}; cnnlab convolves by {machine['convolutions']}"
    yield f"- `{settings['command']}`"
    rounds, fewest = settings["rounds"], min(map(_rounds, results["rows"]))
    fewer = " (fewer where a row says so)" if fewest < rounds else ""
    yield (
        f"- each contender in a process of its own, in turn; {rounds} rounds{fewer}, at least "
        f"{settings['seconds']:g} s a turn"
    )
    yield f"- load average at the start {machine['load']:.2f}"
    if machine["load"] > BUSY * machine["cores"]:
        yield "- **Warning: the machine was not idle. Do not trust these times.**"
    for name, reason in results["skipped"].items():
        yield f"- {name} is not in the tables: {reason}"


def _table(
    names: list[str],
    rows: list[dict[str, Any]],
    heads: tuple[str, str, str],
    cell: Callable[[dict[str, Any], float, float], str],
    peak: float,
) -> str:
    """What `cell` says of each row, a contender's median and the peak, and the ratios to rivals."""
    first, rivals = names[0], names[1:]
    lines = []
    for row in rows:
        seconds = row["seconds"]
        measured = (
            cell(row, statistics.median(seconds[name]), peak) if seconds.get(name) else "failed"
            for name in names
        )
        ratios = (in_print(ratio(seconds, first, rival)) for rival in rivals)
        lines.append([row["name"], row["batch"], row["what"], *measured, *ratios, _rounds(row)])
    return pipe(lines, [*heads, *names, *(f"to {rival}" for rival in rivals), "rounds"], 3)


def _rounds(row: dict[str, Any]) -> int:
    return max(map(len, row["seconds"].values()), default=0)


def _net_cell(row: dict[str, Any], seconds: float, peak: float) -> str:
    return f"{row['batch'] / seconds:,.0f}, {row['flops'] / seconds / peak:.0%}"


def _layer_cell(row: dict[str, Any], seconds: float, peak: float) -> str:
    rate = row["flops"] / seconds
    return f"{1000 * seconds:.3g} ms, {rate / 1e9:,.0f}, {rate / peak:.0%}"


def _peaks(results: dict[str, Any]) -> str:
    (row,) = (row for row in results["rows"] if row["part"] == "matmul")
    rates = {n: row["flops"] / statistics.median(s) / 1e9 for n, s in row["seconds"].items()}
    return row["detail"] + ": " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())


def _subjects(rows: list[dict[str, Any]]) -> str:
    seen = {(row["name"], row["detail"], row["weights"]): None for row in rows}
    lines = [[name, f"`{detail}`" if detail else "", f"{w:,}"] for name, detail, w in seen]
    return pipe(lines, ["name", "what it is", "weights"], 2)


def _compiling(names: list[str], rows: list[dict[str, Any]]) -> str:
    compiled = [name for name in names if any(row["compile"].get(name) for row in rows)]
    lines = [
        [row["name"], row["batch"], row["what"]]
        + [f"{row['compile'][n]:.2f}" if n in row["compile"] else "" for n in compiled]
        for row in rows
    ]
    return pipe(lines, ["name", "batch", "what", *compiled], 3)


def _failures(rows: list[dict[str, Any]]) -> Iterable[str]:
    for row in rows:
        for name, reason in row["failed"].items():
            yield f"{name} failed at {row['name']}, batch {row['batch']}, {row['what']}: {reason}"


def pipe(lines: Sequence[Sequence[Any]], heads: list[str], words: int) -> str:
    """A Markdown table whose first columns are words and whose others are numbers."""
    align = ["left"] * words + ["right"] * (len(heads) - words)
    return tabulate(
        lines, heads, tablefmt="pipe", disable_numparse=True, colalign=align, missingval=""
    )

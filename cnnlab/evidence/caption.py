"""What stands under the tables: what a reader must know to trust them, from the records."""

from collections.abc import Iterable, Sequence

from cnnlab.evidence.claim import Claim
from cnnlab.evidence.statistics import LEVEL
from cnnlab.evidence.verdict import SIGNIFICANCE, metric_unit
from cnnlab.training.record import Record


def caption(claim: Claim, preset: str, records: Iterable[Record]) -> str:
    """What a reader must know to trust the tables.

    Data, seeds, commit and device are listed in full where the records differ in them.
    """
    records = list(records)
    if not records:
        return "No runs yet."
    name, level = claim.metric.replace("_", " "), f"{LEVEL:.0%}"
    unit = " in percent" if metric_unit(claim.metric) else ""
    return " ".join(
        [
            f"Data: {listed(_data(record) for record in records)}.",
            f"Preset: {preset}.",
            f"Seeds: {_seeds(records)}.",
            f"The {name}{unit} is the mean over seeds ± half the {level} t interval (left out for "
            f"a single run or runs that all agree); differences come with their {level} Welch "
            f"interval{_equivalence_clause(claim)}.",
            "Weights are all trainable parameters; a MAC is one multiply-add; MACs and activation "
            "memory (float32) are of one image, forward.",
            f"Commit: {listed(_commit(record) for record in records)}.",
            f"Device: {listed(str(record.environment['device']) for record in records)}.",
            f"JAX: {listed(str(record.environment['jax']) for record in records)}.",
        ]
    )


def _data(record: Record) -> str:
    return f"{record.dataset['title']}, fingerprint {record.dataset['fingerprint']}"


def _equivalence_clause(claim: Claim) -> str:
    if all(comparison.expect != "equivalent" for comparison in claim.comparisons):
        return ""
    return f", equivalence is two one-sided Welch tests at p < {SIGNIFICANCE}"


def _commit(record: Record) -> str:
    commit = str(record.environment["commit"] or "unknown")[:10]
    return commit + (" + uncommitted changes" if record.environment["dirty"] else "")


def titles(records: Iterable[Record]) -> str:
    """The data sets that the records' numbers come from, as they are called in print."""
    return listed(record.dataset["title"] for record in records)


def listed(items: Iterable[object]) -> str:
    """Different items in order, with semicolons between."""
    return "; ".join(sorted({str(item) for item in items}))


def _seeds(records: Sequence[Record]) -> str:
    """The seeds run: once where all arms have the same, else arm by arm."""
    arms = sorted({record.arm for record in records})
    by_arm = {arm: _ranges({r.seed for r in records if r.arm == arm}) for arm in arms}
    if len(set(by_arm.values())) == 1:
        return next(iter(by_arm.values()))
    return ", ".join(f"{arm} {seeds}" for arm, seeds in by_arm.items())


def _ranges(seeds: set[int]) -> str:
    """Writes 0, 1, 2, 5 as ``0-2, 5``."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)

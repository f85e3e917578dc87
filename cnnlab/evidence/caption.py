"""What stands under the tables: what a reader must know to trust them, from the records."""

from collections.abc import Iterable, Sequence

from cnnlab.evidence.ablation import SELECTION_SEED, Ablation
from cnnlab.evidence.claim import Claim
from cnnlab.evidence.selection import at_the_edge
from cnnlab.evidence.statistics import LEVEL, POWER
from cnnlab.evidence.verdict import SIGNIFICANCE, metric_name, metric_unit
from cnnlab.training.environment import code_of
from cnnlab.training.probes import meaning
from cnnlab.training.record import Record


def caption(ablation: Ablation, records: Iterable[Record]) -> str:
    """What a reader must know to trust the tables.

    Data, seeds, commit and device are listed in full where the records differ in them.
    """
    records = list(records)
    if not records:
        return "No runs yet."
    parts = [
        f"Data: {listed(_data(record) for record in records)}.",
        f"Preset: {ablation.preset}.",
        f"Seeds: {_seeds(records)}.",
        rates(ablation),
        _diverged(records),
        *_how_to_read(ablation.claim),
        meanings(ablation.claim),
        f"Commit: {listed(_commit(record) for record in records)}.",
        f"Device: {listed(str(record.environment['device']) for record in records)}.",
        f"Convolutions: {listed(_convolutions(record) for record in records)}.",
        f"JAX: {listed(str(record.environment['jax']) for record in records)}.",
    ]
    return " ".join(filter(None, parts))


def _how_to_read(claim: Claim) -> list[str]:
    name, level = metric_name(claim.metric), f"{LEVEL:.0%}"
    unit = " in percent" if metric_unit(claim.metric) else ""
    tests = len(claim.comparisons)
    return [
        f"The {name}{unit} is the mean over seeds ± half the {level} t interval (left out for a "
        f"single run or runs that all agree); differences come with their {level} Welch interval, "
        f"and p, by Holm for {tests} comparison{'s' * (tests > 1)}, decides below "
        f"{SIGNIFICANCE}{_margin_clauses(claim)}. What is undecided says with how many runs an "
        f"arm it should be decided with {POWER:.0%} probability, if difference and spread are as "
        "seen and what has a smaller p is decided.",
        "Weights are all trainable parameters; a MAC is one multiply-add; MACs and activation "
        "memory (float32) are of one image, forward; the receptive field is of the last map, the "
        "whole of which an FC sees.",
    ]


def meanings(claim: Claim) -> str:
    """What the metrics are that not every record has."""
    named = {metric: meaning(metric) for metric in claim.metrics}
    said = [f"{metric_name(metric)} is {words}" for metric, words in named.items() if words]
    return f"Here {'; '.join(said)}." if said else ""


def rates(ablation: Ablation) -> str:
    """How the arms came to their learning rates, and which stand at the end of the choice."""
    if not ablation.rates:
        return ""
    choice = ", ".join(f"{rate:g}" for rate in ablation.rates)
    text = (
        f"Each arm's learning rate is the one of {choice} with the least validation error in one "
        f"run (seed {SELECTION_SEED}), a noisy judge of rates that are close"
    )
    if edge := at_the_edge(ablation):
        text += f"; at the edge of these, so that a better may lie beyond: {', '.join(edge)}"
    return f"{text}."


def _diverged(records: Sequence[Record]) -> str:
    diverged = [record for record in records if record.diverged]
    if not diverged:
        return ""
    return f"Runs that diverged, and count as guessing: {_seeds(diverged, by_arm=True)}."


def _data(record: Record) -> str:
    return f"{record.dataset['title']}, fingerprint {record.dataset['fingerprint']}"


def _margin_clauses(claim: Claim) -> str:
    clauses = {
        "not worse": ", no loss by a two-sided Welch test of the margin",
        "equivalent": ", equivalence by two one-sided Welch tests (so by the 90% interval)",
    }
    asked = {comparison.expect for comparison in claim.comparisons}
    return "".join(clause for expect, clause in clauses.items() if expect in asked)


def _convolutions(record: Record) -> str:
    # Records from before there was a choice were made by XLA.
    return str(record.environment.get("convolutions", "xla"))


def _commit(record: Record) -> str:
    places = (record.environment.get("begun", record.environment), record.environment)
    return ", then ".join(dict.fromkeys(map(code_of, places)))


def titles(records: Iterable[Record]) -> str:
    """The data sets that the records' numbers come from, as they are called in print."""
    return listed(record.dataset["title"] for record in records)


def listed(items: Iterable[object]) -> str:
    """Different items in order, with semicolons between."""
    return "; ".join(sorted({str(item) for item in items}))


def _seeds(records: Sequence[Record], by_arm: bool = False) -> str:
    """The seeds run: once where all arms have the same, else (or as asked) arm by arm."""
    arms = sorted({record.arm for record in records})
    seeds = {arm: _ranges({r.seed for r in records if r.arm == arm}) for arm in arms}
    if len(set(seeds.values())) == 1 and not by_arm:
        return next(iter(seeds.values()))
    return ", ".join(f"{arm} {ranges}" for arm, ranges in seeds.items())


def _ranges(seeds: set[int]) -> str:
    """Writes 0, 1, 2, 5 as ``0-2, 5``."""
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)

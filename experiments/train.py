"""One run: an arm of a config with one seed.

    python experiments/train.py --config configs/stacked_convs.py:digits --arm three_3x3 --seed 0
    python experiments/train.py --config configs/stacked_convs.py:cpu --serve 8000

Started again with the same flags it goes on where it was cut off, or says what it ended with. The
second serves a page that shows the network as it learns, until the process ends. On many hosts that
share a file system, start it on each with `--distributed` (see `cnnlab.training.placement.join`).
"""

import functools
import json
from dataclasses import replace
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from cnnlab import training
from cnnlab.evidence import Ablation, Ledger, tune
from cnnlab.files import inside
from cnnlab.launch import EXIT_FAILED, failed, launch
from cnnlab.training.live import Live, serving
from cnnlab.training.placement import leads

ARM = flags.DEFINE_string("arm", None, "Which of the config's arms; the first if left out.")
SEED = flags.DEFINE_integer("seed", 0, "What everything random is derived from.")
WORKDIR = flags.DEFINE_string("workdir", "runs", "Where the runs' folders are kept.")
SERVE = flags.DEFINE_string(
    "serve", None, "PORT or HOST:PORT of a page to watch it on; of this machine alone without HOST."
)


def main(config: ConfigDict) -> int:
    """Train, on a page if one is asked for."""
    with serving(SERVE.value) as live:
        return train(config, live)


def train(config: ConfigDict, live: Live | None) -> int:
    """Train, and print where the run is kept and what it ended with."""
    ablation = Ablation.from_config(config)
    arm = ARM.value or next(iter(ablation.arms))
    training.inspect(ablation.recipe(arm, SEED.value))
    if live:
        print(f"to be watched at {live.url}", flush=True)
    run = functools.partial(training.run, live=live)
    ledger = Ledger(inside(ablation.home(Path(WORKDIR.value)), ablation.preset))
    alone = replace(ablation, arms={arm: ablation.arms[arm]})
    recipe = tune(alone, ledger, run)[0].recipe(arm, SEED.value)
    failures = ledger.complete([recipe], run)
    if not leads():
        return EXIT_FAILED if failures else 0
    print(ledger.folder(recipe))
    for record in ledger.records([recipe]):
        print(record.dataset["title"])
        print(json.dumps(record.metrics, indent=2))
    return failed(failures)


if __name__ == "__main__":
    launch(main)

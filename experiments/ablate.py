"""An ablation from start to verdict: every arm's learning rate, every seed, then the table.

    python experiments/ablate.py --config configs/stacked_convs.py:digits

Finished runs are not run again, half-finished ones go on, and several processes may work on one
sweep: start the command as often as there are devices.
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from rich.console import Console

from cnnlab import training
from cnnlab.evidence import Ablation, Ledger, print_report, tune, write_records, write_report
from cnnlab.evidence.published import check_publishable
from cnnlab.evidence.records import records_path
from cnnlab.files import inside
from cnnlab.launch import EXIT_FAILED, failed, launch
from cnnlab.training.placement import leads

WORKDIR = flags.DEFINE_string("workdir", "runs", "Where the runs' folders are kept.")
PUBLISH = flags.DEFINE_bool(
    "publish",
    False,
    "Also write records and report into results/, if no run failed; not with overrides.",
)


def main(config: ConfigDict) -> int:
    """Run what is missing, print tables and verdict, write the report."""
    console = Console()
    ablation = Ablation.from_config(config)
    if PUBLISH.value:
        check_publishable(ablation, Path("configs"))
    for recipe in ablation.arms.values():
        training.inspect(recipe)
    home = ablation.home(Path(WORKDIR.value))
    ledger = Ledger(inside(home, ablation.preset))

    def execute(recipe: ConfigDict, folder: Path) -> training.Record:
        return training.run(recipe, folder, console)

    ablation, told = tune(ablation, ledger, execute)
    recipes = ablation.recipes()
    failures = ledger.complete(recipes, execute)
    if not leads():
        return EXIT_FAILED if failures else 0
    records = ledger.records(recipes)
    if PUBLISH.value and not failures:  # or the lost runs would be missed by nobody
        home = ablation.home(Path("results"))
        write_records(records_path(Path("results"), ablation), [*told, *records])
    print_report(console, ablation, records)
    console.print(f"Report and figure: {write_report(home, ablation, records)}", highlight=False)
    return failed(failures)


if __name__ == "__main__":
    launch(main)

"""What is around a run's steps: seconds to the first, peak memory, two seeds in turn and at once.

    python scripts/benchmark_runs.py    # about twenty minutes; wants an idle machine and CIFAR-10

Run it in the project's folder. It writes results/performance/runs/<machine>.json and the table in
docs/performance.md; `--report-only` makes the table anew.
"""

import argparse
import json
from pathlib import Path

from cnnlab.benchmark import whole_runs
from cnnlab.benchmark.report import machine_name
from cnnlab.evidence.published import replace_block
from cnnlab.files import read_text, write_whole
from cnnlab.launch import guarded

MARKERS = "<!-- runs:begin -->", "<!-- runs:end -->"


def main() -> int:
    """Measure, write the JSON, and the table between its markers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="how often each is done (3)")
    add("--steps", type=int, default=1000, help="of each of the two seeds (1000)")
    add("--folder", type=Path, default=Path("results/performance/runs"), help="of the JSON")
    add("--page", type=Path, default=Path("docs/performance.md"), help="with the markers")
    add("--report-only", action="store_true", help="run nothing, make the table anew")
    args = parser.parse_args()
    replace_block(read_text(args.page), "", MARKERS)  # a mistake shows now, not after minutes
    if not args.report_only:
        results = whole_runs.measure(args.rounds, args.steps)
        path = args.folder / f"{machine_name(results['machine']['device'])}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(results, indent=1) + "\n")
    found = map(whole_runs.RESULTS.read, sorted(args.folder.glob("*.json")))
    tables = "\n\n".join(map(whole_runs.markdown, found))
    write_whole(args.page, replace_block(read_text(args.page), tables, MARKERS))
    print(tables)
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))

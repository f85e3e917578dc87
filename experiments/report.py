"""Everything published, made anew from the records: results/ and the README's summary.

    python experiments/report.py

Run it in the project's folder, after `experiments/ablate.py --publish` or a change of the tables.
"""

import sys
from pathlib import Path

from cnnlab.errors import Mistake
from cnnlab.evidence.published import rewrite
from cnnlab.launch import guarded


def main() -> int:
    """Rewrite the files and print which pages there are."""
    try:
        pages = rewrite(Path("results"), Path("configs"), Path("README.md"))
    except FileNotFoundError as error:
        raise Mistake(f"run it in the project's folder: {error}") from error
    for page in pages:
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))

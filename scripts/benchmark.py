"""One command, one table: cnnlab against plain Flax Linen and PyTorch eager, layer and network.

    python scripts/benchmark.py                  # minutes; wants an idle machine
    python scripts/benchmark.py --quick          # seconds; does everything run?
    python scripts/benchmark.py --only resnet20 L3
    python scripts/benchmark.py --report-only    # the tables anew, from the JSON

Run it in the project's folder. docs/performance.md says how to read what it prints and where the
results go.
"""

import os
import sys

# XLA's own log lines (C++) would stand among the rows; errors still come.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if __name__ == "__main__":
    # Not above: each contender's process imports this file again, and needs no pandas.
    from cnnlab.benchmark.command import main

    sys.exit(main())

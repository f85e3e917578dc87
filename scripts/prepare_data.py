"""Download and prepare a data set, with no TensorFlow.

    python scripts/prepare_data.py cifar10
    python scripts/prepare_data.py cifar10 --directory DIR
    python scripts/prepare_data.py mnist --from FOLDER_WITH_THE_FOUR_FILES

Prepared already, it says so and does nothing.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from cnnlab.data.prepare import preparable, prepare
from cnnlab.errors import Mistake


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare one data set; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help=f"one of {', '.join(preparable())}")
    parser.add_argument(
        "--directory", help="where to put it (TFDS_DATA_DIR, else ~/tensorflow_datasets)"
    )
    parser.add_argument(
        "--from", dest="source", help="the published archive, or the folder that holds the files"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("cnnlab").setLevel(logging.INFO)
    try:
        prepare(options.name, options.directory, source=options.source)
    except (Mistake, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

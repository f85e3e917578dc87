"""Write docs/scaling.md anew: predicted step times on GPUs and TPUs. No accelerator is used.

    python scripts/predict_scaling.py

Run it after a change of a `paper` preset, of ResNet-50 or of the training step; takes a minute.
"""

from pathlib import Path

from cnnlab.evidence.scaling import page
from cnnlab.files import write_whole

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Write the page and say where."""
    path = ROOT / "docs" / "scaling.md"
    path.parent.mkdir(exist_ok=True)
    write_whole(path, page(ROOT / "configs"))
    print(path)


if __name__ == "__main__":
    main()

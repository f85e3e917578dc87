# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own claim in 30 lines
#
# "Wider is better": say it as a config, run it, and read the verdict. The next cell is a whole file
# of `configs/`: saved as `configs/width.py`, it is what `experiments/ablate.py --config
# configs/width.py` takes.

# %%
from cnnlab.evidence import blank_config, digits_setting

CLAIM = {
    "id": "X1",
    "statement": "Twice the filters are better.",
    "source": "a hunch",
    "metric": "test_error",
    "caveats": "Digits, and a very small net.",
    "comparisons": (
        {
            "question": "Does the wide net make fewer errors?",
            "treatment": "wide",
            "baseline": "narrow",
            "expect": "better",
        },
    ),
}


def get_config(preset="digits"):
    config = blank_config("width", preset, CLAIM)
    for arm, filters in {"narrow": 12, "wide": 24}.items():
        network = f"INPUT -> AVGPOOL2 -> [CONV3-{filters} -> BN -> RELU -> POOL2]*2 -> GAP -> FC"
        config.arms[arm] = {"model": {"name": network}}
    digits_setting(config)
    config.seeds = 3
    return config.lock()


# %% [markdown]
# Here the runs are done by hand. The ledger does those that it does not have yet: run the cell
# again, and it takes no time.

# %%
import tempfile
from pathlib import Path

from cnnlab import training
from cnnlab.evidence import Ablation, Ledger, Result, curves

ablation = Ablation.from_config(get_config())
ledger = Ledger(Path(tempfile.mkdtemp()))
ledger.complete(ablation.recipes(), training.run)
result = Result(ablation, ledger.records(ablation.recipes()))

# %%
result

# %%
curves(ledger.folder(recipe) for recipe in ablation.recipes())

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
# # Lesions of a residual net
#
# Take a block out of a trained residual net, and it still works; do that to a plain net, and it
# does not (Veit et al. 2016, arXiv 1605.06431). Two nets of 14 layers, trained on digits alike,
# then cut.

# %%
import tempfile
from pathlib import Path

from ml_collections import ConfigDict

from cnnlab import training
from cnnlab.analysis import lesion, pictures
from cnnlab.training import probes


def train(name: str) -> probes.Trained:
    """The registered network, of half the paper's filters, trained on digits."""
    recipe = training.default_recipe()
    recipe.model.name, recipe.data.name = name, "digits"
    recipe.model.options = ConfigDict({"filters": 8, "stem_stride": 2})
    recipe.train.update(batch_size=32, epochs=6.0, evaluate_epochs=6.0, checkpoint_epochs=6.0)
    recipe.optimizer.learning_rate = 0.05
    recipe.schedule.warmup_epochs = 0.5
    recipe.augment.update(crop_padding=2, flip=False)
    folder = Path(tempfile.mkdtemp()) / name
    training.run(recipe, folder)
    return probes.load(folder)


def lesions(net: probes.Trained) -> pictures.Picture:
    """The test error without each block in turn."""
    blocks = lesion.blocks(net.model, net.dataset.image_shape)
    whole, *errors = probes.lesion_errors(net, [(), *((block.name,) for block in blocks)])
    return pictures.lesions(blocks, errors, whole)


# %%
residual = train("resnet14")
lesions(residual)

# %%
plain = train("plain14")
lesions(plain)

# %% [markdown]
# One net of each kind is an anecdote. The claim with seeds, intervals and a verdict is
# `configs/lesions.py`; `experiments/probe.py` prints this table for any of its runs.

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
# Veit et al. 2016 (arXiv 1605.06431) took single blocks out of a trained residual net of 54, and it
# worked nearly as before; VGG did not. Here are two nets of six blocks, with shortcuts and without,
# trained on digits alike, then cut.

# %%
import tempfile
from pathlib import Path

from cnnlab import training
from cnnlab.analysis import lesion, pictures
from cnnlab.evidence import digits_recipe
from cnnlab.training import probes


def train(name: str) -> probes.Trained:
    """The registered network, of half the paper's filters, trained on digits."""
    network = {"name": name, "options": {"filters": 8, "stem_stride": 2}}
    recipe = training.Recipe().override(digits_recipe() | {"model": network})
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
# Of six blocks each is a large part of the net, and is missed. One net of each kind is an anecdote,
# too: the claim with seeds, intervals and a verdict is `configs/lesions.py`, and
# `experiments/probe.py` prints these numbers for any of its runs.

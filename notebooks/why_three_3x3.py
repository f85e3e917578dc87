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
# # Why three 3x3?
#
# "Prefer a stack of small filter CONV to one large receptive field CONV layer", say the notes: the
# same receptive field, fewer weights, and non-linearities in between. First the arithmetic, then
# the evidence, then a look at what the trained neurons make of their receptive fields.

# %%
import tempfile
from pathlib import Path

import jax.numpy as jnp

import cnnlab
from cnnlab import models, training
from cnnlab.analysis import pictures
from cnnlab.evidence import costs, digits_recipe
from cnnlab.evidence.published import HOME, read_results
from cnnlab.training import probes

# %%
cnnlab.summarize(models.pattern("INPUT -> [CONV3-64 -> RELU]*3"), (32, 32, 64))

# %%
cnnlab.summarize(models.pattern("INPUT -> CONV7-64 -> RELU"), (32, 32, 64))

# %% [markdown]
# ## The evidence
#
# From the published records: CIFAR-10, five seeds an arm, two controls. The verdict comes from the
# interval of the difference, never from one run.

# %%
results = read_results(HOME / "results", HOME / "configs")["cpu"]
result = next(result for result in results if result.ablation.claim.id == "E1")
result

# %% [markdown]
# What the accuracy costs, in weights, multiply-adds and memory: the stack takes two and a half
# times the memory of the 7x7.

# %%
costs(result.records)

# %% [markdown]
# ## What they see
#
# Both kinds *can* see 7x7 pixels of the map before. What they heed of it is another question (Luo
# et al. 2016): the average gradient says. Trained for a few seconds on digits:


# %%
def train(network: str) -> probes.Trained:
    """The network, trained on digits."""
    recipe = training.Recipe().override(digits_recipe() | {"model": {"name": network}})
    folder = Path(tempfile.mkdtemp()) / "run"
    training.run(recipe, folder)
    return probes.load(folder)


def fields(trained: probes.Trained) -> pictures.Picture:
    """Theoretical and effective receptive fields."""
    images = trained.prepare(jnp.asarray(trained.dataset.decoded("validation").images[:32]))
    return pictures.receptive_field(trained.model, trained.variables, images)


# %%
fields(train("INPUT -> AVGPOOL2 -> [CONV3-16 -> BN -> RELU]*3 -> POOL2 -> GAP -> FC"))

# %%
fields(train("INPUT -> AVGPOOL2 -> CONV7-16 -> BN -> RELU -> POOL2 -> GAP -> FC"))

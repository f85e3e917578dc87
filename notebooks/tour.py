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
# # A tour
#
# Import, look at a network before it is trained, train it for half a minute on real digits, look
# inside. Nothing here needs more than one CPU and the bundled data.

# %%
import tempfile
from pathlib import Path

import jax.numpy as jnp

import cnnlab
from cnnlab import geometry, models, ops, training
from cnnlab.analysis import pictures
from cnnlab.evidence import curves, digits_recipe
from cnnlab.training import probes

# %% [markdown]
# ## Sizes
#
# How many neurons fit along an axis: (W - F + 2P)/S + 1. Where that is no whole number the notes
# say that they "don't fit"; here that is an error which names what would.

# %%
geometry.output_size(7, kernel=3, stride=2)

# %%
try:
    geometry.output_size(10, kernel=3, stride=2)
except geometry.DoesNotFit as misfit:
    print(misfit)

# %% [markdown]
# ## A layer is a pure function of arrays

# %%
x = jnp.arange(16.0).reshape(1, 4, 4, 1)  # N H W C
ops.max_pool(x, kernel=2)[0, :, :, 0]

# %% [markdown]
# The same, cell by cell, to play with. (`cnnlab.demo.pooling` is the other one.)

# %%
cnnlab.demo.convolution(size=5, depth=3, filters=2, kernel=3, stride=2, padding=1)

# %% [markdown]
# ## A network is written as the notes write it

# %%
NETWORK = "INPUT -> AVGPOOL2 -> [[CONV3-16*2^i -> BN -> RELU]*2 -> POOL2]*2 -> GAP -> FC"
model = models.pattern(NETWORK, classes=10)
model

# %% [markdown]
# Its layer table takes no memory and no time: only shapes are traced.

# %%
cnnlab.summarize(model, (32, 32, 1))

# %% [markdown]
# ## Training
#
# A recipe is data, and a run is a function from a recipe to a record. What is random comes from
# the seed: the same recipe gives the same bits.

# %%
# Eight epochs of scikit-learn's digits, scaled up from 8x8 to 32x32.
recipe = training.Recipe().override(
    digits_recipe(evaluate_epochs=1.0) | {"model": {"name": NETWORK}}
)

folder = Path(tempfile.mkdtemp()) / "tour"
record = training.run(recipe, folder)
record.metrics

# %%
curves([folder])

# %% [markdown]
# ## Looking inside
#
# The trained network comes back from its checkpoint, with the data it was trained on.

# %%
trained = probes.load(folder)
digits = trained.dataset.decoded("validation")
images, labels = trained.prepare(jnp.asarray(digits.images[:8])), digits.labels[:8]

# %%
pictures.filters(trained.model, trained.variables, images)

# %%
pictures.activations(trained.model, trained.variables, images, label=int(labels[0]))

# %%
pictures.scores(trained.model, trained.variables, images, labels)

# %%
pictures.saliency(trained.model, trained.variables, images)

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
# # The VGG table, and what a neuron sees
#
# The notes walk through VGG-16 row by row: sizes, memory, weights. Here the table is computed, and
# so is the place where the notes slip.

# %%
import cnnlab
from cnnlab import geometry, models

vgg16 = models.create("vgg16")
summary = cnnlab.summarize(vgg16, (224, 224, 3))
summary

# %% [markdown]
# Most weights sit in the first FC layer, most of the memory in the first CONV layers.

# %%
table = summary.to_frame().set_index("path")
table[["notation", "weights_share"]].nlargest(3, "weights_share")

# %%
table[["notation", "activations_share"]].nlargest(4, "activations_share")

# %% [markdown]
# The notes add the activations up to "24M * 4 bytes ~= 93MB". Their own rows sum to less.

# %%
f"{summary.activations / 1e6:.2f} M values, {4 * summary.activations / 1e6:.1f} MB"

# %% [markdown]
# ## Receptive fields
#
# Three 3x3 convolutions see as much as one 7x7, with 27 C^2 weights instead of 49 C^2.

# %%
geometry.receptive_field([(3, 1), (3, 1), (3, 1)]), geometry.receptive_field([(7, 1)])

# %% [markdown]
# What a neuron sees grows with every layer, and faster behind every pooling: `step_h` is how far
# apart two neighbours look.

# %%
table.loc[table.notation == "POOL2", ["shape", "receptive_field_h", "step_h"]]

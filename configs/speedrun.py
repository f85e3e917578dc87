"""S1: CIFAR-10 to 94% in as few operations as it takes.

The recipe family of airbench94 (Jordan 2024, arXiv 2404.00498): a first layer of fixed filters that
whiten the images' patches, convolutions that start by handing their input on, a higher rate for the
biases of norms, label smoothing, flips in every other epoch, a running average of the weights and a
short triangular schedule. The network and every other choice stand in the recipe; nothing is done
to the images at test time (no test-time augmentation: the paper's 94.01% are with six views of each
image, and 93.2% without).

    python experiments/ablate.py --config configs/speedrun.py:cpu

| preset | data | network | epochs |
| --- | --- | --- | --- |
| `digits` | digits | airbench94, ReLU | 4: does it run? |
| `cpu` | CIFAR-10, 45,000 images | airbench94, ReLU, bfloat16 | 16 |
| `paper` | CIFAR-10, 45,000 images | airbench94, GELU, bfloat16 | 9.9; not run yet |

All have 5 seeds. A CPU with AMX computes the products of bfloat16 several times as fast as float32,
which makes `cpu` a matter of minutes; the ReLU takes a quarter of the time of a GELU there. The same
config runs on a GPU.
"""

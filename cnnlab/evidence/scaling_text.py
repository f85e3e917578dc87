"""The words of docs/scaling.md; `cnnlab.evidence.scaling` puts the numbers in."""

TEXT = """\
# Scaling, predicted

**Every time and rate of ours on this page is a prediction.** No accelerator was used. The page is
written by

```sh
python scripts/predict_scaling.py
```

from counts of the traced training step (JAX {jax}), the makers' figures, and one constant that was
calibrated on one published run. Where others have measured, it stands beside the prediction:
measured over predicted was between {low} and {high}, and elsewhere the model should be trusted no
better.

## The model

One step on one chip:

    t_chip = max(FLOPs / peak, bytes / bandwidth) / e

- **FLOPs** are XLA's count (`jax.jit(step).lower(...).cost_analysis()`), of forward, backward and
  update. It leaves out the first layer's input gradient, and the padding's zeros, which chips
  multiply all the same: too little for large filters on small maps.
- **bytes** cannot be known without the chip's own compiler, so there are three counts. *Nothing
  fused*, XLA's count of the program before optimisation, writes and reads every intermediate array,
  which is far too much. *Least* is what convolutions, matrix products and pooling windows read and
  write, as if all else came free, which is too little. *Fused* lies between and is what the
  prediction uses: elementwise work is done inside the kernels that want it, and reductions of the
  same arrays share a pass. It is a rule of ours (`cnnlab/analysis/work.py`), no compiler's. It
  counts too much where batch norm is fused into convolutions or arrays stay in a cache, and too
  little where less is fused; e takes up what is common to all.
- **e** is the fraction of that roofline which is reached, one number for arithmetic and memory, all
  chips and all networks: {efficiency}, which makes the first row of the validation exact.

Several chips, each with its share of the batch:

    t_step = t_chip + waits x latency + max(0, t_reduce - 2/3 t_chip)
    t_reduce = 2 (g-1)/g V/link + 2 (m-1)/m (V/g)/network + latency

- The gradient (V bytes, float32) is summed by rings: over the g chips of a group by their own
  links, each of its shares over the m groups by the network. It hides behind the backward pass, two
  thirds of the step.
- Batch statistics over the whole batch are what one batch on one chip has, and what `jax.jit` makes
  of a batch spread over chips. Each is a small all-reduce that nothing hides: {waits} follow on
  one another in ResNet-50. The column *own statistics* is without them: each chip then normalises
  by its own images, which is another computation.
- latency: hops there and back, 2 log2(n) through switches, half of each ring of a torus. Links
  count one way.

*Between* has both ends of what is not known of the traffic, each at full peak and bandwidth, e = 1:
nothing fused and nothing hidden; least bytes and no waits. Above the upper end is nothing that
computes convolutions directly and puts each layer's result into memory; below the lower is poor
software.

## Chips

Published figures, without sparsity. *Joined*: chips that their own links connect. "links" and
"network" are GB/s out of one chip, one way.

{chips}

{sources}

## Work of ResNet-50, for each image

At {batch} images a step.

{work}

## Validation

Images/s of ResNet-50 on ImageNet at 224 pixels. The constant is from the first row
({calibration}), and the others are checks. These runs normalise by each chip's own
images.

{validation}

One A100 is {software} times as fast with one software as with another (mixed precision): no model
that looks at the chip alone can be nearer than that. Measured rates include what the model leaves
out. H100 and TPU v5 have no row, for want of images/s in the sources. The one check for H100 is a
ratio: 16 H100 were {measured_ratio} times as fast as 16 A100 (MLPerf Training v3.0, as reported by
silvertonconsulting.com, 2023), and {predicted_ratio} is predicted.

Sources: the README of flax's `examples/imagenet` (its batch is the one that makes 100 epochs of the
steps, and its rates include evaluation); in NVIDIA's DeepLearningExamples those of
`PyTorch/Classification/ConvNets/resnet50v1.5` and `MxNet/Classification/RN50v1.5`, and the latter's
22.10 version on NGC (time of 90 epochs).

## ResNet-50 on 1 to 1,024 chips (predicted)

bfloat16, {epochs} epochs of ImageNet. On the left each chip has {batch} images whatever their
number, so that the batch grows with them, to {largest}: that is speed, not accuracy. From
"{global_batch} a step" on the batch stays the same and each chip's share shrinks; its efficiency is
against one chip with {batch} images. "Too large": by the notes' accounting of memory
(`summary.memory`) the share does not fit.

{pods}

## The `paper` presets on one GPU (predicted)

One run's training alone, and in brackets its bounds: least bytes and nothing fused, at full speed.
Each preset in both dtypes of `--config.model.dtype`; on these GPUs float32 is multiplied as TF32,
JAX's default. "Too large": its batch does not fit one GPU by the notes' accounting of memory.

{presets}

The constant comes from large images. Networks for 32 x 32 images have small kernels: each
microsecond that a kernel takes to start, which is left out, makes a step longer by as many
microseconds as it has kernels.

## Left out

- Input: reading, decoding, augmenting and copying images. On many chips this is often what limits.
- Starting kernels (some {kernels} in a step of ResNet-50) and collectives. At a few images a chip
  this may take longer than the step.
- Stragglers, failures, other users of the network, slices of a torus that do not close into rings.
- Compilation, evaluation, checkpoints.
- Memory beyond the notes' estimate: what XLA needs to work in.
- Padding of small channel counts to the width of matrix units, which TPUs suffer from.
- Accuracy at large batches: speed says nothing of the epochs that are needed.
"""

"""E15: does a trained residual net survive the removal of any one block, and a plain net not?

N3 ("The ResNet Architecture"): entire layers can be removed from residual networks without
impacting performance, for they do not strongly depend on each other. Nets of one depth, with and
without shortcuts, are trained alike; then each block is cut out of the trained net in turn, and
sets of blocks at random, and the test error is taken again (probe `lesion`, after Veit et al. 2016;
`analysis/lesion.py` says what stands in for a block). The metric is the rise of the error in
points. Only blocks that keep the shape count in the comparison of the two nets, since a plain net's
other blocks cannot be cut out in earnest.

    python experiments/ablate.py --config configs/lesions.py:digits
    python experiments/probe.py runs/lesions/digits/residual/seed0-...    # block by block

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits, stem of stride 2 | 20 layers, 9 blocks | two minutes |
| `cpu` | CIFAR-10, stem of stride 2 | 20 layers, 9 blocks, 3 epochs | about 15 minutes |
| `paper` | CIFAR-10 | 56 layers, 27 blocks, 64,000 steps | not run yet |

All presets have 5 seeds an arm; `cpu` chooses each arm's learning rate on the validation split.
That a net survives is read as: without the block it can spare least, the error rises by less than
10 points, of the 60 or so that lie between a trained net and guessing. Veit et al. 2016 (arXiv
1605.06431) have 110 layers, 54 blocks with pre-activation, and VGG for a plain net; `paper` has 56
layers, the deepest of which He et al. 2015 (fig. 6) show how the plain net trains, in the original
order, so that both nets have one depth and differ in their shortcuts alone.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import DEEP_RATES, blank_config, digits_setting, preset_of, short_setting

CLAIM = {
    "id": "E15",
    "statement": "A residual net survives the removal of any one block; a plain net does not.",
    "source": "N3, The ResNet Architecture, after Veit et al. 2016, arXiv 1605.06431",
    "metric": "lesion_worst_gap",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does a residual net survive whatever one block of its shape is cut out?",
            "treatment": "residual",
            "baseline": 10.0,
            "expect": "better",
        },
        {
            "question": "Does its error rise less than a plain net's?",
            "treatment": "residual",
            "baseline": "plain",
            "expect": "better",
            "metric": "lesion_gap",
        },
        {
            "question": "Does a plain net not survive it?",
            "treatment": "plain",
            "baseline": 10.0,
            "expect": "worse",
        },
        {
            "question": "Do its down-sampling blocks matter more than the others?",
            "treatment": "residual",
            "baseline": 0.0,
            "expect": "worse",
            "metric": "lesion_downsampling_gap",
        },
        {
            "question": "Does it stand the loss of a random fifth of its blocks better?",
            "treatment": "residual",
            "baseline": "plain",
            "expect": "better",
            "metric": "lesion_fifth_gap",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("lesions", preset, CLAIM)
    config.probe = "lesion"
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop: the papers' 20 layers on 16x16."""
    config.arms = arms(20, stem_stride=2)
    digits_setting(config, epochs=10.0, evaluate_epochs=5.0, checkpoint_epochs=5.0)


def cpu(config: ConfigDict) -> None:
    """About 15 minutes on two cores: the papers' 20 layers on 16x16, three epochs."""
    config.arms = arms(20, stem_stride=2)
    short_setting(config, epochs=3.0, checkpoint_epochs=1.0, rates=DEEP_RATES)
    config.claim.caveats = (
        "Nine blocks, of which seven keep the shape: each of them is a larger part of the net than "
        "one of the 54 of Veit et al. 2016. Three epochs; the first convolution has stride 2. That "
        "a net survives is a question of how much may be lost: ten points are what the verdict "
        "allows the block that is missed most; the mean block is missed less. The two blocks that "
        "change the shape stand in the fourth comparison alone."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: the recipe of He et al. 2015 (sec. 4.2), 64,000 steps."""
    config.arms = arms(56)
    config.data.name = "cifar10"
    config.train.update(batch_size=128, steps=64_000, evaluate_epochs=4.0, checkpoint_epochs=4.0)
    config.optimizer.update(learning_rate=0.1, nesterov=False, weight_decay=1e-4)
    config.schedule.name = "step"
    config.augment.update(crop_padding=4, flip=True)


def arms(depth: int, stem_stride: int = 1) -> ConfigDict:
    """The net with shortcuts and the one without."""
    options = {"stem_stride": stem_stride}
    return ConfigDict(
        {
            "residual": {"model": {"name": f"resnet{depth}", "options": options}},
            "plain": {"model": {"name": f"plain{depth}", "options": options}},
        }
    )

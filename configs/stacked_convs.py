"""E1: do three stacked 3x3 convolutions beat one 7x7 with the same receptive field?

N0 ("Prefer a stack of small filter CONV to one large receptive field CONV layer") gives two
reasons: the non-linearities in between, and fewer weights (27 C^2 against 49 C^2). Two controls
take the reasons apart: the stack with no non-linearity in between, and the 7x7 with its filters
cut until it has about the stack's weights.

    python experiments/ablate.py --config configs/stacked_convs.py:digits

| preset | data | what | time |
| --- | --- | --- | --- |
| `digits` | digits, 32x32 | two stages of 12 filters, 5 seeds | under 3 minutes on two cores |
| `cpu` | CIFAR-10 | three stages of 24 filters, 5 seeds | see results/ |
| `paper` | CIFAR-10 | three stages of 64 filters, 164 epochs, 5 seeds | not run yet |

The paper that makes the argument has one measurement (on ImageNet): net B with each pair of 3x3
replaced by one 5x5 is 7 points worse (Simonyan & Zisserman 2014, arXiv 1409.1556, sec. 4.1).
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config

CLAIM = {
    "id": "E1",
    "statement": "Three stacked 3x3 convolutions beat one 7x7 with the same receptive field.",
    "source": "N0, Prefer a stack of small filter CONV",
    "metric": "test_error",
    "comparisons": (
        {
            "question": "the claim",
            "treatment": "three_3x3",
            "baseline": "one_7x7",
            "expect": "better",
            "paper": {
                "value": "-7 points",
                "source": "Simonyan & Zisserman 2014, arXiv 1409.1556, sec. 4.1",
                "note": "ImageNet top-1; pairs of 3x3 against one 5x5",
            },
        },
        {
            "question": "is it the non-linearities in between?",
            "treatment": "three_3x3",
            "baseline": "three_3x3_linear",
            "expect": "better",
        },
        {
            "question": "is it the weights saved?",
            "treatment": "three_3x3",
            "baseline": "one_7x7_narrow",
            "expect": "better",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    presets = {"digits": digits, "cpu": cpu, "paper": paper}
    if preset not in presets:
        raise ValueError(f"no preset {preset!r}; there are {', '.join(presets)}")
    config = blank_config("stacked_convs", preset, CLAIM)
    presets[preset](config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms(width=16, narrow=15, stages=2, stem="AVGPOOL2 -> ")
    config.data.name = "digits"
    config.train.update(batch_size=32, epochs=12.0, evaluate_epochs=3.0, checkpoint_epochs=3.0)
    config.optimizer.learning_rate = 0.05
    config.schedule.warmup_epochs = 1.0
    config.augment.update(crop_padding=2, flip=False)


def cpu(config: ConfigDict) -> None:
    """About an hour on two cores: CIFAR-10 in three epochs a run."""
    config.arms = arms(width=24, narrow=20, stages=3)
    config.data.name = "cifar10"
    config.train.update(batch_size=128, epochs=3.0, evaluate_epochs=1.0, checkpoint_epochs=0.5)
    config.schedule.warmup_epochs = 0.5
    config.augment.update(crop_padding=4, flip=True)


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms(width=64, narrow=54, stages=3)
    config.data.name = "cifar10"
    config.train.update(batch_size=128, epochs=164.0, evaluate_epochs=4.0, checkpoint_epochs=4.0)
    config.optimizer.update(nesterov=False, weight_decay=1e-4)
    config.schedule.update(name="step", warmup_epochs=1.0)
    config.augment.update(crop_padding=4, flip=True)


def arms(width: int, narrow: int, stages: int, stem: str = "") -> ConfigDict:
    """The four networks: `stages` stages of `width` filters, as N0 supposes: C channels throughout.

    `narrow` is the width at which one 7x7 has the weights of three 3x3, about 0.74 of `width`
    (27 C^2 against 49 C^2) but for the first layer, which sees the image's channels.
    """
    stage = {
        "one_7x7": f"CONV7-{width} -> BN -> RELU",
        "three_3x3": f"[CONV3-{width} -> BN -> RELU]*3",
        "three_3x3_linear": f"[CONV3-{width} -> BN]*3 -> RELU",
        "one_7x7_narrow": f"CONV7-{narrow} -> BN -> RELU",
    }
    network = "INPUT -> {}[{} -> POOL2]*{} -> GAP -> FC"
    return ConfigDict(
        {arm: {"model": {"name": network.format(stem, s, stages)}} for arm, s in stage.items()}
    )

"""E1: do three stacked 3x3 convolutions beat one 7x7 with the same receptive field?

N0 ("Prefer a stack of small filter CONV to one large receptive field CONV layer") gives two
reasons: the non-linearities in between, and fewer weights. Two controls take the reasons apart:
the stack with no non-linearity in between, and the 7x7 with its filters cut until it has the
stack's weights. (27 C^2 against 49 C^2 holds where a layer keeps its C channels. The first layer of
a stage doubles them, as in VGG, and there the saving is smaller: 90 C^2 against 98 C^2.)

    python experiments/ablate.py --config configs/stacked_convs.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | two stages of 16 filters | under 3 minutes |
| `cpu` | CIFAR-10 | three stages of 16, 32, 64 filters, 2 epochs | about half an hour |
| `paper` | CIFAR-10 | three stages of 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the
validation split. On two cores the `cpu` preset goes faster as two processes of one core each, on
one ledger:

    python experiments/reproduce.py --preset cpu --claims E1 --jobs 2

The paper that makes the argument has one measurement (on ImageNet): net B with each pair of 3x3
replaced by one 5x5 is 7 points worse (Simonyan & Zisserman 2014, arXiv 1409.1556, sec. 4.1).
`paper` has that pair as well.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E1",
    "statement": "Three stacked 3x3 convolutions beat one 7x7 with the same receptive field.",
    "source": "N0, Prefer a stack of small filter CONV",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does the stack beat the large filter?",
            "treatment": "three_3x3",
            "baseline": "one_7x7",
            "expect": "better",
        },
        {
            "question": "Does the stack need the non-linearities in between?",
            "treatment": "three_3x3",
            "baseline": "three_3x3_linear",
            "expect": "better",
        },
        {
            "question": "Does the stack still win at equal weights?",
            "treatment": "three_3x3",
            "baseline": "one_7x7_narrow",
            "expect": "better",
        },
    ),
}

PAIRS = {
    "question": "Does a stack of two beat one 5x5?",
    "treatment": "two_3x3",
    "baseline": "one_5x5",
    "expect": "better",
    "paper": {
        "value": "-7 points",
        "source": "Simonyan & Zisserman 2014, arXiv 1409.1556, sec. 4.1",
        "note": "ImageNet top-1, net B",
    },
}
"""What the paper measured."""


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("stacked_convs", preset, CLAIM)
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms((16, 16), narrow=(15, 15), stem="AVGPOOL2 -> ")
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About half an hour on two cores: CIFAR-10 in two epochs of small batches, which CPUs like.

    No random crops: in a pilot with them every arm under-fitted, by its validation error.
    """
    config.arms = arms((16, 32, 64), narrow=(16, 32, 60))
    short_setting(config)
    config.claim.caveats = (
        "Narrow nets, 2 epochs, no random crops. The stack makes somewhat more MACs than the 7x7 "
        "nets. As each stage doubles its channels in its first layer, the stack saves few weights, "
        "and not the 45% of equal channels: how little equal weights change tells little."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    widths = (64, 128, 256)
    config.arms = arms(widths, narrow=(63, 126, 248))
    config.arms.update(
        two_3x3=network("[CONV3-{} -> BN -> RELU]*2", widths),
        one_5x5=network("CONV5-{} -> BN -> RELU", widths),
    )
    config.claim.comparisons += (PAIRS,)
    long_setting(config)


def arms(widths: tuple[int, ...], narrow: tuple[int, ...], stem: str = "") -> ConfigDict:
    """The four networks, a stage for each width; `narrow` gives one 7x7 the stack's weights."""
    return ConfigDict(
        {
            "one_7x7": network("CONV7-{} -> BN -> RELU", widths, stem),
            "three_3x3": network("[CONV3-{} -> BN -> RELU]*3", widths, stem),
            "three_3x3_linear": network("[CONV3-{} -> BN]*3 -> RELU", widths, stem),
            "one_7x7_narrow": network("CONV7-{} -> BN -> RELU", narrow, stem),
        }
    )


def network(stage: str, widths: tuple[int, ...], stem: str = "") -> dict[str, dict[str, str]]:
    """A net with a stage of each width, and a pooling behind each."""
    stages = " -> ".join(f"{stage.format(k)} -> POOL2" for k in widths)
    return {"model": {"name": f"INPUT -> {stem}{stages} -> GAP -> FC"}}

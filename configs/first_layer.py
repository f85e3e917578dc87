"""E19: does a first layer of large filters and strides save memory at a small cost in accuracy?

N1 ("Compromising based on memory constraints"): three 3x3 layers on a large image take much memory;
in practice the compromise is made at the first layer only, with 7x7 at stride 2 as in ZFNet or
11x11 at stride 4 as in AlexNet. The arms differ in the first layers alone; behind them come the
same layers, on maps of half or a quarter of the side. That memory falls needs no training: the
table shows the activations. What is trained for is the accuracy.

    python experiments/ablate.py --config configs/first_layer.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits | stem and 8, 16, 32 filters | a minute |
| `cpu` | CIFAR-10 | stem and 16, 32, 64 filters, 3 epochs | about 8 minutes |
| `paper` | CIFAR-10 | stem and 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. A cost counts as small here if it is less than 3 points, about a tenth of the error of such
nets after a few epochs (E1). The notes speak of images of 224x224, where a stride of 4 leaves 56
pixels of side; of CIFAR's 32 it leaves 8.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E19",
    "statement": "A 7x7 first layer of stride 2 saves memory at a small cost in accuracy.",
    "source": "N1, Compromising based on memory constraints",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Is what the 7x7 of stride 2 costs small?",
            "treatment": "one_7x7_stride_2",
            "baseline": "three_3x3",
            "expect": "not worse",
            "margin": 3.0,
        },
        {
            "question": "Does it cost accuracy at all?",
            "treatment": "one_7x7_stride_2",
            "baseline": "three_3x3",
            "expect": "worse",
        },
        {
            "question": "Does the 11x11 of stride 4 cost more?",
            "treatment": "one_11x11_stride_4",
            "baseline": "one_7x7_stride_2",
            "expect": "worse",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("first_layer", preset, CLAIM)
    config.model.options.fit = "crop"
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop."""
    config.arms = arms((8, 16, 32))
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 8 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((16, 32, 64))
    short_setting(config, epochs=3.0, checkpoint_epochs=1.0)
    config.claim.caveats = (
        "Images of 32x32: a stride in the first layer leaves fewer pixels of them than of the 224 "
        "that the notes have in mind, and should cost more. Memory is not all that the stride "
        "saves: multiplications fall with it, and no arm spends them elsewhere."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms((64, 128, 256))
    long_setting(config)


def arms(widths: tuple[int, int, int]) -> ConfigDict:
    """The three stems, of the first width, and behind each the same stages."""
    first = widths[0]
    stems = {
        "three_3x3": f"[CONV3-{first} -> BN -> RELU]*3",
        "one_7x7_stride_2": f"CONV7-{first}/2 -> BN -> RELU",
        "one_11x11_stride_4": f"CONV11-{first}/4 -> BN -> RELU",
    }
    stages = " -> ".join(f"CONV3-{k} -> BN -> RELU -> POOL2" for k in widths)
    return ConfigDict(
        {
            arm: {"model": {"name": f"INPUT -> {stem} -> {stages} -> GAP -> FC"}}
            for arm, stem in stems.items()
        }
    )

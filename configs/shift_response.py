"""E18: does pooling make a network's answer less sensitive to small shifts of its image?

N3 ("Pooling Layer": precise location is not important; "Equivariance and invariance": invariance
lets the precise location of the detected features matter less). Nets of the same three convolutions
that halve their maps by max pooling, by average pooling, by strides, or not at all. The trained net
is shown its test images moved by 1 to 4 pixels in eight directions (probe `shift`,
`analysis/shift.py`; what comes in at the border is mirrored, for all arms alike), and the metric is
how much its logits change, as a part of what they are. Every net ends in an FC, which sees where
things are, and not in global average pooling, which would give all of them the invariance that is
in question. No random crops in training, for these teach it as well.

    python experiments/ablate.py --config configs/shift_response.py:digits
    python experiments/probe.py runs/shift_response/digits/max_pool/seed0-...    # shift by shift

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits | three convolutions of 8, 16, 16 filters | two minutes |
| `cpu` | CIFAR-10 | three convolutions of 16, 32, 32 filters, 2 epochs | about 15 minutes |
| `paper` | CIFAR-10 | three convolutions of 64, 128, 128 filters, 100 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. The three lowest rates of `cpu` came after its first runs, of which all arms chose the lowest
there was; that the error is compared as well came after them too. The net that keeps its maps has
an FC 64 times as large. `paper` follows no paper: it is the same on larger nets, trained for
longer.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, preset_of, short_setting

CLAIM = {
    "id": "E18",
    "statement": "Pooling makes a network's answers less sensitive to small shifts of the image.",
    "source": "N3, Pooling Layer",
    "metric": "shift1_change",
    "caveats": "",
    "comparisons": (
        {
            "question": "One pixel: do logits change less with max pooling than with strides?",
            "treatment": "max_pool",
            "baseline": "strided",
            "expect": "better",
        },
        {
            "question": "And with average pooling?",
            "treatment": "average_pool",
            "baseline": "strided",
            "expect": "better",
        },
        {
            "question": "Less with max pooling than with no down-sampling?",
            "treatment": "max_pool",
            "baseline": "no_downsampling",
            "expect": "better",
        },
        {
            "question": "Four pixels: still less with max pooling than with strides?",
            "treatment": "max_pool",
            "baseline": "strided",
            "expect": "better",
            "metric": "shift4_change",
        },
        {
            "question": "One pixel: does the error rise less with max pooling than with strides?",
            "treatment": "max_pool",
            "baseline": "strided",
            "expect": "better",
            "metric": "shift1_gap",
        },
        {
            "question": "And by four pixels?",
            "treatment": "max_pool",
            "baseline": "strided",
            "expect": "better",
            "metric": "shift4_gap",
        },
    ),
}

HALVINGS = {
    "max_pool": ("", " -> POOL2"),
    "average_pool": ("", " -> AVGPOOL2"),
    "strided": ("/2", ""),
    "no_downsampling": ("", ""),
}
"""The stride of every convolution, and what comes behind it."""


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("shift_response", preset, CLAIM)
    config.probe = "shift"
    config.model.options.fit = "crop"
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop."""
    config.arms = arms((8, 16, 16))
    digits_setting(config, learning_rate=0.03, crop_padding=0)


def cpu(config: ConfigDict) -> None:
    """About 15 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((16, 32, 32))
    short_setting(config, checkpoint_epochs=1.0, rates=(0.005, 0.01, 0.02, 0.05, 0.125, 0.3))
    config.claim.caveats = (
        "Two epochs of three narrow layers. The net with no down-sampling has 64 times the weights "
        "in its FC, and the strided net makes fewer multiplications than the pooled ones; no arm "
        "makes up for either. All nets end in an FC: under global average pooling the order may "
        "differ."
    )


def paper(config: ConfigDict) -> None:
    """On an accelerator: four times as wide, until training is over."""
    config.arms = arms((64, 128, 128))
    config.rates = (0.01, 0.03, 0.1)
    config.data.name = "cifar10"
    config.train.update(batch_size=128, epochs=100.0, evaluate_epochs=5.0, checkpoint_epochs=5.0)
    config.schedule.warmup_epochs = 1.0
    config.augment.update(crop_padding=0, flip=True)


def arms(widths: tuple[int, int, int]) -> ConfigDict:
    """The four nets, a convolution for each width."""

    def network(stride: str, end: str) -> dict[str, dict[str, str]]:
        stages = " -> ".join(f"CONV3-{k}{stride} -> BN -> RELU{end}" for k in widths)
        return {"model": {"name": f"INPUT -> {stages} -> FC"}}

    return ConfigDict({arm: network(*halving) for arm, halving in HALVINGS.items()})

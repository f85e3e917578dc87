"""E5: does max pooling work better than average pooling?

N0 ("General pooling") says that max pooling "has been shown to work better in practice" than
average pooling, once usual, and names L2 pooling, of which it says nothing of the kind: that is a
question besides. The arms differ in what a 2x2 window comes to and in nothing else: weights, MACs
and maps are equal.

    python experiments/ablate.py --config configs/pooling_kind.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | stages of 8, 16, 32 filters | a minute |
| `cpu` | CIFAR-10 | stages of 16, 32, 64 filters, 2 epochs | about 12 minutes |
| `paper` | CIFAR-10 | stages of 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. Pooling follows the ReLU, so that all three kinds pool numbers from 0 on.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E5",
    "statement": "Max pooling works better than average pooling.",
    "source": "N0, General pooling",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Is the largest of a window better than its mean?",
            "treatment": "max",
            "baseline": "average",
            "expect": "better",
        },
        {
            "question": "Is it better than the window's L2 norm?",
            "treatment": "max",
            "baseline": "l2",
            "expect": "better",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("pooling_kind", preset, CLAIM)
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """A minute on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms(8, stem="AVGPOOL2 -> ")
    digits_setting(config)
    config.claim.caveats += " They are smooth: all poolings see much the same."


def cpu(config: ConfigDict) -> None:
    """About 12 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms(16)
    short_setting(config)
    config.claim.caveats = (
        "Narrow nets, 2 epochs, no random crops. The claim was to be of average and L2 pooling; "
        "that N0 prefers max pooling to average pooling alone was seen after the runs. A rate is "
        "chosen by one run: average pooling's by one that validated better than most of those in "
        "the table, so that another may suit it better."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms(64)
    long_setting(config)


def arms(filters: int, stem: str = "") -> dict:
    """Three stages of two convolutions, each ended by one kind of 2x2 pooling."""

    def network(pooling: str) -> dict[str, dict[str, str]]:
        stage = f"[CONV3-{filters}*2^i -> BN -> RELU]*2 -> {pooling}"
        return {"model": {"name": f"INPUT -> {stem}[{stage}]*3 -> GAP -> FC"}}

    return {"max": network("POOL2"), "average": network("AVGPOOL2"), "l2": network("L2POOL2")}

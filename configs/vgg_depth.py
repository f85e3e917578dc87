"""E11: is depth critical, as VGG's configurations A to E show?

N0 ("Case studies"): VGGNet's "main contribution was in showing that the depth of the network is a
critical component for good performance". The arms are its table in small: 4, 7, 10 and 13
convolutions of 3x3 in three stages, which share their filters, their two poolings and their head.
Deeper is also more weights and MACs: the control has four convolutions with their filters made more
until it has the weights of thirteen. The notes say "deeper"; the paper finds that it saturates
(its D and E): the last step is a comparison of its own.

    python experiments/ablate.py --config configs/vgg_depth.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | stages of 8, 16, 32 filters | 2 minutes |
| `cpu` | CIFAR-10 at 16x16 | stages of 16, 32, 64 filters, 3 epochs | about 15 minutes |
| `paper` | CIFAR-10 | stages of 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. Every convolution is followed by a batch norm, where VGG had none and started its deep nets
from shallow ones: what depth does without it is E8's question. The paper's own nets have 8 (A), 10
(B), 13 (D) and 16 (E) convolutions, on ImageNet, with top-1 errors of 29.6, 28.7, 27.0 and 27.3% at
one test scale (Simonyan & Zisserman 2014, arXiv 1409.1556, table 3; A to E trained at scale 256).
"""

from ml_collections import ConfigDict

from cnnlab.evidence import (
    DEEP_RATES,
    blank_config,
    digits_setting,
    long_setting,
    preset_of,
    short_setting,
)

DEPTHS = {"conv4": (1, 1, 2), "conv7": (2, 2, 3), "conv10": (3, 3, 4), "conv13": (4, 4, 5)}
"""Convolutions in each stage."""


def _paper(value: str, nets: str) -> dict[str, str]:
    return {
        "value": value,
        "source": "Simonyan & Zisserman 2014, arXiv 1409.1556, table 3",
        "note": f"{nets}; ImageNet top-1 at scale 256",
    }


CLAIM = {
    "id": "E11",
    "statement": "Depth is critical: deeper nets of 3x3 convolutions are better, to a point.",
    "source": "N0, Case studies (VGGNet), and Simonyan & Zisserman 2014, arXiv 1409.1556",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Are thirteen convolutions better than four?",
            "treatment": "conv13",
            "baseline": "conv4",
            "expect": "better",
            "paper": _paper("-2.3 points (27.3 against 29.6)", "E, 16 convolutions, against A, 8"),
        },
        {
            "question": "Are thirteen better than four of as many weights?",
            "treatment": "conv13",
            "baseline": "conv4_wide",
            "expect": "better",
        },
        {
            "question": "Are seven better than four?",
            "treatment": "conv7",
            "baseline": "conv4",
            "expect": "better",
            "paper": _paper("-0.9 points (28.7 against 29.6)", "B, 10 convolutions, against A, 8"),
        },
        {
            "question": "Are ten better than seven?",
            "treatment": "conv10",
            "baseline": "conv7",
            "expect": "better",
            "paper": _paper("-1.7 points (27.0 against 28.7)", "D, 13 convolutions, against B, 10"),
        },
        {
            "question": "Are thirteen still better than ten?",
            "treatment": "conv13",
            "baseline": "conv10",
            "expect": "better",
            "paper": _paper("+0.3 points (27.3 against 27.0)", "E, 16 convolutions, against D, 13"),
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("vgg_depth", preset, CLAIM)
    config.order = (*DEPTHS, "conv4_wide")
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms((8, 16, 32), wide=(15, 30, 59), stem="AVGPOOL2 -> ")
    digits_setting(config)
    config.claim.caveats += " Too easy to tell depths apart."


def cpu(config: ConfigDict) -> None:
    """About 15 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((16, 32, 64), wide=(30, 59, 118), stem="AVGPOOL2 -> ")
    short_setting(config, epochs=3.0, checkpoint_epochs=0.5, rates=DEEP_RATES)
    config.claim.caveats = (
        "Narrow nets on images averaged down to 16x16, 3 epochs: for plain nets, which these are, "
        "depth is slow to train (E3), and three epochs may not show what it is worth. That "
        "thirteen do not beat ten is what 'to a point' says, and the paper's own figure. The "
        "control has the weights of thirteen, not their MACs."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms((64, 128, 256), wide=(118, 236, 473))
    long_setting(config)


def arms(widths: tuple[int, ...], wide: tuple[int, ...], stem: str = "") -> dict:
    """A net for each of `DEPTHS`; `wide` gives four convolutions the weights of thirteen."""

    def network(depths: tuple[int, ...], widths: tuple[int, ...]) -> dict[str, dict[str, str]]:
        stages = (f"[CONV3-{k} -> BN -> RELU]*{n}" for n, k in zip(depths, widths, strict=True))
        return {"model": {"name": f"INPUT -> {stem}{' -> POOL2 -> '.join(stages)} -> GAP -> FC"}}

    nets = {name: network(depths, widths) for name, depths in DEPTHS.items()}
    return nets | {"conv4_wide": network(DEPTHS["conv4"], wide)}

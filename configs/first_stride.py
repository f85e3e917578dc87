"""E7: do smaller strides work better, and larger ones cost less?

N0 and N1 ("Smaller strides work better in practice") and N3 ("a reduction in accuracy") speak of
the stride of a convolution. The arms' first convolution, 5x5, has stride 1, 2 or 4; what follows is
the same, but for the 2x2 poolings that the stride has made needless, so that all arms have the same
weights and end with the same map, a quarter of the image's side. What a stride of 4 saves is MACs:
the control has its filters made more until it has those of stride 1.

    python experiments/ablate.py --config configs/first_stride.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 32x32 | 8, 16, 32 filters | 2 minutes |
| `cpu` | CIFAR-10 | 16, 32, 64 filters, 2 epochs | about 12 minutes |
| `paper` | CIFAR-10 | 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. Stride 2 against 1, the smallest step, gives the verdict.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E7",
    "statement": "Smaller strides work better.",
    "source": "N0, Why use stride of 1 in CONV?; N1, Layer Sizing; N3, Convolutional Layer",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does stride 1, then pooling, do better than stride 2?",
            "treatment": "stride1",
            "baseline": "stride2",
            "expect": "better",
        },
        {
            "question": "Does it do better than stride 4?",
            "treatment": "stride1",
            "baseline": "stride4",
            "expect": "better",
        },
        {
            "question": "Does it do better than stride 4 at equal MACs?",
            "treatment": "stride1",
            "baseline": "stride4_wide",
            "expect": "better",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("first_stride", preset, CLAIM)
    config.model.options = {"fit": "crop"}
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The digits were enlarged from 8x8: stride 4 steps a pixel of theirs."""
    config.arms = arms((8, 16, 32), wide=(11, 21, 43))
    digits_setting(config)
    config.claim.caveats += " A stride of 4 loses next to nothing of them."


def cpu(config: ConfigDict) -> None:
    """About 12 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((16, 32, 64), wide=(22, 44, 87))
    short_setting(config)
    config.claim.caveats = (
        "Narrow nets, 2 epochs, no random crops. Only stride 4 has a control of equal MACs: "
        "against stride 2, what stride 1 gains is gained with more MACs too. What a stride does at "
        "once is done in its place by poolings, later: no arm tells the two apart."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms((64, 128, 256), wide=(83, 165, 330))
    long_setting(config)


def arms(widths: tuple[int, int, int], wide: tuple[int, int, int]) -> dict:
    """The net at three strides; `wide` gives the largest the MACs of the smallest."""

    def network(widths: tuple[int, int, int], stride: int, *poolings: str) -> dict:
        first, *rest = widths
        steps = ["INPUT", f"CONV5-{first}/{stride} -> BN -> RELU"]
        for pooling, width in zip(poolings, rest, strict=True):
            steps += [pooling, f"[CONV3-{width} -> BN -> RELU]*2"]
        return {"model": {"name": " -> ".join(filter(None, [*steps, "GAP", "FC"]))}}

    return {
        "stride1": network(widths, 1, "POOL2", "POOL2"),
        "stride2": network(widths, 2, "", "POOL2"),
        "stride4": network(widths, 4, "", ""),
        "stride4_wide": network(wide, 4, "", ""),
    }

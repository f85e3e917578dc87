"""E4: does zero padding improve accuracy, because without it the border is washed away?

N0 ("Why use padding?") and N1 say that padding keeps the size of the maps and "actually improves
performance". The arms are one net with every convolution padded to keep its size, and with none
padded: equal weights, but maps of 28, 10 and 1 pixels where the padded net has 32, 16 and 8, and so
fewer MACs. The control has the unpadded net's filters made more until it has the padded net's MACs.

    python experiments/ablate.py --config configs/zero_padding.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 32x32 | stages of 8, 16, 32 filters | 2 minutes |
| `cpu` | CIFAR-10 | stages of 16, 32, 64 filters, 2 epochs | about 15 minutes |
| `paper` | CIFAR-10 | stages of 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. The unpadded net is the deepest of two convolutions to a pooling that 32x32 allows.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E4",
    "statement": "Zero padding improves accuracy.",
    "source": "N0, Why use padding?; N1, Layer Sizing",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Is the padded net better?",
            "treatment": "padded",
            "baseline": "valid",
            "expect": "better",
        },
        {
            "question": "Is it better at equal MACs?",
            "treatment": "padded",
            "baseline": "valid_wide",
            "expect": "better",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("zero_padding", preset, CLAIM)
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. Digits stand in the middle of their images: little border to lose."""
    config.arms = arms((8, 16, 32), wide=(13, 25, 51))
    digits_setting(config)
    config.claim.caveats += " Digits stand in the middle of their images: there is little to lose."


def cpu(config: ConfigDict) -> None:
    """About 15 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((16, 32, 64), wide=(24, 56, 112))
    short_setting(config)
    config.claim.caveats = (
        "Narrow nets, 2 epochs, no random crops. Unpadded, the maps shrink to 28, 10 and 1 pixels: "
        "the padded net makes more MACs, and the control that makes as many has more weights. No "
        "arm loses the border and nothing else."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms((64, 128, 256), wide=(103, 207, 413))
    long_setting(config)


def arms(widths: tuple[int, ...], wide: tuple[int, ...]) -> dict:
    """The net, padded and not; `wide` gives the unpadded one the padded one's MACs."""

    def network(widths: tuple[int, ...], padding: str) -> dict[str, dict[str, str]]:
        stages = " -> POOL2 -> ".join(f"[CONV3-{k}{padding} -> BN -> RELU]*2" for k in widths)
        return {"model": {"name": f"INPUT -> {stages} -> GAP -> FC"}}

    return {
        "padded": network(widths, ""),
        "valid": network(widths, "p0"),
        "valid_wide": network(wide, "p0"),
    }

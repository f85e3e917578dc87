"""E8: does batch normalisation make deep nets trainable, the more so at high learning rates?

N0 ("Batch Normalization") follows Ioffe & Szegedy 2015 (arXiv 1502.03167). The arms are one net of
twelve convolutions with a BN before every ReLU and without, each at three learning rates ten times
apart. The lowest, kindest to the net without, gives the verdict; that batch norm does more at high
rates is an interaction, and is put as one. A run whose loss becomes no number is not left out: it
counts with the error of guessing.

    python experiments/ablate.py --config configs/batch_norm.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | stages of 8, 16, 32 filters | 2 minutes |
| `cpu` | CIFAR-10 at 16x16 | stages of 16, 32, 64 filters, 3 epochs | about 15 minutes |
| `paper` | CIFAR-10 | stages of 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm. Weights are He's in all arms; the net without BN has a bias in
every convolution, as many as the other has offsets, and lacks the other's scales.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E8",
    "statement": "Batch normalisation makes deep nets trainable, the more so at high rates.",
    "source": "N0, Batch Normalization, after Ioffe & Szegedy 2015, arXiv 1502.03167",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does it help at the low rate?",
            "treatment": "with_low",
            "baseline": "without_low",
            "expect": "better",
        },
        {
            "question": "Does it help at the middle rate?",
            "treatment": "with_middle",
            "baseline": "without_middle",
            "expect": "better",
        },
        {
            "question": "Does it help at the high rate?",
            "treatment": "with_high",
            "baseline": "without_high",
            "expect": "better",
        },
        {
            "question": "Does it help more at the high rate than at the low one?",
            "treatment": "with_high",
            "baseline": "without_high",
            "beyond": ("with_low", "without_low"),
            "expect": "better",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("batch_norm", preset, CLAIM)
    config.train.on_divergence = "chance"
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms(8, rates=(0.005, 0.05, 0.5), stem="AVGPOOL2 -> ")
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 15 minutes on two cores."""
    config.arms = arms(16, rates=(0.005, 0.05, 0.5), stem="AVGPOOL2 -> ")
    short_setting(config, rates=(), epochs=3.0, checkpoint_epochs=0.5)
    config.claim.caveats = (
        "Narrow nets on images averaged down to 16x16, 3 epochs. No net is worse than guessing, "
        "which is where the one without batch norm ends at the highest rate: how much more batch "
        "norm helps there is measured from that. At the lowest it trains too, and worse. The "
        "highest rate harms the net with batch norm too, and none below the lowest was tried."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms(64, rates=(0.01, 0.1, 1.0))
    long_setting(config, rates=())


def arms(filters: int, rates: tuple[float, float, float], stem: str = "") -> dict:
    """Three stages of four convolutions, with and without BN, at each of the rates."""

    def network(norm: str) -> str:
        stage = f"[CONV3-{filters}*2^i{norm} -> RELU]*4 -> POOL2"
        return f"INPUT -> {stem}[{stage}]*3 -> GAP -> FC"

    return {
        f"{arm}_{name}": {"model": {"name": network(norm)}, "optimizer": {"learning_rate": rate}}
        for arm, norm in (("with", " -> BN"), ("without", ""))
        for name, rate in zip(("low", "middle", "high"), rates, strict=True)
    }

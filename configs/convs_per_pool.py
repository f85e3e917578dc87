"""E10: do two convolutions before each pooling beat one?

N0 ("Layer Patterns") calls two "generally a good idea for larger and deeper networks", as stacked
layers "develop more complex features of the input volume before the destructive pooling operation",
and puts N at 3 or less. The arms have N = 1, 2, 3 in each of three stages. More layers are more
weights and MACs, too: the control has one convolution a stage, with its filters made more until it
has the weights of N = 2.

    python experiments/ablate.py --config configs/convs_per_pool.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | stages of 8, 16, 32 filters | a minute |
| `cpu` | CIFAR-10 at 16x16 | stages of 32, 64, 128 filters, 2 epochs | about 15 minutes |
| `paper` | CIFAR-10 | stages of 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. The lowest rate of `cpu` came after its first runs: the lowest of those before was `three`'s.
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

CLAIM = {
    "id": "E10",
    "statement": "Two convolutions before each pooling beat one.",
    "source": "N0, Layer Patterns",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Are two better than one?",
            "treatment": "two",
            "baseline": "one",
            "expect": "better",
        },
        {
            "question": "Are two better than one of equal weights?",
            "treatment": "two",
            "baseline": "one_wide",
            "expect": "better",
        },
        {
            "question": "Are three better than two?",
            "treatment": "three",
            "baseline": "two",
            "expect": "better",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("convs_per_pool", preset, CLAIM)
    config.order = ("one", "two", "three", "one_wide")
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """A minute on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms((8, 16, 32), wide=(14, 28, 56), stem="AVGPOOL2 -> ")
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 15 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((32, 64, 128), wide=(56, 112, 225), stem="AVGPOOL2 -> ")
    short_setting(config, rates=DEEP_RATES)
    config.claim.caveats = (
        "Images averaged down to 16x16, 2 epochs, no random crops. The control has the weights of "
        "two convolutions a stage; three have none, and no arm has equal MACs."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms((64, 128, 256), wide=(113, 226, 452))
    long_setting(config)


def arms(widths: tuple[int, ...], wide: tuple[int, ...], stem: str = "") -> dict:
    """A stage for each width, of one, two or three convolutions; `wide` gives one two's weights."""

    def network(widths: tuple[int, ...], n: int) -> dict[str, dict[str, str]]:
        stages = " -> ".join(f"[CONV3-{k} -> BN -> RELU]*{n} -> POOL2" for k in widths)
        return {"model": {"name": f"INPUT -> {stem}{stages} -> GAP -> FC"}}

    return {
        "one": network(widths, 1),
        "two": network(widths, 2),
        "three": network(widths, 3),
        "one_wide": network(wide, 1),
    }

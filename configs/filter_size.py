"""E20: are small filters, 3x3 or at most 5x5, the better default?

N0 ("Layer Sizing Patterns"): the conv layers should be using small filters, 3x3 or at most 5x5;
larger ones are common on the first layer only. Nets of as many layers, of filters of one size, 3,
5, 7 or 9, at equal cost: the larger the filters, the fewer of them, until all nets make the same
number of multiplications, to 2%. (At equal widths the larger filters would win the weights; at
equal cost all nets have about as many.)

    python experiments/ablate.py --config configs/filter_size.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | four layers, those of 3x3 of 16 and 32 filters | a minute |
| `cpu` | CIFAR-10 | four layers, those of 3x3 of 20 and 40 filters, 2 epochs | about 25 minutes |
| `paper` | CIFAR-10 | six layers, those of 3x3 of 64 to 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. 5x5 is as good if it loses less than one point, about twice the spread of single runs in E1.
The highest rate of `cpu` came after its first runs, where the one below was the choice of 7x7 and
9x9. `paper` follows no paper: it is the same on larger nets, trained for longer.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E20",
    "statement": "Small filters, 3x3 or at most 5x5, are the better default.",
    "source": "N0 and N1, Layer Sizing Patterns",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does 3x3 beat 7x7 at equal cost?",
            "treatment": "filters_3x3",
            "baseline": "filters_7x7",
            "expect": "better",
        },
        {
            "question": "Does 5x5 beat 7x7?",
            "treatment": "filters_5x5",
            "baseline": "filters_7x7",
            "expect": "better",
        },
        {
            "question": "Does 7x7 beat 9x9?",
            "treatment": "filters_7x7",
            "baseline": "filters_9x9",
            "expect": "better",
        },
        {
            "question": "Is 5x5 as good as 3x3?",
            "treatment": "filters_5x5",
            "baseline": "filters_3x3",
            "expect": "not worse",
            "margin": 1.0,
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("filter_size", preset, CLAIM)
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms({3: (16, 32), 5: (9, 20), 7: (6, 15), 9: (5, 11)}, stem="AVGPOOL2 -> ")
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 25 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms({3: (20, 40), 5: (12, 23), 7: (8, 17), 9: (6, 13)})
    short_setting(config, checkpoint_epochs=1.0, rates=(0.05, 0.125, 0.3, 0.6))
    config.claim.caveats = (
        "Narrow nets, two epochs: at equal cost the nets of large filters have few of them. The "
        "larger the filter, the larger the receptive field, and the more of it that lies over the "
        "border."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms({3: (64, 128, 256), 5: (38, 77, 153), 7: (27, 55, 109), 9: (21, 42, 84)})
    long_setting(config)


def arms(widths: dict[int, tuple[int, ...]], stem: str = "") -> ConfigDict:
    """A net for each size of filter, a stage of two layers for each of its widths."""

    def network(size: int, widths: tuple[int, ...]) -> dict[str, dict[str, str]]:
        stages = " -> ".join(f"[CONV{size}-{k} -> BN -> RELU]*2 -> POOL2" for k in widths)
        return {"model": {"name": f"INPUT -> {stem}{stages} -> GAP -> FC"}}

    return ConfigDict({f"filters_{f}x{f}": network(f, k) for f, k in widths.items()})

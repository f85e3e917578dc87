"""E13: is full connectivity wasteful, and does it overfit?

N0 ("Regular Neural Nets don't scale well to full images"): full connectivity is wasteful, and the
huge number of parameters would quickly lead to overfitting. A convolutional net and a fully
connected one (MLP) of as many weighted layers and, to 2%, as many weights; and the MLP once more
with layers four times as wide, for what more weights do. Overfitting is measured as the
generalisation gap: test error minus the error on the training images, these as they are and in
evaluation (probe `gap`). Nothing is augmented, for that works against overfitting too. A small gap
alone is no merit - a net that learns nothing has none -, so test errors are compared as well.

    python experiments/ablate.py --config configs/full_connectivity.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | CNN of 16, 32, 64 filters | a minute |
| `cpu` | CIFAR-10 at 16x16 | CNN of 32, 64, 128 filters, 10 epochs | about 13 minutes |
| `paper` | CIFAR-10 | CNN of 64, 128, 256 filters, 100 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. `paper` follows no paper: it is the same on larger nets, trained for longer.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, long_digits_setting, preset_of

CLAIM = {
    "id": "E13",
    "statement": "Full connectivity is wasteful, and its weights lead to overfitting.",
    "source": "N0, Regular Neural Nets don't scale well to full images",
    "metric": "generalisation_gap",
    "caveats": "",
    "comparisons": (
        {
            "question": "Is the convolutional net's gap smaller at equal weights?",
            "treatment": "cnn",
            "baseline": "mlp",
            "expect": "better",
        },
        {
            "question": "Does the fully connected net overfit more with more weights?",
            "treatment": "mlp_wide",
            "baseline": "mlp",
            "expect": "worse",
        },
        {
            "question": "Is the convolutional net the better one at equal weights?",
            "treatment": "cnn",
            "baseline": "mlp",
            "expect": "better",
            "metric": "test_error",
        },
        {
            "question": "Is it still, against many times the weights?",
            "treatment": "cnn",
            "baseline": "mlp_wide",
            "expect": "better",
            "metric": "test_error",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("full_connectivity", preset, CLAIM)
    config.probe = "gap"
    config.augment.update(crop_padding=0, flip=False)
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms((16, 32, 64), hidden=65, stem="AVGPOOL2 -> ")
    long_digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 13 minutes on two cores, with the runs that choose the rates: time to overfit."""
    config.arms = arms((32, 64, 128), hidden=100, stem="AVGPOOL2 -> ")
    config.rates = (0.01, 0.03, 0.1)
    config.data.name = "cifar10"
    config.train.update(batch_size=32, epochs=10.0, evaluate_epochs=5.0, checkpoint_epochs=5.0)
    config.schedule.warmup_epochs = 0.25
    config.claim.caveats = (
        "CIFAR-10 pooled to 16x16; no augmentation. The convolutional net makes many more "
        "multiplications with its weights than the fully connected ones do with theirs, and fits "
        "its training images far better: at equal weights a larger gap is that fit's, and no sign "
        "of a worse net, as the test errors show. N0 speaks of the huge number of weights that "
        "full connectivity takes; what more of them do is the second comparison."
    )


def paper(config: ConfigDict) -> None:
    """On an accelerator: images at full size, until training is over."""
    config.arms = arms((64, 128, 256), hidden=124)
    config.rates = (0.01, 0.03, 0.1)
    config.data.name = "cifar10"
    config.train.update(batch_size=128, epochs=100.0, evaluate_epochs=5.0, checkpoint_epochs=5.0)
    config.schedule.warmup_epochs = 1.0


def arms(widths: tuple[int, int, int], hidden: int, stem: str = "") -> ConfigDict:
    """The three nets; `hidden` gives the MLP the convolutional net's weights."""
    stages = " -> ".join(f"CONV3-{k} -> RELU -> POOL2" for k in widths)
    networks = {
        "cnn": stages,
        "mlp": f"[FC-{hidden} -> RELU]*3",
        "mlp_wide": f"[FC-{4 * hidden} -> RELU]*3",
    }
    return ConfigDict(
        {
            arm: {"model": {"name": f"INPUT -> {stem}{layers} -> FC"}}
            for arm, layers in networks.items()
        }
    )

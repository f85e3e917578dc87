"""E17: does the order of the steps in a residual block matter, once the net is deep?

The notes leave the order open: N3 gives a block as x + F(x), N0 puts batch normalisation "before
non-linearities". He et al. 2016 (arXiv 1603.05027, fig. 4) compare five orders, and find that full
pre-activation - norm and ReLU before each convolution, nothing behind the sum - helps deep nets.
The arms are the five orders of one net with as many weights: what differs is where norms and ReLUs
stand.

    python experiments/ablate.py --config configs/block_order.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits, stem of stride 2 | 20 layers, 8, 16, 32 filters | two minutes |
| `cpu` | CIFAR-10, stem of stride 2 | 56 layers, 8, 16, 32 filters, 1.25 epochs | 25 minutes |
| `paper` | CIFAR-10 | 110 layers, 64,000 steps | not run yet |

All presets have 5 seeds an arm; `cpu` chooses each arm's learning rate on the validation split.
`digits` is not deep, and shows only that all orders train. The margin of the equivalence is one
point, about twice the spread of single runs in E1. What He et al. 2016 found stands beside the
comparisons (their table 2, ResNet-110 on CIFAR-10).
"""

from ml_collections import ConfigDict

from cnnlab.evidence import DEEP_RATES, blank_config, digits_setting, preset_of, short_setting

PAPER = {
    "source": "He et al. 2016, arXiv 1603.05027, table 2",
    "note": "ResNet-110, CIFAR-10, median of 5 runs",
}
CLAIM = {
    "id": "E17",
    "statement": "The order inside a block matters: full pre-activation helps deep nets.",
    "source": "He et al. 2016, arXiv 1603.05027; N3 and N0 leave the order open",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Is full pre-activation better than the original order?",
            "treatment": "full_preact",
            "baseline": "original",
            "expect": "better",
            "paper": {"value": "-0.24 points (6.37 against 6.61)", **PAPER},
        },
        {
            "question": "Is a norm behind the sum worse?",
            "treatment": "bn_after_add",
            "baseline": "original",
            "expect": "worse",
            "paper": {"value": "+1.56 points (8.17 against 6.61)", **PAPER},
        },
        {
            "question": "Is a ReLU before the sum worse?",
            "treatment": "relu_before_add",
            "baseline": "original",
            "expect": "worse",
            "paper": {"value": "+1.23 points (7.84 against 6.61)", **PAPER},
        },
        {
            "question": "Does it do nothing to move the ReLU alone to the front?",
            "treatment": "relu_preact",
            "baseline": "original",
            "expect": "equivalent",
            "margin": 1.0,
            "paper": {"value": "+0.10 points (6.71 against 6.61)", **PAPER},
        },
    ),
}

ORDERS = ("original", "bn_after_add", "relu_before_add", "relu_preact", "full_preact")


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("block_order", preset, CLAIM)
    config.order = ORDERS
    config.arms = {order: {"model": {"options": {"order": order}}} for order in ORDERS}
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop: 20 layers, half the paper's filters, on 16x16."""
    config.model.name = "resnet20"
    config.model.options.update(filters=8, stem_stride=2)
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 25 minutes on two cores: the deepest net that gets through the data in that time."""
    config.model.name = "resnet56"
    config.model.options.update(filters=8, stem_stride=2)
    short_setting(config, epochs=1.25, evaluate_epochs=0.25, rates=DEEP_RATES)
    config.claim.caveats = (
        "One and a quarter epochs of a narrow net of 56 layers: what is compared is how fast deep "
        "nets come to learn. All arms have one depth: whether the order matters less in a shallow "
        "net is not asked."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's days: the recipe of He et al. 2015 (sec. 4.2).

    It has 110 layers warm up at a rate of 0.01 until they have begun to learn, in about 400 steps.
    """
    config.model.name = "resnet110"
    config.data.name = "cifar10"
    config.train.update(batch_size=128, steps=64_000, evaluate_epochs=4.0, checkpoint_epochs=4.0)
    config.optimizer.update(learning_rate=0.1, nesterov=False, weight_decay=1e-4)
    config.schedule.update(name="step", warmup_steps=400, warmup_rate=0.01)
    config.augment.update(crop_padding=4, flip=True)

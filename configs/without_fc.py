"""E9: can the fully connected layers be removed with no loss, for far fewer parameters?

N0 says so of VGGNet ("it was since found that these FC layers can be removed with no performance
downgrade"), and GoogLeNet's global average pooling is how. The arms share their convolutions and
differ in what stands on the last map: VGG's head in small, two hidden FC layers with dropout; the
same without the dropout; one FC on the whole map; or global average pooling and one FC. The third
tells whether it is the hidden layers or the averaging that makes a difference, and the second
whether it is the layers or their dropout: in a short run dropout costs more than it gives.

    python experiments/ablate.py --config configs/without_fc.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | 8, 16, 32 filters, FC-64 | a minute |
| `cpu` | CIFAR-10 at 16x16 | 32, 64, 128 filters, FC-256, 2 epochs | about 25 minutes |
| `paper` | CIFAR-10 | 64, 128, 256 filters, FC-1024, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. "No loss" is a loss of less than one point: runs of one net spread by about half a point, so
that five seeds can tell one point and no less. This was written as an equivalence before the runs
of `cpu`, which would have called the gain that they showed a refutation of "no loss"; the margin is
what it was. The head without dropout came after those runs too, and gives the verdict, since in
their two epochs the one with it had only begun to learn. So did the three lowest rates of `cpu`:
the lowest of the first three was three arms' choice.
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
    "id": "E9",
    "statement": "The FC layers can be removed with no loss, for far fewer parameters.",
    "source": "N0, Case studies (VGGNet)",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Is averaging each map as good as hidden FC layers without dropout?",
            "treatment": "gap",
            "baseline": "no_dropout",
            "expect": "not worse",
            "margin": 1.0,
        },
        {
            "question": "Is it as good as hidden FC layers with dropout?",
            "treatment": "gap",
            "baseline": "hidden_fc",
            "expect": "not worse",
            "margin": 1.0,
        },
        {
            "question": "Is one FC on the whole map as good as those?",
            "treatment": "one_fc",
            "baseline": "hidden_fc",
            "expect": "not worse",
            "margin": 1.0,
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("without_fc", preset, CLAIM)
    config.order = ("hidden_fc", "no_dropout", "one_fc", "gap")
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """A minute on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms(8, hidden=64, stem="AVGPOOL2 -> ")
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 25 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms(32, hidden=256, stem="AVGPOOL2 -> ")
    short_setting(config, rates=(0.005, 0.01, *DEEP_RATES))
    config.claim.caveats = (
        "Images averaged down to 16x16. In 2 epochs nothing over-fits, so that dropout costs more "
        "than it gives: the head without it gives the verdict. That head, and 'no loss' read as no "
        "more than a point lost, came after the first runs were seen."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms(64, hidden=1024)
    long_setting(config)


def arms(filters: int, hidden: int, stem: str = "") -> dict:
    """Six convolutions and two poolings, with each of four heads."""
    stages = (filters, 2 * filters, 4 * filters)
    body = " -> POOL2 -> ".join(f"[CONV3-{width} -> BN -> RELU]*2" for width in stages)

    def network(head: str) -> dict[str, dict[str, str]]:
        return {"model": {"name": f"INPUT -> {stem}{body} -> {head}"}}

    return {
        "hidden_fc": network(f"[FC-{hidden} -> RELU -> DROP0.5]*2 -> FC"),
        "no_dropout": network(f"[FC-{hidden} -> RELU]*2 -> FC"),
        "one_fc": network("FC"),
        "gap": network("GAP -> FC"),
    }

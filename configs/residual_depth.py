"""E3: do plain nets get worse when they get deeper, and residual nets not?

N3 ("The ResNet Architecture") tells of He et al. 2015 (arXiv 1512.03385, sec. 4.2): 6n + 2 layers
in three stages, plain, or with shortcuts around every two convolutions. A shortcut of option A has
no weights, so that both kinds have equal weights and MACs at every depth. The claim is an
interaction, and is put as one: what depth does to the plain net, less what it does to the residual
net. The others take it apart: each kind by itself, and the two kinds at each depth.

    python experiments/ablate.py --config configs/residual_depth.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits, conv1 of stride 2 | 8, 14, 20 layers from 8 filters | 2 minutes |
| `cpu` | CIFAR-10, conv1 of stride 2 | 8, 14, 20, 32 layers, 2.5 epochs | about 45 minutes |
| `paper` | CIFAR-10 | 20, 32, 44, 56, 110 layers, 64,000 steps | not run yet |

All presets have 5 seeds an arm. `paper` is the paper's recipe: batches of 128, rate 0.1 divided by
10 at 32,000 and 48,000 steps, weight decay 1e-4, momentum 0.9 without Nesterov's step, crops of
images padded by 4 and mirrored; both nets of 110 layers begin with 0.01 until the training error is
below 80%, which took the paper about 400 steps: here it is 400. Here kernels alone decay, colours
are normalised by channel where the paper subtracts a mean of each pixel, and 5,000 of the 50,000
training images are held out, with which the paper only chose the length. A run that diverges counts
as guessing. The paper gives both kinds one rate, and so does `paper`; `cpu` chooses each arm's on
the validation split.

The paper gives no figure for plain nets on CIFAR-10 but curves (fig. 6); its residual nets go from
8.75% (20 layers) to 6.97% (56) and 6.43% (110, best of five) test error (table 6).
"""

from ml_collections import ConfigDict

from cnnlab.evidence import DEEP_RATES, blank_config, digits_setting, preset_of, short_setting

KINDS = ("plain", "resnet")
TABLE_6 = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.43}
"""Test error in percent of the residual nets (He et al. 2015, table 6)."""


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    depths = {"digits": (8, 14, 20), "cpu": (8, 14, 20, 32), "paper": (20, 32, 44, 56, 110)}
    shallow, *_, deep = depths[preset] if preset != "paper" else (20, 56)
    config = blank_config("residual_depth", preset, claim(shallow, deep, depths[preset]))
    config.order = tuple(f"{kind}{depth}" for kind in KINDS for depth in depths[preset])
    config.arms = {name: {"model": {"name": name}} for name in config.order}
    fill(config)
    return config.lock()


def claim(shallow: int, deep: int, depths: tuple[int, ...]) -> dict:
    """The claim, about nets of `shallow` and `deep` layers, and the kinds at the other depths."""
    comparisons = [
        {
            "question": "Does depth do more harm to the plain net than to the residual net?",
            "treatment": f"plain{deep}",
            "baseline": f"plain{shallow}",
            "beyond": (f"resnet{deep}", f"resnet{shallow}"),
            "expect": "worse",
        },
        {
            "question": "Does depth make the plain net worse?",
            "treatment": f"plain{deep}",
            "baseline": f"plain{shallow}",
            "expect": "worse",
        },
        {
            "question": "Does depth make the residual net better?",
            "treatment": f"resnet{deep}",
            "baseline": f"resnet{shallow}",
            "expect": "better",
        }
        | _paper(deep, shallow),
    ]
    comparisons += [
        {
            "question": f"Is the residual net the better one at {depth} layers?",
            "treatment": f"resnet{depth}",
            "baseline": f"plain{depth}",
            "expect": "better",
        }
        for depth in depths
        if depth != shallow
    ]
    return {
        "id": "E3",
        "statement": "Plain nets get worse when they get deeper, residual nets do not.",
        "source": "N3, The ResNet Architecture, after He et al. 2015, arXiv 1512.03385",
        "metric": "test_error",
        "caveats": "",
        "comparisons": tuple(comparisons),
    }


def _paper(deep: int, shallow: int) -> dict:
    if not {deep, shallow} <= set(TABLE_6):
        return {}
    errors = TABLE_6[deep], TABLE_6[shallow]
    value = f"{errors[0] - errors[1]:+.2f} points ({errors[0]} against {errors[1]})"
    return {"paper": {"value": value, "source": "He et al. 2015, arXiv 1512.03385, table 6"}}


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop: the machinery at work. Too easy for depth to tell."""
    config.model.options = {"filters": 8, "stem_stride": 2}
    digits_setting(config)
    config.claim.caveats += " Too easy to tell depths apart, and 20 layers are not deep."


def cpu(config: ConfigDict) -> None:
    """About 45 minutes on two cores: the paper's nets up to 32 layers, on maps of 16, 8, 4."""
    config.model.options = {"stem_stride": 2}
    short_setting(config, epochs=2.5, evaluate_epochs=0.5, rates=DEEP_RATES)
    config.claim.caveats = (
        "conv1 has stride 2, for a quarter of the MACs, and 2.5 epochs are too few for a deep net "
        "to show all it can do: this is about how fast depth can be trained as much as how well. "
        "The paper's 44, 56 and 110 layers are left to the preset `paper`."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: He et al. 2015, sec. 4.2, and its start for 110 layers."""
    config.data.name = "cifar10"
    config.train.update(batch_size=128, steps=64_000, evaluate_steps=2_000, checkpoint_steps=2_000)
    config.optimizer.update(learning_rate=0.1, nesterov=False, weight_decay=1e-4)
    config.schedule.name = "step"
    config.augment.update(crop_padding=4, flip=True)
    config.train.on_divergence = "chance"
    for kind in KINDS:
        config.arms[f"{kind}110"].schedule = {"warmup_steps": 400, "warmup_rate": 0.01}

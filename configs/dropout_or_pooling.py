"""E16: is dropout a better regulariser than pooling?

N3 ("Pooling Layer") gives it as a reason why pooling has fallen out of favour: dropout is a much
better regularizer. Two nets of the same convolutions, as many weights: one halves the maps by a
stride, the other by a pooling after the same convolution at stride 1; each without dropout and with
it behind every halving. What dropout gains the strided net is held against what pooling gains it;
the interaction says whether the two do the same work. Nothing is augmented and nothing normalised
by the batch, for both regularise as well. (Pooling is not only a regulariser: before it a
convolution is computed at four times as many places.)

    python experiments/ablate.py --config configs/dropout_or_pooling.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | two stages of 16, 32 filters | a minute |
| `cpu` | CIFAR-10 at 16x16 | two stages of 32, 64 filters, 5 epochs | about 17 minutes |
| `paper` | CIFAR-10 | base C and Strided-CNN C, 350 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. `paper` takes the nets, the images' preparation, the rates of dropout and the schedule of
Springenberg et al. 2014 (arXiv 1412.6806), who do not train without dropout; no figure of theirs
can stand beside ours.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, long_digits_setting, preset_of

CLAIM = {
    "id": "E16",
    "statement": "Dropout is a better regulariser than pooling.",
    "source": "N3, Pooling Layer",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does dropout gain a strided net more than pooling does?",
            "treatment": "strided_dropout",
            "baseline": "pooled",
            "expect": "better",
        },
        {
            "question": "Does it narrow the gap between training and test more?",
            "treatment": "strided_dropout",
            "baseline": "pooled",
            "expect": "better",
            "metric": "generalisation_gap",
        },
        {
            "question": "Does dropout gain a strided net anything?",
            "treatment": "strided_dropout",
            "baseline": "strided",
            "expect": "better",
        },
        {
            "question": "Does pooling?",
            "treatment": "pooled",
            "baseline": "strided",
            "expect": "better",
        },
        {
            "question": "Does dropout gain less where there is pooling?",
            "treatment": "pooled_dropout",
            "baseline": "pooled",
            "beyond": ("strided_dropout", "strided"),
            "expect": "worse",
        },
    ),
}

HALVINGS = {"strided": ("/2", ""), "pooled": ("", " -> {pool}")}
"""The stride of a stage's last convolution, and what comes behind it."""


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("dropout_or_pooling", preset, CLAIM)
    config.probe = "gap"
    config.model.options.fit = "crop"
    config.augment.update(crop_padding=0, flip=False)
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms((16, 32), stem="AVGPOOL2 -> ", rate=0.25)
    long_digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 17 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((32, 64), stem="AVGPOOL2 -> ", rate=0.25)
    config.rates = (0.01, 0.03, 0.1)
    config.data.name = "cifar10"
    config.train.update(batch_size=32, epochs=5.0, evaluate_epochs=2.5, checkpoint_epochs=2.5)
    config.schedule.warmup_epochs = 0.25
    config.claim.caveats = (
        "CIFAR-10 pooled to 16x16, five epochs, a quarter dropped: short runs of narrow nets give "
        "a regulariser less to do than the papers' do. The pooled nets make more MACs, since their "
        "convolutions have stride 1, and no arm makes up for it. What regularises is to generalise "
        "better, and so the test error decides; by the gap between training and test alone dropout "
        "regularises more, at the cost of both errors."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's days: nets and schedule of Springenberg et al. 2014, no augmentation."""
    head = "CONV3-192 -> RELU -> CONV1-192 -> RELU -> CONV1-10 -> RELU -> GAP"
    config.arms = arms((96, 192), pool="POOL3/2p1", rate=0.5, input_rate=0.2, head=head)
    config.data.update(name="cifar10", preprocess="gcn_zca")
    config.rates = (0.01, 0.05, 0.1, 0.25)
    config.train.update(batch_size=128, epochs=350.0, evaluate_epochs=10.0, checkpoint_epochs=10.0)
    config.optimizer.update(nesterov=False, weight_decay=1e-3)
    config.schedule.name = "step"
    config.schedule.milestones = (200 / 350, 250 / 350, 300 / 350)


def arms(
    widths: tuple[int, ...],
    *,
    rate: float,
    input_rate: float = 0.0,
    stem: str = "",
    pool: str = "POOL2",
    head: str = "GAP -> FC",
) -> ConfigDict:
    """Both ways to halve the maps, without and with dropout of `rate` behind each halving."""

    def network(stride: str, end: str, dropout: bool) -> dict[str, dict[str, str]]:
        drop = f" -> DROP{rate:g}" if dropout else ""
        first = f"DROP{input_rate:g} -> " if dropout and input_rate else ""
        stages = " -> ".join(
            f"CONV3-{k} -> RELU -> CONV3-{k}{stride} -> RELU{end}{drop}" for k in widths
        )
        return {"model": {"name": f"INPUT -> {first}{stem}{stages} -> {head}"}}

    return ConfigDict(
        {
            kind + suffix: network(stride, end.format(pool=pool), bool(suffix))
            for kind, (stride, end) in HALVINGS.items()
            for suffix in ("", "_dropout")
        }
    )

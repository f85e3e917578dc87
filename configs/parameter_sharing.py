"""E12: is sharing a filter over all positions a gain, and is it one on centred images too?

N2 ("Parameter Sharing"): if a feature is useful at one position it should be useful at another;
where images have a centred structure the assumption may not make sense, and a locally-connected
layer can be right. Convolutional and locally connected nets of the same sizes are trained on three
data sets: CIFAR-10, MNIST, whose digits are centred, and MNIST with each image moved for good by up
to 4 pixels on each axis (`mnist_shifted`: the same digits, whole, in training and in test). Layer
by layer the two nets make as many multiplications and activations; the locally connected one has a
filter of its own at every position and so tens of times the weights. The verdict is that of the
interaction: what sharing gains on shifted digits beyond what it gains on centred ones.

    python experiments/ablate.py --config configs/parameter_sharing.py:cpu

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `cpu` | CIFAR-10 at 16x16, MNIST | two layers of 16 and 32 filters, 2 epochs | about 20 minutes |
| `paper` | CIFAR-10, MNIST | two layers of 32 and 64 filters, 50 epochs | not run yet |

All presets have 5 seeds an arm, whose learning rate is chosen on the validation split. There is no
preset `digits`: scikit-learn's digits fill their frame and cannot be moved. `paper` follows no
paper: it is the same on larger nets, trained for longer.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, preset_of

CLAIM = {
    "id": "E12",
    "statement": "Sharing filters over positions pays, and pays less where images are centred.",
    "source": "N2 and N0, Parameter Sharing",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does sharing gain more on shifted digits than on centred ones?",
            "treatment": "conv_shifted",
            "baseline": "local_shifted",
            "beyond": ("conv_centred", "local_centred"),
            "expect": "better",
        },
        {
            "question": "Does sharing pay on CIFAR-10?",
            "treatment": "conv_cifar10",
            "baseline": "local_cifar10",
            "expect": "better",
        },
        {
            "question": "Does sharing pay on shifted digits?",
            "treatment": "conv_shifted",
            "baseline": "local_shifted",
            "expect": "better",
        },
        {
            "question": "Is it indifferent on centred digits?",
            "treatment": "conv_centred",
            "baseline": "local_centred",
            "expect": "equivalent",
            "margin": 0.3,  # nine of the 3,000 test images of our copy
        },
    ),
}

DATA = {"cifar10": "cifar10", "centred": "mnist", "shifted": "mnist_shifted"}
"""The data set behind the second half of an arm's name."""


def get_config(preset: str = "cpu") -> ConfigDict:
    """The ablation under a preset: "cpu" or "paper"."""
    fill = preset_of({"cpu": cpu, "paper": paper}, preset)
    config = blank_config("parameter_sharing", preset, CLAIM)
    fill(config)
    return config.lock()


def cpu(config: ConfigDict) -> None:
    """About 20 minutes on two cores, with the runs that choose the rates: narrow nets."""
    config.arms = arms((16, 32), cifar10_stem="AVGPOOL2 -> ")
    config.rates = (0.01, 0.03, 0.1)
    config.train.update(batch_size=32, epochs=2.0, evaluate_epochs=1.0, checkpoint_epochs=1.0)
    config.schedule.warmup_epochs = 0.25
    config.augment.update(crop_padding=0, flip=False)
    config.claim.caveats = (
        "Nets of two layers and two epochs; CIFAR-10 pooled to 16x16. Nothing is augmented: a "
        "random crop would shift the centred digits. A locally connected layer has as many "
        "multiplications and activations as the convolution beside it, and many more weights. "
        "Sharing pays less on centred digits, but it pays: that the locally connected net is right "
        "there, as N2 has it, is refuted by the last comparison."
    )


def paper(config: ConfigDict) -> None:
    """On an accelerator: twice as wide, CIFAR-10 at full size, until training is over."""
    config.arms = arms((32, 64))
    config.rates = (0.01, 0.03, 0.1)
    config.train.update(batch_size=128, epochs=50.0, evaluate_epochs=5.0, checkpoint_epochs=5.0)
    config.schedule.warmup_epochs = 1.0
    config.augment.update(crop_padding=0, flip=False)


def arms(widths: tuple[int, int], cifar10_stem: str = "") -> ConfigDict:
    """Both kinds of net on each of the data sets."""
    first, second = widths

    def network(layer: str, stem: str) -> str:
        stages = f"{layer}5-{first} -> RELU -> POOL2 -> {layer}3-{second} -> RELU -> POOL2"
        return f"INPUT -> {stem}{stages} -> FC"

    return ConfigDict(
        {
            f"{layer.lower()}_{where}": {
                "data": {"name": name},
                "model": {"name": network(layer, cifar10_stem if name == "cifar10" else "")},
            }
            for layer in ("CONV", "LOCAL")
            for where, name in DATA.items()
        }
    )

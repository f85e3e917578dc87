"""E2: can pooling be dropped, for convolutions of larger stride?

N1 and N3 ("Getting rid of pooling", "pooling has fallen out of favor") go back to Springenberg et
al. 2014 (Striving for Simplicity, arXiv 1412.6806), who hold four nets against one another
(`cnnlab/models/allcnn.py`):

- base: convolutions, then 3x3 max pooling of stride 2;
- strided: no pooling; the convolution before it takes its stride;
- all: the pooling replaced by a 3x3 convolution of its stride (All-CNN);
- convpool: the control, as many layers and weights as `all`, but it pools.

So "no loss" is `all` not worse than `convpool`, and that stride is no substitute by itself is
`strided` worse than `base`. The margin is one point on a CPU, where runs of one net spread by about
half a point, so that five seeds can tell one point and no less; a quarter of a point in `paper`,
about half of what the paper's Strided-CNN-C loses.

    python experiments/ablate.py --config configs/all_convolutional.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | base C with BN, 16 and 32 filters | a minute |
| `cpu` | CIFAR-10 at 16x16 | base C with BN, 32 and 64 filters, 3 epochs | about 25 minutes |
| `paper` | CIFAR-10, whitened | the paper's twelve nets, 350 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. The small presets have batch norm and no dropout, without which a few epochs teach these nets
next to nothing. `paper` is the paper's recipe: contrast normalisation and ZCA whitening, SGD with
momentum 0.9, weight decay 0.001, a rate from four, divided by 10 at epochs 200, 250 and 300, no
augmentation. The paper states neither its batch size (here 128) nor its initialisation (here He's),
and selects rates on data that it does not name: here 5,000 of the 50,000 training images are held
out for that. A run that diverges counts as guessing: the nets have no batch norm.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, preset_of, short_setting
from cnnlab.models.allcnn import DERIVED

TABLE_3 = {
    "a": {"base": 12.47, "strided": 13.46, "convpool": 10.21, "all": 10.30},
    "b": {"base": 10.20, "strided": 10.98, "convpool": 9.33, "all": 9.10},
    "c": {"base": 9.74, "strided": 10.19, "convpool": 9.31, "all": 9.08},
}
"""Test error in percent, without augmentation (Springenberg et al. 2014, table 3)."""


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    bases, margin = ("cab", 0.25) if preset == "paper" else ("c", 1.0)
    config = blank_config("all_convolutional", preset, claim(bases, margin))
    config.order = tuple(f"{base}_{derived}" for base in sorted(bases) for derived in DERIVED)
    fill(config)
    return config.lock()


def claim(bases: str, margin: float) -> dict:
    """The claim, put to the four nets of each base; the first base's gives the verdict."""
    return {
        "id": "E2",
        "statement": "Pooling can be replaced by convolutions of larger stride, with no loss.",
        "source": "N1, Layer Sizing; N3, Pooling Layer",
        "metric": "test_error",
        "caveats": "",
        "comparisons": tuple(
            comparison
            for base in bases
            for comparison in (
                {
                    "question": f"Base {base.upper()}: does a strided convolution do what pooling "
                    "does, at equal weights?",
                    "treatment": f"{base}_all",
                    "baseline": f"{base}_convpool",
                    "expect": "not worse",
                    "margin": margin,
                    "paper": _paper(base, "all", "convpool"),
                },
                {
                    "question": f"Base {base.upper()}: does a stride without a layer of its own "
                    "lose?",
                    "treatment": f"{base}_strided",
                    "baseline": f"{base}_base",
                    "expect": "worse",
                    "paper": _paper(base, "strided", "base"),
                },
            )
        ),
    }


def _paper(base: str, treatment: str, baseline: str) -> dict[str, str]:
    ours, theirs = TABLE_3[base][treatment], TABLE_3[base][baseline]
    return {
        "value": f"{ours - theirs:+.2f} points ({ours:.2f} against {theirs:.2f})",
        "source": "Springenberg et al. 2014, arXiv 1412.6806, table 3",
        "note": f"base {base.upper()}; read in replications, which quote it",
    }


def digits(config: ConfigDict) -> None:
    """A minute on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = small_arms(16)
    config.model.options = {"fit": "crop"}
    digits_setting(config)
    config.claim.caveats += " Small nets with batch norm and no dropout."


def cpu(config: ConfigDict) -> None:
    """About 25 minutes on two cores, with the runs that choose the rates."""
    config.arms = small_arms(32)
    config.model.options = {"fit": "crop"}
    short_setting(config, epochs=3.0)
    config.claim.caveats = (
        "A third of the paper's filters on images averaged down to 16x16, batch norm and no "
        "dropout, 3 epochs: not the paper's nets, but its four ways to shrink a map. A stride "
        "leaves its convolution a quarter of the places: the nets with strides make fewer MACs "
        "than those they are compared with, as the paper's do, and no arm makes up for it."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: twelve nets, each at four rates and with five seeds."""
    config.arms = {name: {"model": {"name": f"allcnn_{name}"}} for name in config.order}
    config.rates = (0.25, 0.1, 0.05, 0.01)
    config.data.update(name="cifar10", preprocess="gcn_zca")
    config.train.update(batch_size=128, epochs=350.0, evaluate_epochs=5.0, checkpoint_epochs=5.0)
    config.optimizer.update(nesterov=False, weight_decay=1e-3)
    config.schedule.update(name="step", milestones=(200 / 350, 250 / 350, 300 / 350))
    config.train.on_divergence = "chance"
    config.augment.update(crop_padding=0, flip=False)


def small_arms(filters: int) -> dict:
    """Base C and the three nets made of it, with BN before every ReLU."""

    def network(stride: str, end: str) -> dict[str, dict[str, str]]:
        width = f"CONV3-{filters}*2^i"
        stage = f"{width} -> RELU -> {width}{stride} -> RELU{end}"
        head = f"CONV3-{2 * filters} -> RELU -> CONV1-{2 * filters} -> RELU"
        text = f"[{stage}]*2 -> {head}".replace("RELU", "BN -> RELU")
        return {"model": {"name": f"INPUT -> AVGPOOL2 -> {text} -> CONV1-10 -> GAP"}}

    conv = f"CONV3-{filters}*2^i"
    return {
        "c_base": network("", " -> POOL3/2p1"),
        "c_strided": network("/2", ""),
        "c_convpool": network("", f" -> {conv} -> RELU -> POOL3/2p1"),
        "c_all": network("", f" -> {conv}/2 -> RELU"),
    }

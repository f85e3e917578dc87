"""E14: do 1x1 convolutions cut feature maps, and cost, with no loss?

N3 ("1x1 Convolutional layer"): several 1x1 filters define fewer feature maps at a layer's output,
with benefits in computational complexity of the network as a whole. A 3x3 convolution of K filters
against the bottleneck that puts two 1x1 around a 3x3 of a quarter of the maps (He et al. 2015, fig.
5): both take in K maps and put out K. That a net is cheaper does not make its 1x1 convolutions
worth anything: the control is the plain 3x3 net, its filters cut until it makes as many
multiplications as the bottleneck's (to 2%).

    python experiments/ablate.py --config configs/bottleneck.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 16x16 | two stages of two blocks, K = 32, 64 | a minute |
| `cpu` | CIFAR-10 at 16x16 | two stages of two blocks, K = 64, 128, 2 epochs | about 13 minutes |
| `paper` | CIFAR-10 | three stages of two blocks, K = 64, 128, 256, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. "No loss" is one of less than one point, about twice the spread (standard deviation) of
single runs of such nets in E1. He et al. 2015 have bottlenecks at equal cost, not at equal maps,
and no figure of theirs can stand beside ours.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E14",
    "statement": "1x1 convolutions cut feature maps and cost with no loss in accuracy.",
    "source": "N3, 1x1 Convolutional layer",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Is the bottleneck as good as the 3x3 of as many maps?",
            "treatment": "bottleneck",
            "baseline": "wide_3x3",
            "expect": "not worse",
            "margin": 1.0,
        },
        {
            "question": "Does it beat a 3x3 net of its own cost?",
            "treatment": "bottleneck",
            "baseline": "narrow_3x3",
            "expect": "better",
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("bottleneck", preset, CLAIM)
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The 8x8 digits were scaled up to 32x32: an AVGPOOL2 takes half back."""
    config.arms = arms((32, 64), narrow=(11, 20), stem="AVGPOOL2 -> ")
    digits_setting(config)


def cpu(config: ConfigDict) -> None:
    """About 13 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((64, 128), narrow=(21, 44), stem="AVGPOOL2 -> ")
    short_setting(config, checkpoint_epochs=1.0)
    config.claim.caveats = (
        "Two epochs on CIFAR-10 pooled to 16x16. A bottleneck is three layers where the "
        "others have one, so that the net is deeper; its activations take more memory. No "
        "block has a shortcut, which those of He et al. have: deep plain nets are slow to train "
        "(E3), and a short run tells against the deepest."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: images at full size and the long schedule of He et al. 2015."""
    config.arms = arms((64, 128, 256), narrow=(22, 46, 90))
    long_setting(config)


def arms(widths: tuple[int, ...], narrow: tuple[int, ...], stem: str = "") -> ConfigDict:
    """The three nets, a stage for each width; `narrow` gives the 3x3 the bottleneck's cost.

    A 3x3 of half the first width, the same in all arms, comes before the first stage.
    """
    first = f"{stem}CONV3-{widths[0] // 2} -> BN -> RELU"

    def network(block: str, widths: tuple[int, ...]) -> dict[str, dict[str, str]]:
        blocks = (block.format(k=k, quarter=k // 4) for k in widths)
        stages = " -> ".join(f"[{block}]*2 -> POOL2" for block in blocks)
        return {"model": {"name": f"INPUT -> {first} -> {stages} -> GAP -> FC"}}

    single = "CONV3-{k} -> BN -> RELU"
    layers = ("CONV1-{quarter}", "CONV3-{quarter}", "CONV1-{k}")
    bottleneck = " -> ".join(f"{layer} -> BN -> RELU" for layer in layers)
    return ConfigDict(
        {
            "wide_3x3": network(single, widths),
            "bottleneck": network(bottleneck, widths),
            "narrow_3x3": network(single, narrow),
        }
    )

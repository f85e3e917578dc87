"""E6: are large pooling windows too lossy?

N0 and N1 ("Pooling sizes with larger receptive fields are too destructive") leave two: windows of
2x2 and, overlapping, of 3x3, both of stride 2. All arms have the same five convolutions and weights
and end with the same map, 8 times smaller than the image; they differ in how they come to it:

| arm | pooling after the first, third and fifth convolution |
| --- | --- |
| `pool2` | 2x2, 2x2, 2x2 |
| `pool3` | 3x3 of stride 2, three times |
| `pool4` | 4x4, none, 2x2 |
| `pool5` | 5x5 of stride 2, three times |
| `pool8` | 8x8, none, none |
| `pool4_wide` | as `pool4`, with more filters: the MACs of `pool2` |

A large window leaves smaller maps to what follows, and so fewer MACs: the last arm is the control.
The smallest of the large windows, 4x4, gives the verdict. (A maximum over 4x4 is one over 2x2 of
maxima over 2x2: what is compared is to shrink a map at once or with convolutions in between. A
window that is larger and nothing else is that of `pool5`, an arm that came after the first runs of
`cpu` were seen.) For 3x3 "useful" is taken to mean a loss of less than one point against 2x2: runs
of one net spread by about half a point, so that five seeds can tell one point and no less.

    python experiments/ablate.py --config configs/pooling_window.py:digits

| preset | data | networks | time on two cores |
| --- | --- | --- | --- |
| `digits` | digits at 32x32 | 8, 16, 32 filters | 2 minutes |
| `cpu` | CIFAR-10 | 16, 32, 64 filters, 2 epochs | about 15 minutes |
| `paper` | CIFAR-10 | 64, 128, 256 filters, 164 epochs | not run yet |

All presets have 5 seeds an arm; `cpu` and `paper` choose each arm's learning rate on the validation
split. The lowest and the highest rate of `cpu` came after its first runs too, most of whose arms
stood at an end of the three in between.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, digits_setting, long_setting, preset_of, short_setting

CLAIM = {
    "id": "E6",
    "statement": "Pooling windows larger than 3x3 are too lossy.",
    "source": "N0, Pooling Layer; N1, Pooling Layer",
    "metric": "test_error",
    "caveats": "",
    "comparisons": (
        {
            "question": "Does one 4x4 window lose against two of 2x2?",
            "treatment": "pool4",
            "baseline": "pool2",
            "expect": "worse",
        },
        {
            "question": "Does one 8x8 window lose against three of 2x2?",
            "treatment": "pool8",
            "baseline": "pool2",
            "expect": "worse",
        },
        {
            "question": "Does 4x4 still lose at equal MACs?",
            "treatment": "pool4_wide",
            "baseline": "pool2",
            "expect": "worse",
        },
        {
            "question": "Do overlapping 5x5 windows lose against 2x2?",
            "treatment": "pool5",
            "baseline": "pool2",
            "expect": "worse",
        },
        {
            "question": "Do overlapping 3x3 windows do as well as 2x2?",
            "treatment": "pool3",
            "baseline": "pool2",
            "expect": "not worse",
            "margin": 1.0,
        },
    ),
}


def get_config(preset: str = "digits") -> ConfigDict:
    """The ablation under a preset: "digits", "cpu" or "paper"."""
    fill = preset_of({"digits": digits, "cpu": cpu, "paper": paper}, preset)
    config = blank_config("pooling_window", preset, CLAIM)
    config.model.options = {"fit": "crop"}
    config.order = ("pool2", "pool3", "pool4", "pool5", "pool8", "pool4_wide")
    fill(config)
    return config.lock()


def digits(config: ConfigDict) -> None:
    """Minutes on a laptop. The digits were enlarged from 8x8: a 4x4 window is a pixel of theirs."""
    config.arms = arms((8, 16, 32), wide=(10, 20, 40))
    digits_setting(config)
    config.claim.caveats += " A 4x4 window loses next to nothing of them."


def cpu(config: ConfigDict) -> None:
    """About 15 minutes on two cores, with the runs that choose the rates."""
    config.arms = arms((16, 32, 64), wide=(20, 40, 80))
    short_setting(config, rates=(0.02, 0.05, 0.125, 0.3, 0.6))
    config.claim.caveats = (
        "Narrow nets, 2 epochs, no random crops. A 4x4 max pooling is two of 2x2 with nothing in "
        "between: what loses is to shrink the maps early and at once, so that fewer convolutions "
        "see large ones. Only the 5x5 windows, of stride 2, differ in nothing but their size; that "
        "arm came after the runs of the others were seen."
    )


def paper(config: ConfigDict) -> None:
    """An accelerator's hours: wide nets and the long schedule of He et al. 2015 (sec. 4.2)."""
    config.arms = arms((64, 128, 256), wide=(81, 161, 322))
    long_setting(config)


def arms(widths: tuple[int, int, int], wide: tuple[int, int, int]) -> dict:
    """One net with its windows in six ways; `wide` gives the 4x4 windows the MACs of the 2x2."""

    def network(widths: tuple[int, int, int], *poolings: str) -> dict[str, dict[str, str]]:
        steps = ["INPUT"]
        for width, repeats, pooling in zip(widths, (1, 2, 2), poolings, strict=True):
            steps += [f"[CONV3-{width} -> BN -> RELU]*{repeats}", pooling]
        return {"model": {"name": " -> ".join(filter(None, [*steps, "GAP", "FC"]))}}

    return {
        "pool2": network(widths, "POOL2", "POOL2", "POOL2"),
        "pool3": network(widths, "POOL3/2p1", "POOL3/2p1", "POOL3/2p1"),
        "pool4": network(widths, "POOL4", "", "POOL2"),
        "pool5": network(widths, "POOL5/2p2", "POOL5/2p2", "POOL5/2p2"),
        "pool8": network(widths, "POOL8", "", ""),
        "pool4_wide": network(wide, "POOL4", "", "POOL2"),
    }

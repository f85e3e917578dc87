"""E21: does a bottleneck lose by stepping in its 1x1 convolution?

He et al. 2015 halve the size of the feature maps in the first 1x1 of a stage's first bottleneck,
where a stride of 2 leaves three of every four pixels unread (the models' `version="v1"`). What is
trained as ResNet-50 since steps in the 3x3 behind it ("v1.5"), which reads them all: as many
weights, 6% more multiplications.

    python experiments/ablate.py --config configs/imagenet_resnet50.py:paper

| preset | data | networks | runs |
| --- | --- | --- | --- |
| `paper` | ImageNet, 224x224 | ResNet-50, v1 and v1.5, 90 epochs | not run yet |

3 seeds an arm. The recipe is that of Goyal et al. 2017 (arXiv 1706.02677, sec. 5.1): a learning
rate of 0.1 for each 256 images of a batch, reached in 5 epochs and divided by 10 at 30, 60 and 80;
crops as in Szegedy et al. 2014 (arXiv 1409.4842, sec. 6). A batch is meant for 8 GPUs or so, and
norms are over the 128 images of one (the paper's over 32, their last scales beginning at zero).

To expect of v1.5: a top-1 error of 23.8% (torchvision's weights) or 23.3% to 23.7% (the README of
Flax's example). What it takes is predicted in docs/scaling.md; how to prepare ImageNet stands in
the README.
"""

from ml_collections import ConfigDict

from cnnlab.evidence import blank_config, preset_of

CLAIM = {
    "id": "E21",
    "statement": "A bottleneck that steps in its 3x3 convolution beats one that does in its 1x1.",
    "source": "He et al. 2015, table 1, against what is trained as ResNet-50 since",
    "metric": "test_error",
    "comparisons": (
        {
            "question": "Does it help to read every pixel where the size is halved?",
            "treatment": "stride_in_3x3",
            "baseline": "stride_in_1x1",
            "expect": "better",
            "paper": {
                "value": "-0.5 points",
                "source": "NVIDIA NGC catalog, ResNet v1.5 for PyTorch and TensorFlow",
                "note": "about; ImageNet top-1",
            },
        },
    ),
}


def get_config(preset: str = "paper") -> ConfigDict:
    """The ablation under its one preset, "paper"."""
    fill = preset_of({"paper": paper}, preset)
    config = blank_config("imagenet_resnet50", preset, CLAIM)
    fill(config)
    return config.lock()


def paper(config: ConfigDict) -> None:
    """Days of one GPU that holds the batch, hours of several."""
    config.seeds = 3
    versions = {"stride_in_1x1": "v1", "stride_in_3x3": "v1.5"}
    config.arms = ConfigDict(
        {arm: {"model": {"options": {"version": version}}} for arm, version in versions.items()}
    )
    config.model.update(name="resnet50", dtype="bfloat16", batch_norm_groups=8)
    config.data.update(name="imagenet2012", image_size=224)
    config.augment.update(resized_crop=0.08, flip=True, crop_padding=0)
    config.train.update(batch_size=1024, epochs=90.0, evaluate_epochs=5.0, checkpoint_epochs=1.0)
    config.optimizer.update(learning_rate=0.4, weight_decay=1e-4)
    config.schedule.update(name="step", warmup_epochs=5.0, milestones=(30 / 90, 60 / 90, 80 / 90))

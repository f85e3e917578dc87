"""How networks are trained under the presets that most claims share: one place for one recipe."""

from typing import Any

from ml_collections import ConfigDict

RATES = (0.05, 0.125, 0.3)
"""What short runs of nets with batch norm choose their rate from."""

DEEP_RATES = (0.02, *RATES)
"""The same and a lower one, which deep nets and heads of FC layers may want."""


DIGITS_CAVEATS = (
    "Digits, enlarged from 8x8 pixels; 360 to test on; one learning rate for all arms. This shows "
    "that everything runs, and only hints at what the claim is about."
)


def digits_recipe(
    *,
    epochs: float = 8.0,
    evaluate_epochs: float = 2.0,
    checkpoint_epochs: float = 4.0,
    learning_rate: float = 0.05,
    crop_padding: int = 2,
) -> dict[str, Any]:
    """What a recipe overrides for a few epochs of digits, at a rate that all small nets stand.

    The digits are shifted by up to `crop_padding` pixels: `Recipe().override(digits_recipe())`.
    """
    return {
        "data": {"name": "digits"},
        "train": {
            "batch_size": 32,
            "epochs": epochs,
            "evaluate_epochs": evaluate_epochs,
            "checkpoint_epochs": checkpoint_epochs,
        },
        "optimizer": {"learning_rate": learning_rate},
        "schedule": {"warmup_epochs": 0.5},
        "augment": {"crop_padding": crop_padding, "flip": False},
    }


def digits_setting(config: ConfigDict, **options: Any) -> None:
    """The recipe of `digits_recipe`; what that can show joins the claim's caveats."""
    config.update(digits_recipe(**options))
    config.claim.caveats = f"{config.claim.get('caveats', '')} {DIGITS_CAVEATS}".strip()


def long_digits_setting(config: ConfigDict) -> None:
    """Twenty epochs of digits that nothing moves, at a lower rate: time to over-fit."""
    digits_setting(
        config,
        epochs=20.0,
        evaluate_epochs=5.0,
        checkpoint_epochs=10.0,
        learning_rate=0.03,
        crop_padding=0,
    )


def short_setting(
    config: ConfigDict,
    *,
    rates: tuple[float, ...] = RATES,
    epochs: float = 2.0,
    evaluate_epochs: float = 1.0,
    checkpoint_epochs: float = 0.25,
) -> None:
    """A few epochs of CIFAR-10 in small batches, which CPUs like, without crops.

    Each arm has the one of `rates` that validation likes best; none given, the recipe's own rate.
    With random crops every arm of E1 under-fitted in a pilot, by its validation error.
    """
    config.rates = rates
    config.data.name = "cifar10"
    config.train.update(
        batch_size=32,
        epochs=epochs,
        evaluate_epochs=evaluate_epochs,
        checkpoint_epochs=checkpoint_epochs,
    )
    config.schedule.warmup_epochs = 0.25
    config.augment.update(crop_padding=0, flip=True)


def long_setting(config: ConfigDict, *, rates: tuple[float, ...] = (0.05, 0.1, 0.2)) -> None:
    """CIFAR-10 by the long schedule of He et al. 2015 (sec. 4.2), and an epoch of warm-up.

    `rates` as in `short_setting`.
    """
    config.rates = rates
    config.data.name = "cifar10"
    config.train.update(batch_size=128, epochs=164.0, evaluate_epochs=4.0, checkpoint_epochs=4.0)
    config.optimizer.update(nesterov=False, weight_decay=1e-4)
    config.schedule.update(name="step", warmup_epochs=1.0)
    config.augment.update(crop_padding=4, flip=True)

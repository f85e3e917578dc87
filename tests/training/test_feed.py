from collections.abc import Callable

import numpy as np

from cnnlab.data import Dataset
from cnnlab.training import placement
from cnnlab.training.feed import training_set
from cnnlab.training.program import Program


def test_every_epoch_is_fed_its_own_order(
    linear: Callable[[dict[str, object]], Program], tiny: Dataset
) -> None:
    """Three steps an epoch, taken up at the fifth; once an epoch an order is made."""
    feed, training = linear({}).feed, training_set(tiny)
    orders = [np.asarray(feed.order(placement.key_of(7), epoch)) for epoch in range(3)]
    assert len({order.tobytes() for order in orders}) == 3
    with feed.open(7, range(4, 9)) as fed:
        made = [fed(step) for step in range(4, 9)]
    for step, (images, labels, order) in enumerate(made, start=4):
        assert images is training.images
        assert labels is training.labels
        np.testing.assert_array_equal(order, orders[step // 3])
    assert len({id(order) for *_, order in made}) == 2

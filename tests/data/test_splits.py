import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnlab.data.splits import check_split, fixed_order, stored_indices


@settings(deadline=None, max_examples=30)
@given(train=st.integers(1, 3000), test=st.integers(1, 50))
def test_train_and_validation_share_nothing_and_leave_nothing_out(train: int, test: int) -> None:
    parts = [stored_indices(split, train, test) for split in ("train", "validation")]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(train))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert len(parts[1]) == train // 10
    np.testing.assert_array_equal(stored_indices("test", train, test), np.arange(test))


@pytest.mark.parametrize(
    ("stored", "train"), [(50_000, 45_000), (60_000, 55_000), (73_257, 68_257)]
)
def test_validation_is_5000_images_of_the_published_sets(stored: int, train: int) -> None:
    assert len(stored_indices("train", stored, 1)) == train
    assert len(stored_indices("validation", stored, 1)) == 5_000


def test_the_rule_never_changes() -> None:
    assert fixed_order(10).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    validation = stored_indices("validation", 50_000, 10_000)
    assert hashlib.sha256(validation.astype("<i8").tobytes()).hexdigest()[:16] == "5e77f4c620967615"


def test_an_unknown_split_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'valid'.*train, validation, test.*'validation'"):
        check_split("valid")

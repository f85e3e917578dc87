"""Data: real images, split by rule, decoded once, augmented on the device."""

from cnnlab.data.augment import augment, normalise
from cnnlab.data.images import Images, channel_statistics
from cnnlab.data.sources import PREPROCESSES, Dataset, names, open_dataset
from cnnlab.data.stored import DataMissing

__all__ = [
    "PREPROCESSES",
    "DataMissing",
    "Dataset",
    "Images",
    "augment",
    "channel_statistics",
    "names",
    "normalise",
    "open_dataset",
]

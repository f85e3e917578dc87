"""Data: real images, split by rule; decoded once and augmented on the device, or streamed."""

from cnnlab.data.augment import augment, normalise
from cnnlab.data.images import Images, channel_statistics
from cnnlab.data.records import Records
from cnnlab.data.sources import PREPROCESSES, Dataset, names, open_dataset, streamed
from cnnlab.data.stored import DataMissing

__all__ = [
    "PREPROCESSES",
    "DataMissing",
    "Dataset",
    "Images",
    "Records",
    "augment",
    "channel_statistics",
    "names",
    "normalise",
    "open_dataset",
    "streamed",
]

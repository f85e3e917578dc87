"""ZFNet against the sizes of its paper's figure 3."""

import cnnlab
from cnnlab import models
from cnnlab.geometry import ReceptiveField


def test_figure_3_row_by_row():
    table = cnnlab.summarize(models.create("zfnet"), models.network("zfnet").input_shape)
    rows = [(row.notation, row.shape, row.macs) for row in table.rows if row.notation != "RELU"]
    assert rows == [
        ("INPUT", (224, 224, 3), 0),
        ("CONV7-96/2p1", (110, 110, 96), 110 * 110 * 7 * 7 * 3 * 96),
        ("POOL3/2p1", (55, 55, 96), 0),
        ("LRN", (55, 55, 96), 0),
        ("CONV5-256/2p0", (26, 26, 256), 26 * 26 * 5 * 5 * 96 * 256),
        ("POOL3/2p1", (13, 13, 256), 0),
        ("LRN", (13, 13, 256), 0),
        ("CONV3-384", (13, 13, 384), 13 * 13 * 3 * 3 * 256 * 384),
        ("CONV3-384", (13, 13, 384), 13 * 13 * 3 * 3 * 384 * 384),
        ("CONV3-256", (13, 13, 256), 13 * 13 * 3 * 3 * 384 * 256),
        ("POOL3/2", (6, 6, 256), 0),
        ("FC-4096", (4096,), 9216 * 4096),
        ("DROP0.5", (4096,), 0),
        ("FC-4096", (4096,), 4096 * 4096),
        ("DROP0.5", (4096,), 0),
        ("FC-1000", (1000,), 4096 * 1000),
    ]
    kinds = [row.notation for row in table.rows]
    assert kinds.count("RELU") == 7
    assert all(
        kinds[i + 1] == "RELU" for i, k in enumerate(kinds[:-1]) if k[:4] in ("CONV", "FC-4")
    )
    assert table.params == 62_357_608
    assert table.macs == 1_168_032_896


def test_receptive_field():
    """7 at step 2; pool 11, 4; 5x5/2 27, 8; pool 43, 16; three 3x3 139; pool 171, 32."""
    table = cnnlab.summarize(models.create("zfnet"), (224, 224, 3))
    seen = [row.field for row in table.rows if row.notation[:4] in ("CONV", "POOL")]
    sizes = [(7, 2), (11, 4), (27, 8), (43, 16), (75, 16), (107, 16), (139, 16), (171, 32)]
    assert seen == [ReceptiveField(*size) for size in sizes]

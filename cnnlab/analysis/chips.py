"""Published figures of accelerators: what their makers say, with the page that says it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """One accelerator, and how it is joined to others. Bytes, seconds, and both in one.

    Attributes:
        name: the maker's.
        peak: FLOP/s by the dtype of a recipe, without sparsity.
        bandwidth: bytes/s of its memory.
        memory: bytes.
        group: chips that its own links join.
        link: bytes/s out of one chip over its links, one way.
        axes: of the torus that they make; 0 for a switch.
        hop: seconds from one chip to the next.
        network: bytes/s out of one chip to another group, one way; None where not known.
        network_hop: seconds from one group to the next.
        sources: where the figures stand.
    """

    name: str
    peak: dict[str, float]
    bandwidth: float
    memory: float
    group: int
    link: float
    axes: int
    hop: float
    network: float | None
    network_hop: float
    sources: str


_GBIT = 1e9 / 8
_NCCL = "latencies: NCCL's own model, `src/graph/tuning.cc` (tree, LL protocol)"
_ICI_HOP = "latency of a hop: Austin et al. 2025, How to Scale Your Model"
# NCCL's figure for a network stands for every data centre's.
_NVLINK_HOP, _NETWORK_HOP, _TORUS_HOP = 0.6e-6, 5e-6, 1e-6

CHIPS = {
    "v100": Chip(
        "V100 SXM2 16GB",
        # float16 stands in for bfloat16, which the chip does not have.
        peak={"bfloat16": 125e12, "float32": 15.7e12},
        bandwidth=900e9,
        memory=16e9,
        group=8,
        link=300e9 / 2,
        axes=0,
        hop=_NVLINK_HOP,
        network=4 * 100 * _GBIT / 8,
        network_hop=_NETWORK_HOP,
        sources=f"NVIDIA V100 datasheet (2020), DGX-1 datasheet (2017); {_NCCL}",
    ),
    "a100": Chip(
        "A100 SXM4 80GB",
        # float32 is multiplied as TF32, XLA's default there.
        peak={"bfloat16": 312e12, "float32": 156e12},
        bandwidth=2039e9,
        memory=80e9,
        group=8,
        link=600e9 / 2,
        axes=0,
        hop=_NVLINK_HOP,
        network=200 * _GBIT,
        network_hop=_NETWORK_HOP,
        sources=f"NVIDIA A100 datasheet (2021), DGX A100 datasheet (2020); {_NCCL}",
    ),
    "h100": Chip(
        "H100 SXM5 80GB",
        peak={"bfloat16": 989e12, "float32": 494.5e12},
        bandwidth=3350e9,
        memory=80e9,
        group=8,
        link=900e9 / 2,
        axes=0,
        hop=_NVLINK_HOP,
        network=400 * _GBIT,
        network_hop=_NETWORK_HOP,
        sources=f"NVIDIA H100 datasheet (2023), halved, since it is with sparsity; "
        f"DGX H100 datasheet (2023); {_NCCL}",
    ),
    "tpu_v3": Chip(
        "TPU v3",
        peak={"bfloat16": 123e12},
        bandwidth=900e9,
        memory=32 * 2**30,
        group=1024,
        link=340e12 / 1024,
        axes=2,
        hop=_TORUS_HOP,
        network=None,
        network_hop=_NETWORK_HOP,
        sources="Google Cloud, TPU v3 (all-reduce bandwidth of a pod over its 1,024 chips); "
        f"{_ICI_HOP}",
    ),
    "tpu_v5e": Chip(
        "TPU v5e",
        peak={"bfloat16": 197e12},
        bandwidth=819e9,
        memory=16e9,
        group=256,
        link=1600 * _GBIT,
        axes=2,
        hop=_TORUS_HOP,
        network=6400 * _GBIT / 256,
        network_hop=_NETWORK_HOP,
        sources="Google Cloud, TPU v5e (network of a pod over its 256 chips); "
        f"{_ICI_HOP}; of the network: as NCCL's",
    ),
    "tpu_v5p": Chip(
        "TPU v5p",
        peak={"bfloat16": 459e12},
        bandwidth=2765e9,
        memory=95e9,
        group=6144,
        link=4800 * _GBIT,
        axes=3,
        hop=_TORUS_HOP,
        network=50 * _GBIT,
        network_hop=_NETWORK_HOP,
        sources=f"Google Cloud, TPU v5p (group: the largest slice); {_ICI_HOP}; "
        "of the network: as NCCL's",
    ),
}
"""By a short name. A core of TPU v3 is half a chip: `v3-8` is four of these."""

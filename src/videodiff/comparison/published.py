"""Figures as printed in papers: not measured by us, never in one column with ours.

FVD of one name differs between papers in clips, frames, resize and network (docs/evaluation.md); a row therefore names
the protocol as far as its paper tells it, and the table it stands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PVDM, VDM = "Yu et al. 2023 (PVDM, arXiv 2302.07685)", "Ho et al. 2022 (VDM, arXiv 2204.03458)"
LATTE = "Ma et al. 2024 (Latte, arXiv 2401.03048)"
UCF101, SKY, TAICHI = "UCF-101", "SkyTimelapse", "Taichi-HD"
# Layout of a data set -> what papers call it. Built-in sets are in no paper.
# The data set of a row, by the layout of its folder; FaceForensics has none of its own
NAMES = {"ucf101": UCF101, "sky": SKY, "taichi": TAICHI, "bair": "BAIR", "kinetics": "Kinetics-600"}

STYLEGANV = "styleganv: 2,048 clips, 256x256"
# Model -> FVD of 16 frames and of 128 on UCF-101, then the same on SkyTimelapse; None where the paper has none.
FVD_OF_PVDM: dict[str, tuple[float | None, float | None, float | None, float | None]] = {
    "VideoGPT": (2880.6, None, 222.7, None),
    "MoCoGAN": (2886.8, 3679.0, 206.6, 575.9),
    "MoCoGAN + StyleGAN2": (1821.4, 2311.3, 85.88, 272.8),
    "MoCoGAN-HD": (1729.6, 2606.5, 164.1, 878.1),
    "DIGAN": (1630.2, 2293.7, 83.11, 196.7),
    "StyleGAN-V": (1431.0, 1773.4, 79.52, 197.0),
    "PVDM-S, 100/20 steps": (457.4, 902.2, 71.46, 159.9),
    "PVDM-L, 200/200 steps": (398.9, 639.7, 61.70, 137.2),
    "PVDM-L, 400/400 steps": (343.6, 648.4, 55.41, 125.2),
}
# Model -> FVD of 16 frames on UCF-101, SkyTimelapse, Taichi-HD and FaceForensics; PVDM's on UCF-101 is not PVDM's own.
# Quoted from memory of the paper's table, so that the source of each row says that they were not compared with it.
FVD_OF_LATTE: dict[str, tuple[float | None, float, float | None, float | None]] = {
    "Latte": (477.97, 59.82, 159.60, 34.00),
    "Latte + images": (333.61, 42.67, 97.09, 27.08),
    "PVDM": (1141.9, 75.48, None, None),
    "LVDM": (372.00, 95.20, None, None),
}
IS_OF_PVDM = {
    "MoCoGAN": 12.42, "ProgressiveVGAN": 14.56, "LDVD-GAN": 22.91, "VideoGPT": 24.69, "TGANv2": 28.87,
    "StyleGAN-V (train and test)": 23.94, "DIGAN": 29.71, "VDM (train and test)": 57.00, "TATS": 57.63,
    "PVDM-L": 74.40,
}  # fmt: skip
# (R-FVD, PSNR in dB) of PVDM's autoencoder.
RECONSTRUCTION_OF_PVDM = {
    (UCF101, "train"): (25.87, 27.34), (UCF101, "test"): (32.26, 26.99),
    (SKY, "train"): (7.37, 34.33), (SKY, "test"): (36.52, 32.68),
}  # fmt: skip
# Seconds and GB for one video of 16 frames, then of 128; videos of 256x256 on one RTX 3090 Ti of 24 GB.
COST_OF_PVDM: dict[str, tuple[tuple[float, float] | None, tuple[float, float] | None]] = {
    "TATS": ((84.8, 18.7), (434, 19.2)),
    "VideoGPT": ((139, 15.2), None),
    "VDM, 100/20 steps": ((113, 11.1), None),
    "PVDM-L, 200/200 steps": ((20.4, 5.22), (166, 5.22)),
    "PVDM-L, 400/400 steps": ((40.9, 5.22), (328, 5.22)),
    "PVDM-S, 100/20 steps": ((7.88, 4.33), (31.3, 4.33)),
}
C3D = "C3D, 10,000 clips of 16x64x64 (TGAN-v2)"
# Model -> (FID on C3D features, IS); trained on all of UCF-101, train and test.
UCF_OF_VDM: dict[str, tuple[float | None, float]] = {
    "MoCoGAN": (26998, 12.42), "TGAN-F, 64x64": (8942.63, 13.62), "TGAN-F, 128x128": (7817, 22.91),
    "TGAN-ODE": (26512, 15.2), "VideoGPT": (None, 24.69), "TGAN-v2, 64x64": (3431, 26.60),
    "TGAN-v2, 128x128": (3497, 28.87), "DVD-GAN": (None, 32.97), "VDM": (295, 57.0),
}  # fmt: skip
BAIR_OF_VDM = {
    "DVD-GAN": 109.8, "VideoGPT": 103.3, "TrIVD-GAN-FP": 103.3, "Transframer": 100, "CCVS": 99,
    "VideoTransformer": 94, "FitVid": 93.6, "NUWA": 86.9, "VDM, ancestral, 512 steps": 68.19,
    "VDM, Langevin, 256 steps": 66.92,
}  # fmt: skip
KINETICS_OF_VDM: dict[str, tuple[float, float | None]] = {
    "Video Transformer": (170, None), "DVD-GAN-FP": (69.1, None), "Video VQ-VAE": (64.3, None), "CCVS": (55, None),
    "TrIVD-GAN-FP": (25.74, 12.54), "Transframer": (25.4, None), "VDM, ancestral, 256 steps": (18.6, 15.39),
    "VDM, Langevin, 128 steps": (16.2, 15.64),
}  # fmt: skip


def published_rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a data set; none for one that no paper here measured.

    Args:
        data: a data set's fingerprint, with its layout.
    """
    name = NAMES.get(str(data.get("layout")))
    return [row for row in all_rows() if row["data"] == name]


def all_rows() -> Iterator[dict[str, Any]]:
    """Every row: ``{"model", "data", "frames", "protocol", "metric", "value", "source"}``."""
    for model, values in FVD_OF_PVDM.items():
        for (data, frames), value in zip(
            ((UCF101, 16), (UCF101, 128), (SKY, 16), (SKY, 128)), values, strict=True
        ):
            yield from row(model, data, frames, STYLEGANV, "FVD", value, f"{PVDM}, table 1")
    for model, score in IS_OF_PVDM.items():
        yield from row(model, UCF101, 16, "C3D (TGAN-v2)", "IS", score, f"{PVDM}, table 2")
    for (data, split), (distance, ratio) in RECONSTRUCTION_OF_PVDM.items():
        model, how = "PVDM, autoencoder", f"reconstructions, {split} split, 256x256"
        yield from row(model, data, 16, how, "R-FVD", distance, f"{PVDM}, table 4")
        yield from row(model, data, 16, how, "PSNR (dB)", ratio, f"{PVDM}, table 4")
    for model, lengths in COST_OF_PVDM.items():
        for frames, pair in zip((16, 128), lengths, strict=True):
            for metric, value in zip(("seconds per video", "memory (GB)"), pair or (None, None), strict=True):
                for data in (UCF101, SKY):  # a cost: the data do not matter, the size does
                    how = "one RTX 3090 Ti, 256x256"
                    yield from row(model, data, frames, how, metric, value, f"{PVDM}, table 5")
    yield from rows_of_vdm()
    for model, values_of_latte in FVD_OF_LATTE.items():
        for data, value in zip((UCF101, SKY, TAICHI, "FaceForensics"), values_of_latte, strict=True):
            yield from row(
                model, data, 16, STYLEGANV, "FVD", value, f"{LATTE}, table 2; from memory, not checked"
            )


def rows_of_vdm() -> Iterator[dict[str, Any]]:
    """Those of the VDM paper."""
    for model, (distance, score) in UCF_OF_VDM.items():
        source = f"{VDM}, table of unconditional generation on UCF-101"
        yield from row(model, UCF101, 16, C3D, "FID (C3D)", distance, source)
        yield from row(model, UCF101, 16, C3D, "IS", score, source)
    for model, value in BAIR_OF_VDM.items():
        how = "1 frame given, 15 generated, 64x64; 100x256 clips against 256"
        yield from row(model, "BAIR", 16, how, "FVD", value, f"{VDM}, table of prediction on BAIR")
    for model, (distance, rated) in KINETICS_OF_VDM.items():
        how, source = (
            "5 frames given, 11 generated, 64x64; 50,000 clips",
            f"{VDM}, table of prediction on Kinetics-600",
        )
        yield from row(model, "Kinetics-600", 16, how, "FVD", distance, source)
        yield from row(model, "Kinetics-600", 16, how, "IS", rated, source)


def row(
    model: str, data: str, frames: int, protocol: str, metric: str, value: float | None, source: str
) -> Iterator[dict[str, Any]]:
    """One row, or none without a value."""
    if value is not None:
        yield {
            "model": model, "data": data, "frames": frames, "protocol": protocol, "metric": metric, "value": value,
            "source": source,
        }  # fmt: skip

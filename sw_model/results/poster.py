"""The numbers of the paper's poster: Meng et al., "Contrastive Dual Gating", CVPR 2022; percentages as printed."""

from dataclasses import dataclass

__all__ = ["ABLATION", "METHOD_ROWS", "STRUCTURED", "Ablation", "MethodRow", "Structured"]


@dataclass(frozen=True)
class Ablation:
    """A row of table 1, linear evaluation; the data set is not printed, by its values CIFAR-10."""

    overlap: str
    row: str
    sparsity: float | None
    accuracy: float


@dataclass(frozen=True)
class MethodRow:
    """A row of table 2, methods on SimCLR."""

    method: str
    row: str
    linear: float
    fine_tuned: float
    reduction: float


@dataclass(frozen=True)
class Structured:
    """A row of table 3: SCDG on ResNet-18, groups of 8x1x1, fine-tuned; the baseline follows from the drop."""

    data: str
    sparsity: float
    accuracy: float
    drop: float
    reduction: float


ABLATION = (
    Ablation("baseline", "dense", None, 89.16),
    Ablation("100 %", "cdg100", 71.88, 87.67),
    Ablation("75 %", "cdg75", 71.02, 87.59),
    Ablation("50 %", "cdg50", 70.60, 87.12),
    Ablation("0 %", "cdg0", 72.48, 88.59),
)
METHOD_ROWS = (
    MethodRow("CDG_SimCLR", "cdg0", 88.84, 90.74, 2.12),
    MethodRow("FBS_SimCLR", "fbs", 86.91, 88.89, 2.00),
    MethodRow("DGC_SimCLR", "dgc", 73.10, 81.77, 2.11),
    MethodRow("CGNet_SimCLR", "cdg100", 87.40, 89.26, 2.09),
)
STRUCTURED = (
    Structured("CIFAR-10", 71.64, 90.37, -0.89, 2.16),
    Structured("CIFAR-100", 66.24, 65.94, -1.84, 1.98),
    Structured("ImageNet-100", 45.52, 76.63, -2.24, 1.53),
)

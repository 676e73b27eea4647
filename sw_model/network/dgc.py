"""Dynamic Group Convolution: every head convolves the input channels that it finds important in an image.

Su et al., "Dynamic Group Convolution for Accelerating Convolutional Neural Networks", ECCV 2020. With u = relu(BN(x)),
s the mean of u over the pixels, and H heads that each make C_out / H output channels,

    m_h = relu(W2_h relu(W1_h s) + c_h),    y_h = conv_h(u * top(m_h)),

where top() zeroes the smallest entries of a saliency; what is left scales its channel. The share that is zeroed grows
during training, see `pruned_share`. The heads' outputs are interleaved (a channel shuffle).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cdgate.errors import UserError

__all__ = ["HEADS", "DGCConv2d", "pruned_share"]

HEADS = 4


def pruned_share(progress: float, final: float) -> float:
    """Share of the input channels that is zeroed: 0 for 1/12 of the training, then linear to `final` at 3/4.

    With final = 0.6: 0 at 1/12, 0.3 at 5/12, 0.6 at 3/4 and after.
    """
    return final * min(1.0, max(0.0, 1.5 * (progress - 1 / 12)))


class DGCConv2d(nn.Module):
    """Convolution of `HEADS` heads, each on its own choice of input channels; BatchNorm and ReLU come before it.

    Parameters
    ----------
    in_channels
        Input channels.
    out_channels
        Output channels, a multiple of `HEADS`.
    kernel_size
        Kernel height and width.
    stride
        Stride in both directions.
    padding
        Zero padding on every side.
    density
        Share of the input channels that a head keeps at the end of the ramp, in (0, 1].

    Attributes
    ----------
    weight
        (out_channels, in_channels, kernel_size, kernel_size), head after head.
    progress
        Training progress of the ramp, 0 to 1; 1 outside of training.
    penalty
        Mean of the saliencies, summed over the heads, in the last forward pass, for the regulariser.

    Raises
    ------
    UserError
        The density is outside (0, 1], or the heads do not divide the output channels.
    """

    #: Weight of `penalty` in the loss, as in the authors' code.
    PENALTY_WEIGHT = 1e-5

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        density: float = 0.47,
    ) -> None:
        super().__init__()
        if not 0 < density <= 1:
            raise UserError(f"density must be in (0, 1], not {density}")
        if out_channels % HEADS:
            raise UserError(f"output channels must be a multiple of {HEADS} heads, not {out_channels}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.density, self.progress = density, 1.0
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(in_channels)
        self.hidden = max(1, in_channels // (8 if in_channels < 80 else 16))
        self.squeeze = nn.ModuleList(nn.Linear(in_channels, self.hidden, bias=False) for _ in range(HEADS))
        self.excite = nn.ModuleList(nn.Linear(self.hidden, in_channels) for _ in range(HEADS))
        for layer in self.excite:
            assert isinstance(layer, nn.Linear)
            nn.init.ones_(layer.bias)
        self.penalty = torch.zeros(())

    @property
    def kept(self) -> int:
        """Input channels that a head keeps in every image at the present progress."""
        return self.in_channels - round(self.in_channels * pruned_share(self.progress, 1 - self.density))

    def saliencies(self, u: Tensor) -> Tensor:
        """Saliencies of (N, in_channels, H, W), before the choice; (N, HEADS, in_channels)."""
        summary = u.mean((2, 3))
        heads = zip(self.squeeze, self.excite, strict=True)
        return torch.stack([torch.relu(excite(torch.relu(squeeze(summary)))) for squeeze, excite in heads], dim=1)

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H', W'); the branch makes no difference."""
        u = torch.relu(self.norm(x))
        saliency = self.saliencies(u)
        self.penalty = saliency.mean((0, 2)).sum()
        chosen = torch.zeros_like(saliency).scatter_(2, saliency.topk(self.kept, dim=2).indices, 1.0)
        scaled = u[:, None] * (saliency * chosen)[..., None, None]
        y = F.conv2d(scaled.flatten(1, 2), self.weight, stride=self.stride, padding=self.padding, groups=HEADS)
        return y.unflatten(1, (HEADS, -1)).transpose(1, 2).flatten(1, 2)

"""Feature Boosting and Suppression: channels chosen for every image by a small predictor.

Gao et al., "Dynamic Channel Pruning: Feature Boosting and Suppression", ICLR 2019. With s the mean over the pixels of
every input channel, k = ceil(density * C_out), and BN without affine parameters,

    g = relu(W s + c),    a = 1 for the k largest of g, else 0,    y = a g BN(conv(x)) + a beta.

So g takes the place of BatchNorm's gamma, and the layer includes its BatchNorm; ReLU follows outside. The form is that
of the authors' code (beta is not multiplied by g). The kept values of g are scaled to sum to C_out, as a published
PyTorch version does to keep training from diverging; CDG's poster does not say how it trained FBS from scratch.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cdgate.errors import UserError

__all__ = ["FBSConv2d"]


class FBSConv2d(nn.Module):
    """Convolution and BatchNorm whose output channels are boosted or suppressed, image by image.

    Parameters
    ----------
    in_channels
        Input channels.
    out_channels
        Output channels.
    kernel_size
        Kernel height and width.
    stride
        Stride in both directions.
    padding
        Zero padding on every side.
    density
        Share of output channels that are kept, in (0, 1].

    Attributes
    ----------
    weight
        (out_channels, in_channels, kernel_size, kernel_size).
    kept
        k, the number of channels that are kept in every image.
    penalty
        Batch mean of the L1 norm of the kept saliencies in the last forward pass, for the regulariser.

    Raises
    ------
    UserError
        The density is outside (0, 1].
    """

    #: Weight of `penalty` in the loss, as in a published PyTorch version.
    PENALTY_WEIGHT = 1e-8

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int = 1,
        density: float = 0.62,
    ) -> None:
        super().__init__()
        if not 0 < density <= 1:
            raise UserError(f"density must be in (0, 1], not {density}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.kept = math.ceil(density * out_channels)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(out_channels, affine=False)
        self.beta = nn.Parameter(torch.full((out_channels,), 0.1))
        self.predictor = nn.Linear(in_channels, out_channels)
        nn.init.trunc_normal_(self.predictor.weight, std=0.05, a=-0.1, b=0.1)
        nn.init.ones_(self.predictor.bias)
        self.penalty = torch.zeros(())

    def gain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Kept saliencies and their choice for (N, in_channels, H, W); both (N, out_channels), the second 0 or 1."""
        saliency = torch.relu(self.predictor(x.mean((2, 3))))
        # Exactly k channels also where saliencies are equal; no gradient goes through the choice.
        chosen = torch.zeros_like(saliency).scatter_(1, saliency.topk(self.kept, dim=1).indices, 1.0)
        return saliency * chosen, chosen

    def forward(self, x: Tensor, branch: int = 1) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H', W'); the branch makes no difference."""
        gain, chosen = self.gain(x)
        total = gain.sum(1, keepdim=True)
        self.penalty = total.mean()
        gain = gain * self.out_channels / total.clamp(min=1e-6)
        y = self.norm(F.conv2d(x, self.weight, stride=self.stride, padding=self.padding))
        return y * gain[:, :, None, None] + (chosen * self.beta)[:, :, None, None]

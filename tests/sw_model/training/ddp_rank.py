"""One process of the data-parallel test: `python ddp_rank.py RANK FOLDER`; the test runs rank 0 itself."""

import datetime
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from sw_model.network.resnet import ResNet
from sw_model.training.modules import ContrastiveModule

RANKS = 2


class Step(torch.nn.Module):
    """The training step as a forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, batch):
        return self.module.training_step(batch, 0)


def contrastive(granularity):
    """The same module and joint batch in every process: float64, BatchNorm in evaluation mode, lively statistics."""
    torch.manual_seed(0)
    model = ResNet(width=0.125, depth=10, slice_size=2, granularity=granularity)
    module = ContrastiveModule(model, 0.1, lambda step, progress: 1.0).double().eval()
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return module, torch.rand(2, 8, 3, 16, 16, dtype=torch.float64)


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def averaged_step(rank, granularity):
    """Loss and averaged gradients of this rank's half of the joint batch, in the process group that is there."""
    module, views = contrastive(granularity)
    step = DistributedDataParallel(Step(module), find_unused_parameters=True)
    loss = step(tuple(view.chunk(RANKS)[rank] for view in views))
    loss.backward()
    return loss.item(), gradients(module)


def distributed_step(rank, folder, granularity):
    """`averaged_step` in a process group of its own, whose rendezvous is the file `folder/granularity`."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/{granularity}",
        rank=rank,
        world_size=RANKS,
        timeout=datetime.timedelta(minutes=10),
    )
    try:
        return averaged_step(rank, granularity)
    finally:
        # The wrapped module, which refers to the group, is gone by now, and has to be: were it the last to do so, the
        # group would be destroyed with Python's global lock held, join a gloo thread waiting for it, and hang.
        dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for mode in ("slice", "channel"):
        torch.save(distributed_step(int(sys.argv[1]), sys.argv[2], mode), Path(sys.argv[2]) / f"{mode}.pt")

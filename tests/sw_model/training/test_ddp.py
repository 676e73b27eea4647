"""Data-parallel contrastive training: two processes on the CPU equal one with the joint batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import ddp_rank  # noqa: E402  (the other process runs the same file)


def test_loss_and_gradients_equal_one_process_with_the_joint_batch(tmp_path, root):
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    other = subprocess.Popen([sys.executable, ddp_rank.__file__, "1", str(tmp_path)], env=env)
    own = {}
    try:
        for mode in ("slice", "channel"):
            loss, grads = own[mode] = ddp_rank.distributed_step(0, tmp_path, mode)
            module, views = ddp_rank.contrastive(mode)
            expected = module.training_step(tuple(views), 0)
            expected.backward()
            alone = ddp_rank.gradients(module)
            assert loss == pytest.approx(expected.item(), rel=1e-9)
            assert grads.keys() == alone.keys() and any(".tau" in name for name in grads)
            for name, value in alone.items():
                assert value.abs().max() > 1e-6, name
                assert torch.allclose(grads[name], value, rtol=0, atol=1e-9), name
        assert other.wait(600) == 0
        for mode in ("slice", "channel"):
            loss_other, grads_other = torch.load(tmp_path / f"{mode}.pt", weights_only=True)
            loss, grads = own[mode]
            assert loss_other == pytest.approx(loss, rel=1e-9)
            assert all(torch.equal(value, grads_other[name]) for name, value in grads.items())
    finally:
        other.kill()
        other.wait()

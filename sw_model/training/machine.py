"""What a results file says about the machine and its arithmetic."""

import os
import platform
from pathlib import Path

import torch

__all__ = ["PRECISIONS", "hardware", "on_gpu"]

#: Precisions of training, by the trainer's names for them, in words.
PRECISIONS = {"32-true": "float32", "bf16-mixed": "bfloat16 and float32"}


def on_gpu(accelerator: str) -> bool:
    """Whether training and evaluation run on a GPU: "gpu" asks for one, "auto" takes one if there is one."""
    return accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())


def hardware() -> str:
    """Processor, cores, threads in use, and the accelerator if there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    text = f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{text}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else text

"""Findings of the fuzz that were repaired: none of them is one any more."""

from pathlib import Path

import pytest
import torch

from verification import fuzz
from verification.fuzzing.case import load_case

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path, root, tmp_path):
    torch.set_num_threads(1)
    finding = load_case(path)
    _, text = fuzz.replay(finding, tmp_path, root / "build")
    assert text is None, f"{finding.text}; now: {text}"

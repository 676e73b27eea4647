"""Work of the methods against figures that were computed by hand or are the poster's."""

import pytest

from sw_model.evaluation.flops import count_work, figures
from sw_model.integer.steps import flop_reduction
from sw_model.network.resnet import ResNet


def test_formula_gives_the_posters_reductions():
    assert [round(flop_reduction(s, 4), 2) for s in (0.7164, 0.6624, 0.4552)] == [2.16, 1.99, 1.52]


def rates(model, rate):
    return dict.fromkeys(model.gated_convs(), rate)


def test_cifar_resnet18():
    """555.4 M MACs of which 98.55 % are gated; 491,520 activations and 61,440 slices."""
    model = ResNet()
    work = count_work(model, 32, rates(model, 0.2836))
    macs = sum(layer.macs for layer in work)
    assert macs == 555_422_720 and work[0].macs == 1_769_472
    assert sum(layer.macs for layer in work if layer.name.startswith("down")) == 6_291_456
    assert sum(layer.macs for layer in work if layer.mask_bits) / macs == pytest.approx(0.9855, abs=5e-5)
    result = figures(model, 32, rates(model, 0.2836))
    assert (result["mask_bits"], result["index_reduction"], result["decision_operations"]) == (61_440, 8, 491_520)
    assert result["sparsity"] == pytest.approx({"output": 0.7164, "mac": 0.7164})
    reduction = {key: round(value, 3) for key, value in result["reduction"].items()}
    assert reduction == {"poster": 2.161, "gated_layers": 2.161, "network": 2.125, "with_decisions": 2.121}
    fine = figures(ResNet(granularity="channel"), 32, rates(model, 0.5))
    assert (fine["mask_bits"], fine["index_reduction"]) == (491_520, 1)


def test_stages_weigh_by_outputs_and_by_macs():
    """Stage 1 alone fires: 53 % of the output activations, 27.6 % of the gated MACs."""
    model = ResNet(width=0.5)
    result = figures(model, 32, {name: float(name.startswith("conv2_")) for name in model.gated_convs()})
    assert 1 - result["sparsity"]["output"] == pytest.approx(8 / 15, abs=1e-3)
    assert 1 - result["sparsity"]["mac"] == pytest.approx(0.276, abs=1e-3)
    assert result["layers"]["conv2_1"] == 0 and result["layers"]["conv5_4"] == 1


def test_fbs_and_dgc():
    model = ResNet(width=0.5, depth=10, granularity="fbs", density=0.5)
    work = {layer.name: layer for layer in count_work(model, 32, {})}
    shares = {name: round(layer.executed / layer.macs, 3) for name, layer in work.items()}
    assert shares["conv1"] == 0.5 and shares["conv2_1"] == 0.25  # the stem's channels are suppressed, too
    assert (shares["conv2_2"], shares["conv3_1"], shares["down3"], shares["fc"]) == (0.25, 0.5, 0.5, 1.0)
    assert work["conv2_1"].decision == 32 * 32 + 1024 * 32 + 1024 * 16
    model = ResNet(width=0.5, depth=10, granularity="dgc", density=0.5)
    work = {layer.name: layer for layer in count_work(model, 32, {})}
    shares = {name: layer.executed / layer.macs for name, layer in work.items()}
    assert (shares["conv1"], shares["conv2_1"], shares["down3"]) == (1.0, 0.5, 0.5)
    assert work["conv3_1"].decision == 2 * 4 * 32 * 4 + 1024 * 32
    result = figures(model, 32, {})
    assert result["sparsity"] is None and 1.9 < result["reduction"]["with_decisions"] < result["reduction"]["network"]


def test_dense():
    assert figures(ResNet(width=0.5, depth=10, granularity="dense"), 32, {})["reduction"]["with_decisions"] == 1

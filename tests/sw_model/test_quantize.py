"""From the float network to the integers: every choice against its definition, the whole against the float model."""

import copy
import functools
import hashlib
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from cdgate.modes import PURE_MODES
from sw_model import quantize
from sw_model.data.dataset import DataSet
from sw_model.data.photographs import PHOTOGRAPHS, default_images
from sw_model.evaluation import workers as parallel
from sw_model.integer import checkpoint
from sw_model.integer import ops as int_ops
from sw_model.network.resnet import ResNet
from sw_model.quantisation import folding, post_training
from sw_model.quantisation.builder import integer_thresholds, quantize_weight, requantizer_parameters

PHOTOS = np.stack([image for _, image in default_images(len(PHOTOGRAPHS))])
INPUT = torch.from_numpy(PHOTOS).permute(0, 3, 1, 2).float() / 255


def make_model(seed, granularity="slice", stem="small"):
    """A small network with random affine parameters and statistics of the photographs, each branch its own."""
    torch.manual_seed(seed)
    model = ResNet(width=0.5, depth=10, granularity=granularity, stem=stem)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
        for conv in model.gated_convs().values():
            conv.tau.fill_(0.5)
        for norm in norms:
            norm.momentum = None
        model.train()
        for branch in (2, 1):
            for norm in norms:
                norm.reset_running_stats()
            model(INPUT, branch)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return make_model(11)


@pytest.fixture(scope="module")
def net(model):
    return folding.quantize(model, PHOTOS)


def test_quantize_weight_has_one_scale_per_slice(seed):
    weight = torch.randn(20, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    weight[8:16] = 0
    code, scale = quantize_weight(weight)
    for start, stop in ((0, 8), (16, 20)):
        peak = float(weight[start:stop].abs().max())
        assert scale[start:stop].tolist() == [pytest.approx(peak / 127)] * (stop - start), f"{seed=}"
        assert int(code[start:stop].abs().max()) == 127, f"{seed=}"
    assert scale[8:16].tolist() == [1.0] * 8 and not code[8:16].any()
    error = (code * scale.reshape(-1, 1, 1, 1) - weight).abs()
    assert bool((error <= scale.reshape(-1, 1, 1, 1) * 0.5000001).all()), f"{seed=}"


def test_quantize_weight_rounds_halves_to_even():
    code, _ = quantize_weight(torch.tensor([[0.5, 1.5, -0.5, 127.0]]))
    assert code.tolist() == [[0, 2, 0, 127]]


def test_integer_thresholds_decide_as_the_real_rule(rng, seed):
    for _ in range(200):
        threshold, unit = rng.uniform(-50, 50), rng.choice([2.0**-8, 0.0123, 0.3])
        threshold = rng.choice([threshold, rng.randrange(-100, 100) * unit / 8])  # ties, too
        real_values = (torch.tensor([value], dtype=torch.float64) for value in (threshold, unit))
        k = int(integer_thresholds(*real_values, 8)[0])
        real = Fraction(8) * Fraction(threshold) / Fraction(unit)
        for total in range(k - 2, k + 3):
            if abs(real - round(real)) > Fraction(1, 10**9) or unit == 2.0**-8:  # elsewhere double may round the tie
                assert (total > k) == (total > real), f"{seed=} {threshold=} {unit=} {total=}"


def test_integer_thresholds_saturate():
    threshold = torch.tensor([1e30, -1e30, math.inf, -math.inf], dtype=torch.float64)
    expected = [2**31 - 1, -(2**31), 2**31 - 1, -(2**31)]
    assert integer_thresholds(threshold, torch.ones(4), 8).tolist() == expected


def test_requantizer_parameters_are_as_precise_as_they_can_be(rng, seed):
    weight = torch.randint(-127, 128, (3, 16, 3, 3), generator=torch.Generator().manual_seed(seed)).to(torch.int8)
    for _ in range(50):
        gain = torch.tensor([rng.uniform(-1, 1) * 10 ** rng.uniform(-6, -2) for _ in range(3)], dtype=torch.float64)
        offset = torch.tensor([rng.uniform(-300, 300) for _ in range(3)], dtype=torch.float64)
        residual_gain = rng.choice([0.0, 10 ** rng.uniform(-3, 2)])
        M, B, S, R0, Q = requantizer_parameters(weight, gain, offset, residual_gain)
        assert (M.dtype, B.dtype) == (torch.int16, torch.int64)
        bound = weight.long().abs().sum((1, 2, 3)) * 255 * M.long().abs() + B.abs()
        assert int(bound.max()) + 255 * R0 * 2**Q + 2 ** (S - 1) < 2**47, f"{seed=}"
        assert bool(((M.double() / 2**S - gain).abs() <= 0.5 / 2**S).all()), f"{seed=}"
        assert bool(((B.double() / 2**S - offset).abs() <= 0.5 / 2**S).all()), f"{seed=}"
        assert abs(R0 * 2**Q / 2**S - residual_gain) <= max(0.5 / 2**S, residual_gain * 2**-16), f"{seed=}"
        assert S == 40 or int(M.abs().max()) > 2**14 - 2 or residual_gain > 0, f"{seed=}"


def test_requantizer_parameters_refuse_what_cannot_fit():
    weight = torch.full((1, 16, 3, 3), 127, dtype=torch.int8)
    one = torch.ones(1, dtype=torch.float64)
    for gain, offset, residual in ((1e6 * one, one, 0.0), (one, 1e15 * one, 0.0), (one, one, 1e15)):
        with pytest.raises(ValueError, match="requantiser must fit int16 multipliers and an int48 sum"):
            requantizer_parameters(weight, gain, offset, residual)


def real_ofmap(conv, bn, x, branch=1):
    return bn(conv(x, branch) if hasattr(conv, "tau") else conv(x))


@torch.no_grad()
def test_every_layer_by_itself_is_near_the_float_model(model, net):
    """Float layers on the real values of the integer network's ifmaps: decisions agree, ofmaps differ by a code."""
    result, scales = net.run(PHOTOS), net.meta["scales"]
    for name, conv, bn in model.named_convs():
        layer, tap = net.layer(name), result.taps[name]
        if name == "conv1":
            y = real_ofmap(conv, bn, (INPUT - model.mean) / model.std)
        else:
            y = real_ofmap(conv, bn, (tap.ifmap * scales[layer.input]).float())
        if tap.decision is not None:
            x = (tap.ifmap * scales[layer.input]).float()
            agree = (conv.margin(conv.base(x)) > 0) == tap.decision
            assert float(agree.double().mean()) > 0.97, name
            y = y.where(agree.repeat_interleave(layer.slice_size, 1), torch.nan)
        if tap.residual is not None:
            y = y + (tap.residual * scales[layer.residual]).float()
        code = (y / scales[name]).clamp(layer.lo, layer.hi)
        error = (code - tap.ofmap)[~code.isnan()].abs()
        assert float(error.mean()) < 1 and float(error.quantile(0.99)) < 4, name


@torch.no_grad()
def test_the_whole_network_follows_the_float_model(model, net):
    expected, got = model(INPUT), net.run(PHOTOS)
    scale = net.meta["scales"]["conv5_2"] * float(net.training["scale.fc"][0]) / 16
    logits = got.logits * scale
    assert float(np.corrcoef(expected.flatten(), logits.flatten())[0, 1]) > 0.95
    assert float((expected - logits).abs().mean()) < 0.3 * float(expected.std())


@torch.no_grad()
def test_stem_pads_with_the_mean_colour(model, net):
    stem = net.layers[0]
    assert stem.pad_code == (125, 123, 114)
    # An image of the mean colour is zero after normalisation: the stem gives BatchNorm's offset everywhere.
    image = torch.tensor(stem.pad_code, dtype=torch.uint8).expand(1, 32, 32, 3)
    ofmap = net.run(image, only=["conv1"]).taps["conv1"].ofmap
    assert bool((ofmap == ofmap[:, :, :1, :1]).all())
    bn = model.bn1
    zero = (bn.bias - bn.weight * bn.running_mean / (bn.running_var + bn.eps).sqrt()).clamp(min=0)
    assert float((ofmap[0, :, 0, 0] * net.meta["scales"]["conv1"] - zero).abs().max()) < 0.05


@torch.no_grad()
def test_training_state_gives_the_float_model_back(model, net, tmp_path):
    checkpoint.save(tmp_path / "net.safetensors", net)
    again = folding.restore_model(checkpoint.load(tmp_path / "net.safetensors"))
    original = model.state_dict()
    weights = set(net.meta["weight_names"].values())
    for name, value in again.state_dict().items():
        if name in weights:
            assert float((value - original[name]).abs().max()) <= float(original[name].abs().max()) / 200, name
        else:
            assert torch.equal(value, original[name]), name
    second = folding.quantize(again, PHOTOS)
    for a, b in zip(net.layers, second.layers, strict=True):
        assert torch.equal(a.weight, b.weight), a.name


def test_branch_2_uses_its_own_statistics(model, net):
    other = folding.quantize(model, PHOTOS, branch=2)
    layer, first = other.layer("conv2_1"), net.layer("conv2_1")
    norm, tau = model.blocks[0].conv1.norm[1], model.blocks[0].conv1.tau.double()
    threshold = norm.running_mean.double() + tau * (norm.running_var.double() + norm.eps).sqrt()
    unit = other.training["scale.conv2_1"][::8].double() * other.meta["scales"]["conv1"]
    difference = layer.K - 8 * threshold.detach() / unit
    assert layer.branch == 2 and float(difference.abs().max()) < 1 + 1e-3 * float(layer.K.abs().max())
    assert not torch.equal(layer.K, first.K)


@pytest.mark.parametrize("granularity", ["channel", "dense"])
def test_other_granularitys(granularity):
    model = make_model(12, granularity)
    net = folding.quantize(model, PHOTOS)
    assert [layer.gated for layer in net.layers].count(True) == (8 if granularity == "channel" else 0)
    with torch.no_grad():
        expected = model(INPUT)
    logits = {mode: net.run(PHOTOS, mode).logits for mode in PURE_MODES}
    assert float(np.corrcoef(expected.flatten(), logits["gated"].flatten())[0, 1]) > 0.9
    assert torch.equal(logits["dense"], logits["gated"]) == (granularity == "dense")


@pytest.mark.parametrize(
    ("arguments", "branch", "message"),
    [
        ({"granularity": "dgc"}, 1, "must be dense or gated by slice or channel, not dgc"),
    ],
)
def test_networks_that_the_engine_lacks(arguments, branch, message):
    with pytest.raises(ValueError, match=message):
        folding.real_layers(ResNet(width=0.5, depth=10, **arguments).eval(), branch)


@torch.no_grad()
def test_large_stem():
    """The 7x7 stem and its max-pooling, whose codes keep their scale; the float network comes back as it was."""
    model = make_model(14, "dense", "large")  # decisions near their thresholds would differ
    net = folding.quantize(model, PHOTOS)
    assert net.names[:3] == ["conv1", "pool1", "conv2_1"] and net.layer("conv1").kernel == 7
    assert net.meta["scales"]["pool1"] == net.meta["scales"]["conv1"]
    assert net.map_sizes(32, 32)["conv5_2"] == (1, 1)
    expected, logits = model(INPUT), net.run(PHOTOS).logits
    assert float(np.corrcoef(expected.flatten(), logits.flatten())[0, 1]) > 0.98
    restored = folding.restore_model(net)
    assert float(np.corrcoef(expected.flatten(), restored(INPUT).flatten())[0, 1]) > 0.98


@pytest.mark.parametrize("overlap, chosen", [(0, ()), (50, (0, 1, 3, 2)), (75, (0, 1, 2, 0)), (100, (0, 1, 2, 3))])
def test_branch_2_where_the_branches_overlap(overlap, chosen):
    """The integer layer's base path reads the groups that the float one reads."""
    torch.manual_seed(15)
    model = ResNet(width=0.5, depth=10, granularity="channel", slice_size=1, overlap=overlap).eval()
    net = folding.quantize(model, PHOTOS[:4], branch=2)
    for name, conv in model.gated_convs().items():
        layer = net.layer(name)
        assert layer.base_groups == chosen and layer.base_inputs == conv.base_groups[2]
        base, _ = int_ops.split_weight(torch.ones_like(layer.weight), layer.base_inputs)
        rows, cols = (channels // 4 for channels in layer.weight.shape[:2])
        for output, source in enumerate(conv.base_groups[2]):
            block = base[output * rows : (output + 1) * rows]
            assert (
                block[:, source * cols : (source + 1) * cols].all() and int(block.sum()) == block[0].numel() * rows // 4
            )


def test_other_depths():
    for depth, last in ((20, "conv4_6"), (34, "conv5_6")):
        layers = folding.real_layers(ResNet(width=0.5, depth=depth, slice_size=1).eval())
        assert [layer.name for layer in layers][-2:] == [last, "fc"]


def test_main_writes_checkpoint_and_results(model, tmp_path, monkeypatch, capsys):
    """The whole way on a data folder of photographs, without the packages of training."""
    photos, labels = torch.from_numpy(PHOTOS), torch.arange(16) % 10
    data = DataSet(
        name="photographs",
        classes=tuple("abcdefghij"),
        train=photos,
        train_labels=labels,
        test=photos,
        test_labels=labels,
    )
    monkeypatch.setattr(post_training, "load_data", lambda source: data)
    source = tmp_path / "last.ckpt"
    torch.save({"network": {}, "facts": {"seed": 1, "path": Path("x").name}}, source)
    written = []
    monkeypatch.setattr(post_training, "load_model", lambda path: copy.deepcopy(model))
    monkeypatch.setattr(post_training, "save_weights", lambda *what: written.append(what))
    monkeypatch.setattr(post_training, "reestimate", functools.partial(post_training.reestimate, batch_size=16))

    out, results = tmp_path / "out.safetensors", tmp_path / "results" / "out.json"
    options = ["--checkpoint", str(source), "--data", str(tmp_path), "--out", str(out), "--results", str(results)]
    options += ["--float16", "half.safetensors"]
    assert quantize.main([*options, "--limit", "16", "--batches", "1", "--batches2", "1"]) == 0
    [(path, half, facts)] = written
    assert path == Path("half.safetensors") and facts == {"seed": 1, "path": "x"}
    assert "top-1 on 16 images: float32" in capsys.readouterr().out

    figures, net = json.loads(results.read_text()), checkpoint.load(out)
    assert figures["checkpoint_sha256"] == net.digest == hashlib.sha256(out.read_bytes()).hexdigest()
    assert figures["training"] == net.meta["training"] == {"seed": 1, "path": "x"}
    assert net.meta["classes"] == list("abcdefghij") and net.meta["image_size"] == 32
    assert figures["data"] == "photographs" and figures["accuracy"]["images"] == 16
    correct = (net.run(PHOTOS).classes() == torch.arange(16) % 10).double().mean()
    assert figures["accuracy"]["int8"] == float(correct)
    restored = folding.restore_model(net)
    # What is written in float16 has the statistics that were re-estimated.
    running = half.state_dict()["blocks.0.conv1.norm.0.running_mean"]
    assert torch.equal(running, restored.state_dict()["blocks.0.conv1.norm.0.running_mean"])
    labels = np.arange(16) % 10
    assert abs(figures["accuracy"]["float32"] - parallel.float_correct(restored, PHOTOS, labels) / 16) <= 0.25
    for number in (0, 1):  # statistics were re-estimated through either branch
        name = f"blocks.0.conv1.norm.{number}.running_mean"
        assert not torch.equal(restored.state_dict()[name], model.state_dict()[name])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--batches", "--batches must be a whole number from 1 to 1000000, not 0"),
        ("--workers", "--workers must be a whole number from 1 to 1024, not 0"),
    ],
)
def test_main_refuses_numbers(tmp_path, capsys, option, message):
    assert quantize.main(["--checkpoint", str(tmp_path), "--data", str(tmp_path), option, "0"]) == 2
    assert capsys.readouterr().err == f"sw_model.quantize: {message}\n"


def test_main_refuses_bad_input(tmp_path, capsys):
    assert quantize.main(["--checkpoint", str(tmp_path / "none.ckpt"), "--data", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert (
        output.err.startswith("sw_model.quantize: training checkpoint must exist, not ") and output.err.count("\n") == 1
    )
    assert output.out == ""


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["blocks.0.conv1.weight", "fc.bias", "blocks.1.conv2.tau", "bn1.running_var"])
def test_values_that_are_not_finite_are_named_and_nothing_is_replaced(
    model, tmp_path, capsys, monkeypatch, name, value
):
    sick = copy.deepcopy(model)
    sick.state_dict()[name].view(-1)[0] = value
    with pytest.raises(ValueError, match=f"network to quantise must have finite values only, but {name} has others"):
        folding.quantize(sick, PHOTOS)
    state = {f"model.{key}": tensor for key, tensor in sick.state_dict().items()}
    torch.save({"network": sick.hparams, "state_dict": state, "facts": {}}, tmp_path / "x.ckpt")
    for file in ("out.safetensors", "half.safetensors"):
        (tmp_path / file).write_text("good")
    options = ["--data", "digits", "--out", str(tmp_path / "out.safetensors")]
    options += ["--float16", str(tmp_path / "half.safetensors"), "--checkpoint", str(tmp_path / "x.ckpt")]
    assert quantize.main(options) == 2
    assert f"x.ckpt must have finite values only, but {name} has others" in capsys.readouterr().err
    assert (tmp_path / "out.safetensors").read_text() == (tmp_path / "half.safetensors").read_text() == "good"


def test_what_cannot_be_quantised_replaces_nothing(model, tmp_path, capsys):
    """Finite, but no requantiser fits: neither file appears."""
    sick = copy.deepcopy(model)
    sick.bn1.bias.data[0] = 1e30
    state = {f"model.{key}": tensor for key, tensor in sick.state_dict().items()}
    torch.save({"network": sick.hparams, "state_dict": state, "facts": {}}, tmp_path / "x.ckpt")
    options = ["--data", "digits", "--out", str(tmp_path / "out.safetensors"), "--batches", "1", "--batches2", "1"]
    options += ["--float16", str(tmp_path / "half.safetensors"), "--checkpoint", str(tmp_path / "x.ckpt")]
    assert quantize.main(options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("sw_model.quantize: ") and "x.ckpt" in error
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]


def test_thresholds_have_the_sign_of_the_scale(net):
    """Scales are positive, so a greater saliency never turns a decision off."""
    for layer in net.layers:
        if layer.gated:
            assert bool((net.training[f"scale.{layer.name}"] > 0).all())
            assert int(layer.K.min()) > int_ops.INT32_MIN and int(layer.K.max()) < int_ops.INT32_MAX


def test_results_of_the_shipped_network_are_of_its_file(root):
    figures = json.loads((root / "results/resnet18_scdg_cifar10.json").read_text())
    assert figures["checkpoint_sha256"] == checkpoint.load(checkpoint.DEFAULT_CHECKPOINT).digest

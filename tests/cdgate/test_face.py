"""The Python face: what it offers, what it loads when, and results that are the commands' own."""

import subprocess
import sys

import numpy as np
import pytest

import cdgate
from cdgate import packages
from cdgate.__main__ import COMMANDS, main
from cdgate.errors import UserError
from sim.check.model import BOUNDS
from sw_model.quantisation.random_network import random_network


def test_everything_offered_is_there():
    for name in cdgate.__all__:
        assert getattr(cdgate, name).__doc__ or name == "CONFIGS"
    assert dir(cdgate) == sorted(cdgate.__all__)
    with pytest.raises(AttributeError, match="module 'cdgate' has no attribute 'nothing'"):
        cdgate.nothing  # noqa: B018


def test_nothing_is_loaded_before_it_is_used(root):
    code = (
        "import sys, cdgate; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'numpy', 'rich', 'sim'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture(scope="module")
def net():
    return random_network(width=0.25, groups=2, blocks=1, seed=3)


@pytest.fixture(scope="module")
def engine(request):
    """The small configuration, with the builds that other tests use, too."""
    return cdgate.Engine("small", build=request.config.rootpath / "build", say=lambda text: None)


def test_layer(net, engine, tmp_path):
    images = cdgate.photographs(2)
    found = engine.run_layer(net, "conv5_2", images, output=tmp_path)
    assert found.bit_exact and found.passed and found.layer == "conv5_2" and found.verdict.holds
    golden = net.run(images, only=["conv5_2"]).taps["conv5_2"]
    for image in range(2):
        mask = found.mask(image)
        assert mask.dtype == bool and np.array_equal(mask, golden.decision[image].numpy())
    assert found.speedup.realised == found.cycles["dense"] / found.cycles["gated"]
    assert found.speedup.theoretical == found.report["speedup"]["theoretical"]
    assert found.report["image_names"] == ["image 0", "image 1"] and found.report["checkpoint_sha256"] == ""
    assert "conv5_2" in repr(found) and repr(found).endswith("all equal>")
    for wrong, told in ((2, "2"), (-1, "-1"), ("0", "'0'")):
        with pytest.raises(UserError, match=f"image must be a whole number from 0 to 1, not {told}"):
            found.mask(wrong)
    plain = engine.run_layer(net, "fc", images, output=tmp_path)
    with pytest.raises(UserError, match="layer fc: nothing is decided in mode gated"):
        plain.mask(0)


def test_network(net, engine, tmp_path):
    images = cdgate.photographs(1, 16)
    found = engine.run(net, images, output=tmp_path, runs="gated")
    assert found.bit_exact and found.passed and found.speedup.realised is None and set(found.cycles) == {"gated"}
    assert np.array_equal(found.logits, net.run(images).logits.numpy()) and found.logits.dtype == np.int64
    assert found.classes == [net.meta["classes"][int(net.run(images).classes()[0])]]


def test_predicted_cycles_are_near_the_counted_ones(net, engine, tmp_path):
    images = cdgate.photographs(1, 16)
    compiled = engine.compile(net, images)
    counted = engine.run(net, images, output=tmp_path, runs="gated").cycles["gated"]
    assert abs(compiled.cycles - counted) <= BOUNDS["network"] * counted and "small, gated, 1 image(s)" in repr(
        compiled
    )


def test_verilog(engine, tmp_path):
    paths = engine.verilog(tmp_path / "out")
    assert [path.name for path in paths] == ["small.v", "small_system.v"]
    assert all(path.with_suffix(".json").is_file() for path in paths)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda e, n, i: e.run_layer(n, "conv9", i), "layer must be one of conv1, .*, not 'conv9'"),
        (lambda e, n, i: e.run_layer(n, "fc", i, "half"), "mode must be one of gated, .*, not 'half'"),
        (
            lambda e, n, i: e.run_layer(n, "fc", i, batch=2),
            "batch, of so many images, must be a whole number from 1 to 1, not 2",
        ),
        (
            lambda e, n, i: e.run_layer(n, "fc", i.astype(float)),
            r"images must be uint8 of shape \(N, rows, columns, 3\)",
        ),
        (lambda e, n, i: e.run_layer(n, "fc", i, masks=np.ones(1, bool)), "a mask needs mode forced and one layer"),
        (lambda e, n, i: e.run(n, i, bandwidth=0), "bandwidth must be a whole number from 1 to 1024, not 0"),
        (lambda e, n, i: e.run(n, i, runs="dense"), "runs must be one of both, gated, not 'dense'"),
        (lambda e, n, i: e.run(n, i, names=["a", "b"]), "names must be those of 1 images, not of 2"),
        (lambda e, n, i: e.run(n, i, names="a"), "names must be a list, not 'a'"),
        (lambda e, n, i: e.run_layers(n, ["fc"], i, names=[3]), r"names must be texts, not 3 \(int\)"),
        (lambda e, n, i: e.run(n, i, names=[None]), "names must be texts, not None"),
        (lambda e, n, i: e.run(n, i, labels=["a", "b"]), "labels must be those of 1 images, not of 2"),
        (lambda e, n, i: e.run(n, i, labels=[]), "labels must be those of 1 images, not of 0"),
        (lambda e, n, i: e.run(n, i, labels=3), r"labels must be a list, not 3 \(int\)"),
        (lambda e, n, i: e.run(n, i, runs=["both"]), r"runs must be one of both, gated, not \['both'\]"),
        (lambda e, n, i: e.compile(n, i, bandwidth="8"), "bandwidth must be a number above 0, and finite, not '8'"),
        (lambda e, n, i: e.compile(n, i, bandwidth=True), "bandwidth must be a number above 0, and finite, not True"),
        (lambda e, n, i: e.compile(n, i, bandwidth=-1), "bandwidth must be a number above 0, and finite, not -1"),
        (lambda e, n, i: e.compile(n, i, latency="40"), "latency must be a whole number from 1 to 100000, not '40'"),
        (lambda e, n, i: e.compile(n, i, latency=4.5), "latency must be a whole number from 1 to 100000, not 4.5"),
        (lambda e, n, i: e.compile(n, i, latency=None), "latency must be a whole number from 1 to 100000, not None"),
        (lambda e, n, i: e.compile(n, i, mode=3), "network: mode must be one of gated, .*, not 3"),
        (lambda e, n, i: e.compile(n, [[1], [1, 2]]), r"images must be an array, not \[\[1\], \[1, 2\]\] \(list\)"),
        (lambda e, n, i: e.run_layers(n, 5, i), r"layers must be a list of names, at least one, not 5 \(int\)"),
        (lambda e, n, i: e.run_layer(n, "fc", i, output="a\0b"), "folder must be a path, not 'a.x00b'"),
        (lambda e, n, i: e.run_layer(None, "fc", i), "network must be what cdgate.load returns, not None"),
        (lambda e, n, i: e.run_layer("fc", n, i), "network must be what cdgate.load returns, not 'fc'"),
        (lambda e, n, i: e.run("x", i), "network must be what cdgate.load returns, not 'x'"),
        (lambda e, n, i: e.compile("x", i), "network must be what cdgate.load returns, not 'x'"),
        (lambda e, n, i: e.run_layers(n, [], i), "layers must be a list of names, at least one"),
        (lambda e, n, i: e.run_layers(n, "fc", i), "layers must be a list of names, at least one"),
        (lambda e, n, i: e.run_layers(n, ["fc", "fc"], i), "layers must be named once each, not fc, fc"),
        (lambda e, n, i: e.run_layers(n, ["fc"], i, group="../up"), "group must be one of all, fc, not '../up'"),
        (lambda e, n, i: e.run_layer(n, "fc", i, batch="1"), "batch, .* must be a whole number from 1 to 1, not '1'"),
        (lambda e, n, i: e.run_layer(n, "fc", i, batch=True), "batch, .* must be a whole number from 1 to 1, not True"),
        (lambda e, n, i: e.run(n, i, latency=None), "latency must be a whole number from 1 to 100000, not None"),
        (lambda e, n, i: e.run_layer(n, "fc", i[:, :0]), "images must be uint8 of shape"),
        (lambda e, n, i: e.run_layer(n, "conv5_2", i, "forced", masks="x"), "masks must be a bool array, not <U1"),
        (lambda e, n, i: e.run_layer(n, "fc", i, output=3), "folder must be a path, not 3"),
        (lambda e, n, i: e.run_layer(n, "fc", i, output="/dev/null"), "/dev/null must be a folder that can be written"),
        (lambda e, n, i: cdgate.Engine(None), "configuration must be a name, a path or an HwParams, not a NoneType"),
        (lambda e, n, i: e.run(n, i, output=""), "folder must be a path, not an empty name"),
        (lambda e, n, i: e.verilog(""), "folder must be a path, not an empty name"),
        (lambda e, n, i: cdgate.Engine("full", build=""), "build must be a path, not an empty name"),
        (lambda e, n, i: cdgate.Engine("full", build=None), "build must be a path, not None"),
        (lambda e, n, i: cdgate.load(""), "checkpoint must be a path, not an empty name"),
        (lambda e, n, i: cdgate.load(3), "checkpoint must be a path, not 3"),
        (lambda e, n, i: cdgate.load_image(""), "image must be a path, not an empty name"),
        (lambda e, n, i: cdgate.Engine(cdgate.HwParams(in_par="8")), "in_par must be an integer, not '8'"),
        (lambda e, n, i: cdgate.Engine(cdgate.HwParams(in_par=5)), "in_par must be one of 2, 4, 8, 16, not 5"),
        (lambda e, n, i: cdgate.Engine(cdgate.HwParams(in_par=2)), r"rq_lanes must be at most in_par \(2\), "),
        (lambda e, n, i: cdgate.Engine("huge"), "configuration must be one of full, .*, not 'huge'"),
    ],
)
def test_bad_input(net, engine, call, message):
    with pytest.raises(UserError, match=message) as error:
        call(engine, net, cdgate.photographs(1))
    assert "\n" not in str(error.value)


def test_package_that_is_hidden(monkeypatch, tmp_path):
    (tmp_path / "sim.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sim", raising=False)
    with pytest.raises(UserError, match="package sim of cdgate is hidden by .*sim.py: rename that, or run elsewhere"):
        packages.check()


def test_commands(root, capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for word, (module, _) in COMMANDS.items():
        assert f"  {word} " in printed and (root / f"{module.replace('.', '/')}.py").is_file(), word
    assert max(map(len, printed.splitlines())) <= 100
    assert main(["nothing"]) == 2 and main([]) == 2
    assert capsys.readouterr().err.startswith("cdgate: command must be one of sim, network, ")
    assert main(["configs", "--config", "huge"]) == 2

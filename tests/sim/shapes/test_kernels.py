"""Kernels of every size on the generated Verilog: unpadded, padded, gated, as large as the map, and through patches."""

from sim.plan.cases import random_case
from tests.sim.bench import Trial, check


def trial(seed, mode="gated", compiled=None, **options):
    return Trial(f"{options} seed {seed}", random_case(seed, **options), mode, compile=compiled or {})


def test_kernels(engine, tmp_path, seed):
    in_par = engine.params.in_par
    plain = {"in_ch": in_par + 1, "out_ch": 12, "groups": 1}
    trials = [
        trial(seed % 1000 + kernel, size=(9, 10), kernel=kernel, pad=pad, stride=stride, **plain)
        for kernel, pad, stride in (
            *((kernel, 0, 1) for kernel in (2, 4, 5, 6, 7, 8)),
            *((kernel, 1, 2) for kernel in (2, 4, 5, 8)),
            *((kernel, 0, 3) for kernel in (1, 2, 3)),
        )
    ]
    for kernel, pad in ((5, 0), (2, 1), (8, 0)):
        gated = {"in_ch": 2 * in_par, "out_ch": 16, "groups": 2, "kernel": kernel, "pad": pad, "size": (9, 9)}
        for mode in ("gated", "dense", "base"):
            trials.append(trial(seed % 1000 + kernel, mode, **gated))
        rows = 10 + 2 * pad - kernel
        trials.append(trial(seed % 1000 + kernel, compiled={"rows": (rows - 1, rows)}, **gated))
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_base_paths_of_any_groups(engine, tmp_path, seed):
    plain = {"in_ch": 4 * engine.params.in_par, "out_ch": 64, "size": (3, 4), "images": 2}
    trials = [
        trial(seed % 1000, mode, base_groups=chosen, slice_size=size, **plain)
        for chosen in ((0, 1, 3, 2), (0, 1, 2, 0), (0, 0, 0, 0), (3, 1, 3, 2))
        for mode, size in (("gated", 8), ("gated", 1), ("dense", 8))
    ]
    eight = {**plain, "in_ch": 8 * engine.params.in_par, "groups": 8, "kernel": 1}
    trials += [trial(seed % 1000, base_groups=chosen, **eight) for chosen in ((), (7, 0, 6, 1, 5, 2, 4, 3))]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_linear_layers_and_patches(engine, tmp_path, seed):
    trials = [
        trial(seed % 1000 + size, size=(size, size), kernel=size, pad=0, in_ch=10, out_ch=20, groups=1, images=2)
        for size in (1, 4, 8)
    ]
    trials += [
        trial(seed % 1000, in_ch=colours, out_ch=8, size=(12, 15), kernel=kernel, pad=pad, stride=stride, groups=1,
              image=True)
        for colours in (1, 3)
        for kernel, pad, stride in ((7, 3, 2), (5, 2, 1), (5, 0, 1))
    ]  # fmt: skip
    check(engine.simulator, engine.params, tmp_path / "runs", trials)

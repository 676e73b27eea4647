"""Max-pooling on the generated Verilog: all windows, borders and channels, between convolutions, and its cycles."""

import numpy as np

from gen.cost.steps import pool_cycles
from hw.interface.layouts import IdleCause
from sim.plan.cases import pool_case, random_case
from tests.sim.bench import Trial, check, program_of

#: Window, padding, stride.
WINDOWS = [(window, pad, stride) for window in (2, 3) for pad in (0, 1) for stride in (1, 2)]


def trial(seed, window, pad, stride, size=(7, 5), **options):
    case = pool_case(seed, window=window, pad=pad, stride=stride, size=size, **options)
    return Trial(f"{window}x{window}/{stride} pad {pad} {size} {options} seed {seed}", case)


def test_windows_borders_and_signs(engine, tmp_path, seed):
    trials = [
        trial(seed, *window, size=size, images=images, signed=signed, channels=channels)
        for window in WINDOWS
        for size, images, signed, channels in (
            ((7, 5), 2, False, 64),
            ((4, 6), 3, True, 24),
            ((3, 3), 1, False, 8),
        )
    ]
    trials += [trial(seed, 2, 1, 1, size=(1, 1)), trial(seed, 3, 1, 2, size=(1, 2)), trial(seed, 3, 1, 2, channels=3)]
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_between_convolutions(engine, tmp_path, seed):
    """Nothing of a pass is left to the next one, neither in the slice table nor in the ring of weights."""
    groups = 2
    conv = {"in_ch": groups * engine.params.in_par, "out_ch": 8 * groups, "groups": groups, "size": (3, 4)}
    trials = []
    for n, window in enumerate(WINDOWS):
        trials.append(Trial(f"convolution {n}", random_case(seed % 1000 + n, **conv), run={"early_weights": n % 2}))
        trials.append(trial(seed, *window, size=(4, 4)))
        trials.append(trial(seed + 1, *window, size=(4, 4)))
    trials.append(Trial("classifier", random_case(seed % 1000, in_ch=32, size=(2, 2), classes=10)))
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_tiles_and_offsets(engine, tmp_path, seed):
    trials = []
    for window, pad, stride in WINDOWS:
        case = pool_case(seed, window=window, pad=pad, stride=stride, size=(9, 6), images=2)
        rows = case.layer.out_size(9)
        for part in ((0, 1), (1, rows - 1), (rows - 2, rows)):
            trials.append(Trial(f"{window}x{window}/{stride} pad {pad} rows {part}", case, compile={"rows": part}))
    check(engine.simulator, engine.params, tmp_path / "runs", trials)


def test_every_cycle_is_one_of_pooling(engine, tmp_path, seed):
    """A word takes as many cycles as it has taps; the cost model knows them exactly."""
    trials = [trial(seed, *window, size=(12, 13), channels=32) for window in WINDOWS]
    outputs = check(engine.simulator, engine.params, tmp_path / "runs", trials)
    ends = []
    for one, output in zip(trials, outputs, strict=True):
        counters = output.counters
        assert counters["idle"][IdleCause.POOL.value] == counters["cycles"] == sum(counters["idle"]), one.label
        geometry = program_of(one, engine.params).geometry
        ends.append(counters["cycles"] - geometry.slices * pool_cycles(geometry, engine.params))
        words = geometry.images * geometry.out_rows * geometry.out_cols * geometry.out_words
        assert one.case.layer.pad or counters["cycles"] < 1.05 * words * one.case.layer.kernel**2 + 50, one.label
    # Beside the start, and the last word's way: behind it there is none to wait for.
    assert 15 <= min(ends) <= max(ends) <= 30, f"seed {seed}: {ends}"
    assert len(np.unique([output.counters["cycles"] for output in outputs])) > 1

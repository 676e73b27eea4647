"""What the regressions share: runs on the simulator of a configuration, all in one process, judged one by one."""

from dataclasses import dataclass, field

from gen.layer.compiler import compile_layer
from sim.check.outputs import compare
from sim.run.files import Run
from sw_model.integer.steps import count_layer


@dataclass
class Trial:
    """A case in a mode, and how it is run."""

    label: str
    case: object
    mode: str = "gated"
    compile: dict = field(default_factory=dict)  # options of the compiler
    run: dict = field(default_factory=dict)  # options of the run
    program: object = None  # instead of the compiled one


def program_of(trial, params):
    """Return the trial's program."""
    case = trial.case
    return trial.program or compile_layer(case.layer, case.ifmap, case.residual, params, trial.mode, **trial.compile)


def golden_of(trial):
    """Return what the trial must compute."""
    return trial.case.golden(trial.mode, trial.compile.get("masks"))


def run_trials(simulator, params, work, trials):
    """Run all trials one after the other without a reset between them; return (output, verdict) for each."""
    programs = [program_of(trial, params) for trial in trials]
    counts, runs = [], []
    for trial, program in zip(trials, programs, strict=True):
        layer, ifmap = trial.case.layer, trial.case.ifmap
        decision = golden_of(trial).decision
        count = count_layer(layer, tuple(ifmap.shape[2:]), len(ifmap), params.in_par, decision)
        counts.append(None if "rows" in trial.compile else count)
        limit = 20_000 + 40 * count.dense
        runs.append(Run(program=program, **{"cycle_limit": limit, **trial.run}))
    outputs = simulator.run(runs, work)
    verdicts = [
        compare(program, output, golden_of(trial), count, trial.mode)
        for trial, program, output, count in zip(trials, programs, outputs, counts, strict=True)
    ]
    return list(zip(outputs, verdicts, strict=True))


def check(simulator, params, work, trials):
    """Run all trials and fail with those that differ or break a law; return the outputs."""
    results = run_trials(simulator, params, work, trials)
    bad = [
        f"{trial.label} {trial.mode} {trial.run}: {verdict.mismatches} mismatches; "
        + "; ".join([*map(str, verdict.first[:3]), *verdict.broken[:5]])
        for trial, (_, verdict) in zip(trials, results, strict=True)
        if not verdict.holds
    ]
    assert not bad, "\n".join(bad)
    assert all(verdict.outputs_checked for _, verdict in results)
    return [output for output, _ in results]

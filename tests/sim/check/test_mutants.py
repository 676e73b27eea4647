"""The checks can fail: every mutant of the data or the hardware is reported as a mismatch or as a broken law."""

import dataclasses

import pytest

from gen.layer.compiler import compile_layer
from sim.plan.cases import random_case
from tests.sim.bench import Trial, run_trials
from tests.sim.check.mutants import MUTANTS


def trial_of(name, params):
    """Return a trial whose program is the mutant of a good one that has what the mutant changes."""
    case = random_case(21, in_ch=4 * params.in_par, out_ch=32, size=(4, 4), residual="unsigned")
    if name == "threshold_plus_one":  # so that there is a saliency of K + 1
        case = dataclasses.replace(case, layer=dataclasses.replace(case.layer, K=case.layer.K - 1))
    program = compile_layer(case.layer, case.ifmap, case.residual, params, "gated")
    return Trial(name, case, program=MUTANTS[name](program))


@pytest.fixture(scope="module")
def findings(small, tmp_path_factory):
    """What is found in every mutant, run between two good passes; by name."""
    good = Trial("good", random_case(21, in_ch=4 * small.params.in_par, out_ch=32, size=(4, 4), residual="unsigned"))
    trials = [good, *(trial_of(name, small.params) for name in MUTANTS), good]
    results = run_trials(small.simulator, small.params, tmp_path_factory.mktemp("mutants") / "runs", trials)
    verdicts = [verdict for _, verdict in results]
    assert verdicts[0].holds and verdicts[-1].holds
    return dict(zip(MUTANTS, verdicts[1:-1], strict=True))


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_found(findings, name):
    assert findings[name].mismatches > 0
    line = str(findings[name].first[0])
    assert "layer case21, image 0, row " in line and "expected" in line and "in cycle " in line


@pytest.mark.parametrize("name", ["threshold_plus_one", "tie_fires", "decision_forced"])
def test_wrong_decisions_break_the_laws_too(findings, name):
    verdict = findings[name]
    assert any(mismatch.what == "decision" for mismatch in verdict.first)
    assert any("fired must be" in text for text in verdict.broken)
    assert any("cond_steps must be the reference's" in text for text in verdict.broken)


def test_computed_padding_breaks_the_laws_too(findings):
    broken = findings["padded_tap_not_skipped"].broken
    assert any("base_steps must be the reference's" in text for text in broken)
    assert any("base + conditional + skipped steps must be the" in text for text in broken)


# A flipped weight bit may move a saliency over its threshold, too, so it is not among them.
@pytest.mark.parametrize("name", ["rounding_dropped", "residual_one_pixel_off"])
def test_wrong_arithmetic_breaks_no_law(findings, name):
    assert not findings[name].broken
    assert {mismatch.what for mismatch in findings[name].first} == {"ofmap"}

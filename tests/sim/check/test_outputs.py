"""The comparison itself, on made-up outputs of a pass that is otherwise right."""

import dataclasses

import numpy as np
import pytest

from gen.layer.compiler import compile_layer
from hw.params import HwParams
from sim.check.laws import DONE, DONE_LOGITS
from sim.check.outputs import compare
from sim.plan.cases import random_case
from sim.run.files import RunOutput
from sw_model.integer.steps import count_layer

PARAMS = HwParams(in_par=4, rq_lanes=2)


def right(images=2, residual=None, classes=0):
    """Return program, output, tap and count of a pass as a right engine would leave it behind."""
    case = random_case(31, in_ch=16, out_ch=32, size=(3, 3), images=images, residual=residual, classes=classes)
    tap = case.golden("gated")
    program = compile_layer(case.layer, case.ifmap, case.residual, PARAMS, "gated")
    count = count_layer(case.layer, (3, 3), images, PARAMS.in_par, tap.decision)
    empty = np.zeros(0, dtype=np.int64)
    masks = dict.fromkeys(("slice", "image", "row", "col", "fire"), empty)
    trace = {"addr": empty, "sub": empty, "codes": empty.reshape(0, 2)}
    logits = {"logits": empty.reshape(0, 2), "phase": empty, "slice": empty, "image": empty}
    cycles, words, mask_cycles, logit_cycles = empty, np.zeros((0, 4), dtype=np.uint8), empty, empty
    if classes:
        records = [
            (image, slice_, phase)
            for slice_ in range(-(-classes // 8))
            for image in range(images)
            for phase in range(4)
        ]
        padded = np.pad(tap.ofmap.numpy(), ((0, 0), (0, -classes % 8)))
        logits = {
            "logits": np.array([padded[i, 8 * s + 2 * p : 8 * s + 2 * p + 2] for i, s, p in records]),
            "image": np.array(records)[:, 0],
            "slice": np.array(records)[:, 1],
            "phase": np.array(records)[:, 2],
        }
        logit_cycles = np.arange(len(records)) + 100
    else:
        addresses = program.ofmap.addresses()
        words = program.ofmap.to_words(tap.ofmap.numpy(), 4).reshape(-1, 4)
        trace = {
            "addr": np.repeat(addresses.reshape(-1), 2),
            "sub": np.tile([0, 1], addresses.size),
            "codes": words.reshape(-1, 2),
        }
        cycles = np.arange(len(trace["addr"])) + 100
        fire = tap.decision.numpy().transpose(1, 0, 2, 3)
        place = np.stack(np.unravel_index(np.arange(fire.size), fire.shape), axis=1)
        masks = {name: place[:, n] for n, name in enumerate(("slice", "image", "row", "col"))}
        masks["fire"] = fire.reshape(-1) * 255
        mask_cycles = np.arange(fire.size) + 50
    last = int((logit_cycles if classes else cycles)[-1])
    counters = {
        "cycles": last,
        "base_steps": count.base,
        "cond_steps": count.conditional,
        "decisions": count.decisions,
        "fired": count.fired,
        "idle": [last - count.base - count.conditional, 0, 0, 0, 0, 0, 0],
    }
    output = RunOutput(
        timeout=False,
        violations=0,
        stray=0,
        weights_left=0,
        words_left=0,
        late_loads_left=0,
        forces_left=0,
        late_weights=0,
        counters_changed=False,
        done_cycle=last + (DONE_LOGITS if classes else DONE),
        counters=counters,
        mask_cycles=mask_cycles,
        masks=masks,
        logit_cycles=logit_cycles,
        logits=logits,
        trace_cycles=cycles,
        trace=trace,
        words=words,
    )
    return program, output, tap, count


def test_right_pass_holds():
    program, output, tap, count = right()
    verdict = compare(program, output, tap, count, "gated")
    assert verdict.holds and verdict.outputs_checked == 2 * 32 * 9 and verdict.decisions_checked == 2 * 4 * 9
    assert verdict.nonzero == np.count_nonzero(tap.ofmap.numpy())


def test_wrong_output_is_named():
    program, output, tap, count = right()
    words = output.words.copy()
    # Image 1, row 2, column 0, channel 22: byte 2 of word 5.
    words[((1 * 9 + 2 * 3 + 0) * 8 + 5), 2] ^= 1
    expected = int(tap.ofmap[1, 22, 2, 0])
    verdict = compare(program, dataclasses.replace(output, words=words), tap, count, "gated", first_image=4)
    cycle = 100 + 2 * ((9 + 6) * 8 + 5) + 1
    assert verdict.mismatches == 1 and not verdict.broken
    assert str(verdict.first[0]) == (
        f"ofmap mismatch: layer case31, image 5, row 2, column 0, channel 22: expected {expected}, got {expected ^ 1}, "
        f"written in cycle {cycle}"
    )


def test_missing_outputs_are_mismatches():
    program, output, tap, count = right()
    verdict = compare(program, dataclasses.replace(output, words=output.words[:-1], words_left=1), tap, count, "gated")
    assert verdict.mismatches == 4 and verdict.first[0].got is None
    assert verdict.broken == ["layer case31, gated, image 0: words left must be 0 at the end, not 1"]


def test_wrong_decision_is_named():
    program, output, tap, count = right()
    fire = output.masks["fire"].copy()
    fire[0] ^= 255
    fire[9 * 2 + 5] = 3  # not all bits of a slice are equal
    verdict = compare(program, dataclasses.replace(output, masks={**output.masks, "fire": fire}), tap, count, "gated")
    assert verdict.mismatches == 2
    first, second = verdict.first
    assert (first.what, first.image, first.row, first.col, first.channel, first.cycle) == ("decision", 0, 0, 0, 0, 50)
    assert first.got == 1 - first.expected
    assert (second.channel, second.row, second.col, second.got) == (8, 1, 2, 3)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"timeout": True}, "pass must end"),
        ({"violations": 3}, "streams must hold valid and payload until ready, but did not in 3 cycles"),
        ({"stray": 2}, "nothing must come outside of the pass, but something did in 2 cycles"),
        ({"weights_left": 1}, "weights left must be 0"),
        ({"late_loads_left": 1}, "late loads left must be 0"),
        (
            {"late_weights": 1},
            "at most 0 weights, of a conditional path that nobody wants, may be taken after done, not 1",
        ),
        ({"counters_changed": True}, "counters must stand after done"),
    ],
)
def test_broken_run(change, text):
    program, output, tap, count = right()
    verdict = compare(program, dataclasses.replace(output, **change), tap, count, "gated")
    assert len(verdict.broken) == 1 and text in verdict.broken[0]


@pytest.mark.parametrize(
    "name, text",
    [
        ("cycles", "cycles must count to the last output"),
        ("base_steps", "base_steps must be the reference's"),
        ("cond_steps", "cond_steps must be the reference's"),
        ("fired", "fired must be"),
        ("decisions", "fired must be"),
    ],
)
def test_broken_counters(name, text):
    program, output, tap, count = right()
    counters = {**output.counters, name: output.counters[name] + 1}
    verdict = compare(program, dataclasses.replace(output, counters=counters), tap, count, "gated")
    assert any(text in law for law in verdict.broken)
    if name in ("cycles", "base_steps", "cond_steps"):
        assert any("base + conditional + idle must be" in law for law in verdict.broken)


@pytest.mark.parametrize("classes, trace", [(0, True), (0, False), (10, True)])
def test_cycles_are_the_clock_s(classes, trace):
    program, output, tap, count = right(classes=classes)
    program = dataclasses.replace(program, params=dataclasses.replace(PARAMS, trace=trace))
    if not trace:
        none = {name: value[:0] for name, value in output.trace.items()}
        output = dataclasses.replace(output, trace=none, trace_cycles=output.trace_cycles[:0])
    assert compare(program, output, tap, count, "gated").passed
    for change in (-1, 1):
        counters = {**output.counters, "cycles": output.counters["cycles"] + change}
        idle = [counters["idle"][0] + change, *counters["idle"][1:]]
        wrong = dataclasses.replace(output, counters={**counters, "idle": idle})
        verdict = compare(program, wrong, tap, count, "gated")
        assert verdict.broken == verdict.clock and len(verdict.clock) == (2 if trace else 1)
        assert "before done in cycle" in verdict.clock[-1] and verdict.text.startswith("fail: clock: layer case31, ")


def test_broken_writes():
    program, output, tap, count = right()
    trace = {name: np.concatenate([value, value[:1]]) for name, value in output.trace.items()}
    cycles = np.concatenate([output.trace_cycles, [99]])
    verdict = compare(program, dataclasses.replace(output, trace=trace, trace_cycles=cycles), tap, count, "gated")
    assert len(verdict.broken) == 1 and "must be written once and nothing else" in verdict.broken[0]


def test_order_of_decisions():
    program, output, tap, count = right()
    masks = {name: value.copy() for name, value in output.masks.items()}
    for value in masks.values():
        value[[3, 4]] = value[[4, 3]]
    verdict = compare(program, dataclasses.replace(output, masks=masks), tap, count, "gated")
    assert verdict.mismatches == 2 and verdict.first[0].got is None
    assert any(
        "record 3 of decisions must be of (slice, image, row, col) (0, 0, 1, 0), not (0, 0, 1, 1)" in text
        for text in verdict.broken
    )
    fewer = {name: value[:-1] for name, value in output.masks.items()}
    short = dataclasses.replace(output, masks=fewer, mask_cycles=output.mask_cycles[:-1])
    verdict = compare(program, short, tap, count, "gated")
    assert verdict.mismatches == 1 and verdict.first[0].got is None
    assert any("72 records of decisions must leave the engine, not 71" in text for text in verdict.broken)


def test_logits():
    program, output, tap, count = right(classes=10)
    assert compare(program, output, tap, count, "gated").holds
    logits = {name: value.copy() for name, value in output.logits.items()}
    logits["logits"][5, 1] += 1  # image 1, slice 0, phase 1: class 3
    verdict = compare(program, dataclasses.replace(output, logits=logits), tap, count, "gated")
    assert verdict.mismatches == 1
    found = verdict.first[0]
    assert (found.what, found.image, found.channel, found.cycle) == ("logit", 1, 3, 105)


def with_records(output, kind, choose):
    """Return the output with other records of a kind: those that `choose` makes of their numbers."""
    cycles = getattr(output, f"{kind[:-1]}_cycles")
    numbers = choose(np.arange(len(cycles)))
    records = {name: value[numbers] for name, value in getattr(output, kind).items()}
    return dataclasses.replace(output, **{kind: records, f"{kind[:-1]}_cycles": np.sort(cycles[numbers])})


@pytest.mark.parametrize("kind, classes", [("logits", 16), ("masks", 0)])
@pytest.mark.parametrize(
    "choose, text",
    [
        (lambda numbers: np.append(numbers, 0), "records of"),
        (lambda numbers: np.repeat(numbers, 2), "records of"),
        (lambda numbers: numbers[:-1], "records of"),
        (lambda numbers: numbers[::-1], "record 0 of"),
        (lambda numbers: np.append(numbers[0], numbers[:-1]), "record 1 of"),
    ],
    ids=["one more", "twice", "one less", "reversed", "one instead of another"],
)
def test_records_come_once_and_in_order(kind, classes, choose, text):
    program, output, tap, count = right(classes=classes)
    verdict = compare(program, with_records(output, kind, choose), tap, count, "gated")
    assert verdict.mismatches > 0 and any(text in law for law in verdict.broken)


@pytest.mark.parametrize(
    "kind, classes, name",
    [
        ("logits", 10, "slice"),
        ("logits", 10, "image"),
        ("logits", 10, "phase"),
        ("masks", 0, "slice"),
        ("masks", 0, "image"),
        ("masks", 0, "row"),
        ("masks", 0, "col"),
    ],
)
def test_records_of_what_does_not_exist(kind, classes, name):
    """Right values, each at its place, under a wrong name."""
    program, output, tap, count = right(classes=classes)
    records = getattr(output, kind)
    verdict = compare(
        program, dataclasses.replace(output, **{kind: {**records, name: records[name] + 3}}), tap, count, "gated"
    )
    assert verdict.mismatches == (tap.ofmap if classes else tap.decision).numel()
    assert [f"record 0 of {'logits' if classes else 'decisions'} must be of" in law for law in verdict.broken] == [True]


def test_wrong_logit_before_the_right_one():
    program, output, tap, count = right(classes=10)
    output = with_records(output, "logits", lambda numbers: np.insert(numbers, 5, 5))
    output.logits["logits"][5, 1] += 1
    assert not compare(program, output, tap, count, "gated").holds


def test_logits_of_a_convolution():
    program, output, tap, count = right()
    _, other, _, _ = right(classes=10)
    output = dataclasses.replace(
        output, logits=other.logits, logit_cycles=output.mask_cycles[: len(other.logit_cycles)]
    )
    verdict = compare(program, output, tap, count, "gated")
    assert verdict.mismatches == 16
    assert verdict.broken == ["layer case31: 0 records of logits must leave the engine, not 16"]


def test_decisions_of_a_dense_pass():
    program, output, tap, count = right(classes=10)
    _, other, _, _ = right()
    output = dataclasses.replace(output, masks=other.masks, mask_cycles=other.mask_cycles)
    verdict = compare(program, output, tap, count, "dense")
    assert verdict.mismatches == 72 and verdict.decisions_checked == 0
    assert verdict.broken == ["layer case31: 0 records of decisions must leave the engine, not 72"]


def test_wrong_code_in_the_trace():
    """The bank is right, what the trace shows is not."""
    program, output, tap, count = right()
    codes = output.trace["codes"].copy()
    codes[77, 1] ^= 4  # granule 77 is 1 of word 6 of pixel 4: its second code is of channel 27
    output = dataclasses.replace(output, trace={**output.trace, "codes": codes})
    verdict = compare(program, output, tap, count, "gated")
    expected = int(tap.ofmap[0, 27, 1, 1])
    assert verdict.mismatches == 1 and not verdict.broken
    assert str(verdict.first[0]) == (
        f"trace mismatch: layer case31, image 0, row 1, column 1, channel 27: expected {expected}, got {expected ^ 4}, "
        "written in cycle 177"
    )

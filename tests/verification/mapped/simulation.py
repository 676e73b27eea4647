"""Builds and runs the benches of `tests.verification.mapped.vectors`."""

from sim.run.build import build_bench, run_bench
from tests.verification.mapped.vectors import packed, unpacked


def build(name, text, root, tmp_path):
    """Return the folder of a simulator of the module `vectors`."""
    source = tmp_path / f"{name}.sv"
    source.write_text(text)
    return build_bench(name, "vectors", [source], "", root / "build/verilator", quick=True)[0]


def simulate(folder, inputs, outputs, steps, work):
    """Return the outputs, by name, in each of some cycles with these inputs; as the bench has them."""
    work.mkdir(exist_ok=True)
    (work / "stimulus.txt").write_text("".join(f"{packed(inputs, step):x}\n" for step in steps))
    run_bench(
        folder, "vectors", "tests.verification.mapped.vectors", work, {"CDGATE_WORK": str(work)}, work / "simulator.log"
    )
    answers = (work / "answers.txt").read_text().split()
    assert len(answers) == len(steps), (work / "simulator.log").read_text()[-3000:]
    return [unpacked(outputs, int(answer, 16)) for answer in answers]

"""Plans as text, and how their rows share a time."""

import pytest

from cdgate.errors import UsageError
from sw_model.experiment.rows import PLANS, Row, allotted, limited, read_plan


def write(tmp_path, text):
    (tmp_path / "plan.toml").write_text(text)
    return str(tmp_path / "plan.toml")


def test_the_plans_that_come_with_the_project():
    first, second = (read_plan(name) for name in PLANS)
    assert [row.kind for row in first] == ["speed", "train"] and first[0].seconds == 90
    assert first[1].phases == ("contrastive", "supervised") and first[1].state == "all" and first[1].sparsity == 0.72
    assert [row.method for row in second] == ["cdg0", "cdg100", "dense"] and all(row.equal for row in second)
    assert all(row.phases == ("contrastive",) for row in second)


def test_all_keys(tmp_path):
    text = '[[row]]\nname = "a"\nfrom = "x.ckpt"\nwidth = 2\nsize = 24\nevaluate = false\n'
    [row] = read_plan(write(tmp_path, text))
    assert (row.start, row.width, row.size, row.kept_free) == ("x.ckpt", 2, 24, 0)
    assert read_plan(write(tmp_path, '[[row]]\nname = "a"\n'))[0].kept_free == 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have one table"),
        ("[[row", "must be TOML"),
        ('row = "x"', "must have one table"),
        ('seconds = 3\n[[row]]\nname = "a"', "must have one table"),
        ("row = [3]", "row 1 of plan .* must be a table"),
        ("[[row]]", "name must have 1 to 32 letters, digits, _ or -, not None"),
        ('[[row]]\nname = "../a"', "name must have 1 to 32"),
        ('[[row]]\nname = "a"\n[[row]]\nname = "a"', "rows of different names, not a, a"),
        ('[[row]]\nname = "a"\nspeed = 3', "key 'speed' must be one of batch, contrastive"),
        ('[[row]]\nname = "a"\nstart = "x"', "key 'start' must be one of"),
        ('[[row]]\nname = "a"\nfrom = 3', "row a: from must be the path of a checkpoint, not 3"),
        ('[[row]]\nname = "a"\nmethod = "x"', "row a: method must be one of dense, .*, not 'x'"),
        ('[[row]]\nname = "a"\ndepth = 50', "row a: depth must be one of 10, 18, 20, 34, not 50"),
        ('[[row]]\nname = "a"\nstate = true', "row a: state must be one of none, weights, all, not True"),
        ('[[row]]\nname = "a"\nequal = 1', "row a: equal must be true or false, not 1"),
        ('[[row]]\nname = "a"\nbatch = 64.5', "row a: batch must be a whole number from 2 to 1048576, not 64.5"),
        ('[[row]]\nname = "a"\nlr = nan', "row a: lr must be a number above 0 to 100, not nan"),
        ('[[row]]\nname = "a"\nshare = 0', "row a: share must be a number above 0 to 1000000, not 0"),
        ('[[row]]\nname = "a"\ncontrastive = 1.5', "row a: contrastive must be a number from 0 to 1, not 1.5"),
        ('[[row]]\nname = "a"\nkind = "speed"', "row a: a row of speed must have seconds"),
        ('[[row]]\nname = "a"\nequal = true', "row a: rows of equal epochs must have contrastive = 1"),
    ],
)
def test_what_is_no_plan(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as error:
        read_plan(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_plan_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="--plan must be first or second or a TOML file, not nowhere"):
        read_plan("nowhere")


def test_times_of_rows():
    rows = (Row(name="a", kind="speed", seconds=10), Row(name="b", share=1), Row(name="c", share=2, evaluation=15))
    assert rows[0].kept_free == 0 and [row.kept_free for row in rows[1:]] == [60, 30]
    assert allotted(rows, 190) == pytest.approx({"a": 10, "b": 30, "c": 60})
    assert allotted(rows[1:], 120) == pytest.approx({"b": 10, "c": 20})
    assert allotted(rows, 95) == pytest.approx({"a": 5, "b": 0, "c": 0})
    assert allotted(rows, -5) == {"a": 0, "b": 0, "c": 0}


def test_rows_suit_the_images():
    row = limited(Row(name="a", size=24), 100, 16)
    assert (row.batch, row.tune_batch, row.size) == (100, 100, 16)
    assert limited(Row(name="a"), 5000, 32).size == 32 and limited(row, 5000, 32).batch == 100

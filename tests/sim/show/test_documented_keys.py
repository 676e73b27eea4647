"""Every key of a report is explained in docs/reports.md."""

import re

from hw.interface.layouts import IdleCause
from tests.sim.show.test_network_report import report_of, results


def keys(value):
    """Return the keys of all dictionaries within a report, but for names of layers, modes and images."""
    if isinstance(value, dict):
        return set(value) | {key for part in value.values() for key in keys(part)}
    return {key for part in value for key in keys(part)} if isinstance(value, list) else set()


def test_keys_are_explained(root):
    text = (root / "docs/reports.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`(\w+)`", text))
    found = keys(report_of(results()))
    assert len(found) > 60 and not found - explained, sorted(found - explained)


def test_causes_are_explained(root):
    text = (root / "docs/reports.md").read_text(encoding="utf-8")
    assert all(f"| `{cause.name.lower()}` |" in text for cause in IdleCause)

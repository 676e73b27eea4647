"""Parts of the reports of place and route, for tests."""


def hop(kind, delay, name, start, end):
    """Return a hop of a path: through a cell, or, of kind "routing", along a wire."""
    net = {"net": name} if kind == "routing" else {}
    return {
        "type": kind,
        "delay": delay,
        "from": {"loc": start, "cell": f"{name}_from"},
        "to": {"loc": end, "cell": f"{name}_to"},
        **net,
    }

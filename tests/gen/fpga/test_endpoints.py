"""Long paths by class, from a file of delays that is short enough to check by eye."""

from gen.fpga.endpoints import classes, longest, read_timing

SDF = r"""
(CELL
 (CELLTYPE "TRELLIS_FF")
 (INSTANCE core.count\[0\]_TRELLIS_FF_Q)
 (DELAY (ABSOLUTE
  (IOPATH CLK Q (500:500:520) (500:500:500))))
 (TIMINGCHECK
  (SETUPHOLD (posedge DI) (posedge CLK) (100:100:100) (0:0:0))))
(CELL
 (CELLTYPE "TRELLIS_FF")
 (INSTANCE core.lane_3.sum\[1\]_TRELLIS_FF_Q)
 (DELAY (ABSOLUTE
  (IOPATH CLK Q (500:500:500) (500:500:500))))
 (TIMINGCHECK
  (SETUPHOLD (posedge DI) (posedge CLK) (100:100:100) (0:0:0))
  (SETUPHOLD (negedge CE) (posedge CLK) (50:50:50) (0:0:0))))
(CELL
 (CELLTYPE "LUT4")
 (INSTANCE add)
 (DELAY (ABSOLUTE
  (IOPATH A Z (200:230:236) (200:230:236)))))
(CELL
 (CELLTYPE "top")
 (INSTANCE )
 (DELAY (ABSOLUTE
  (INTERCONNECT core.count\[0\]_TRELLIS_FF_Q/Q add/A (1000:1000:1000) (900:900:900))
  (INTERCONNECT core.count\[0\]_TRELLIS_FF_Q/Q core.lane_3.sum\[1\]_TRELLIS_FF_Q/CE (700:700:700) (700:700:700))
  (INTERCONNECT add/Z core.lane_3.sum\[1\]_TRELLIS_FF_Q/DI (300:300:300) (300:300:300))
  (INTERCONNECT pin/O core.count\[0\]_TRELLIS_FF_Q/DI (9000:9000:9000) (9000:9000:9000))
  (INTERCONNECT buffer/CLKO core.count\[0\]_TRELLIS_FF_Q/CLK (2000:2000:2000) (2000:2000:2000)))))
"""


def found(count=300):
    return classes(read_timing(SDF.splitlines()), count)


def test_classes():
    """The longest input tells its class: 520 from the clock, 1,000 along a wire, 236, 300, and 100 before the next."""
    assert found() == [
        {
            "from": "core.count",
            "to": "core.lane_#.sum",
            "count": 2,
            "ns": 2.156,
            "wires": round(1300 / 2156, 3),
            "levels": 1,
            "fanout": 2,
        }
    ]


def test_only_so_many_are_looked_at():
    assert found(1)[0]["count"] == 1
    assert classes(read_timing([])) == []


def test_longest_paths():
    timing = read_timing(SDF.splitlines())
    start, end = "core.count[0]_TRELLIS_FF_Q", "core.lane_3.sum[1]_TRELLIS_FF_Q"
    assert longest(timing) == [(2.156, [start, "add", end]), (1.27, [start, end])]
    assert longest(timing, 1) == longest(timing)[:1]

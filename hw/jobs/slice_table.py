"""The slices in flight: their base chunks, their place in the weight ring, and when they are through."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.attributes import KEEP
from hw.interface.layouts import LayerRegisters, ParameterWord
from hw.jobs.payloads import JobEnd, SliceContext
from hw.params import LANES, MAX_GROUPS

__all__ = ["SliceTable"]


class SliceTable(wiring.Component):
    """Keeps the contexts of at most two slices: the *newest*, which base jobs belong to, and the *oldest*.

    The last decisions of a slice are still under way when the first base jobs of the next one run, so the end of a
    slice costs no cycle. The next context is computed beforehand. The oldest slice's base entries of the ring are
    freed when its last base job was issued and all of them have ended, so that the next slice's weights come while its
    last conditional jobs are under way. It retires, and its conditional entries are freed, when each of its pixels is
    complete, too. Job ends arrive after the last lane's read of the ring, so no freed entry is still wanted; of a slice
    in which nothing fires, conditional entries may be freed before they come. Slices are told apart by their parity.

    Parameters
    ----------
    params : :class:`HwParams`

    Members
    -------
    layer : layer registers.
    begin : starts a layer, whose registers are valid. The ring carries on where the last layer ended.
    threshold_addr, thresholds : address of the memory of thresholds, and its answer one cycle later.
    open, can_open : opens the next slice; only while ``can_open``, which falls one cycle later.
    issue, issue_last : a base job of the newest slice was chosen; it is the slice's last.
    end : job ends.
    loaded : count of entries in the ring, from :class:`WeightRing`.
    contexts : by parity; of a slice that was opened from the next cycle on, its thresholds two cycles later.
    newest, oldest : parities.
    base_ready, cond_ready : all weights of the newest slice's base path, of the oldest slice's conditional path,
        are in; meaningful once a slice is open. Never in a pooling pass, which opens slices but has none in flight.
    idle : no slice is in flight.
    free_en, free_entries : to :class:`WeightRing`.
    """

    def __init__(self, params):
        self.params = params
        super().__init__(
            {
                "layer": In(LayerRegisters(params)),
                "begin": In(1),
                "threshold_addr": Out(params.param_addr_bits),
                "thresholds": In(ParameterWord(params).members["thresholds"]),
                "open": In(1),
                "can_open": Out(1),
                "issue": In(1),
                "issue_last": In(1),
                "end": In(JobEnd(params)),
                "loaded": In(params.ring_ptr_bits),
                "contexts": Out(data.ArrayLayout(SliceContext(params), 2)),
                "newest": Out(1),
                "oldest": Out(1),
                "base_ready": Out(1),
                "cond_ready": Out(1),
                "idle": Out(1),
                "free_en": Out(1),
                "free_entries": Out(params.ring_addr_bits + 1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        in_flight = Signal(range(3))
        self._prepare_next(m, in_flight)

        base_issued = Signal(2)
        retire = Signal()
        m.d.comb += self.idle.eq(in_flight == 0)
        m.d.sync += in_flight.eq(in_flight + (self.open & ~layer.pool) - retire)
        with m.If(self.begin):
            m.d.sync += [self.newest.eq(1), self.oldest.eq(0)]
        with m.If(self.open):
            m.d.sync += self.newest.eq(~self.newest)
        with m.If(retire):
            m.d.sync += self.oldest.eq(~self.oldest)

        # Base jobs of a slice that were chosen and have not ended, and pixels that were and have no complete psum. The
        # choice is registered.
        issued = Signal()
        issued_last = Signal()
        issued_parity = Signal()
        m.d.sync += [issued.eq(self.issue), issued_last.eq(self.issue_last), issued_parity.eq(self.newest)]
        base_through = Array(Signal(name=f"base_through_{parity}") for parity in range(2))
        through = Array(Signal(name=f"through_{parity}") for parity in range(2))
        for parity in range(2):
            base_pending = Signal(range(self.params.psum_slots + 1), name=f"base_pending_{parity}")
            pending = Signal(range(self.params.psum_slots + 1), name=f"pending_{parity}")
            issue = issued & (issued_parity == parity)
            end = self.end.valid & (self.end.parity == parity)
            m.d.sync += [
                base_pending.eq(base_pending + issue - (end & self.end.base)),
                pending.eq(pending + issue - (end & ~self.end.fire)),
            ]
            with m.If(issue & issued_last):
                m.d.sync += base_issued[parity].eq(1)
            with m.If(retire & (self.oldest == parity)):
                m.d.sync += base_issued[parity].eq(0)
            m.d.comb += [
                base_through[parity].eq(base_issued[parity] & (base_pending == 0)),
                through[parity].eq(base_issued[parity] & (pending == 0)),
            ]
        m.d.comb += retire.eq(through[self.oldest])

        # The ring frees the oldest entries first, so a base path waits until its slice is the oldest.
        base_freed = Signal()
        free_base = Signal()
        free_cond = Signal()
        m.d.sync += [
            free_base.eq(base_through[self.oldest] & ~base_freed),
            free_cond.eq(retire),
            base_freed.eq((base_freed | base_through[self.oldest]) & ~retire),
            self.free_en.eq(free_base | free_cond),
            self.free_entries.eq(Mux(free_base, layer.base_entries, 0) + Mux(free_cond, layer.cond_entries, 0)),
        ]

        # A difference of two counts in use has its sign in the top bit. The flags lag by a cycle, so they fall with the
        # slice that they were about.
        def all_in(end):
            return ~(self.loaded - end)[self.params.ring_ptr_bits - 1]

        m.d.sync += [
            self.base_ready.eq(all_in(self.contexts[self.newest].cond_ptr) & ~self.open & ~layer.pool),
            self.cond_ready.eq(all_in(self.contexts[self.oldest].end_ptr) & ~retire & ~self.idle),
        ]
        m.d.sync += self.can_open.eq(self._next_valid & (in_flight != 2) & ~self.begin & ~self.open)
        return m

    def _prepare_next(self, m, in_flight):
        """Computes the next slice's context into `_next`, some cycles before it is wanted."""
        layer, params = self.layer, self.params
        self._next_valid = Signal()
        following = Signal(SliceContext(params), reset_less=True)
        word = Signal(range(params.rq_phases))  # of its thresholds
        group = Signal(range(MAX_GROUPS))
        base_first = Signal(params.group_chunk_bits)  # of the group, a cycle after it
        group_slice = Signal(params.slice_bits)
        ring_ptr = Signal(params.ring_ptr_bits)  # of the first entry that belongs to no slice yet

        # A context that no slice in flight has follows the next one all the time. Thresholds, 512 bits beside lanes,
        # follow two cycles later, some by each of several strobes: no job needs them so early.
        context = Signal(data.ArrayLayout(SliceContext(params), 2), reset_less=True)
        m.d.comb += self.contexts.eq(context)
        for parity in range(2):
            opened = Signal(name=f"opened_{parity}")
            m.d.sync += opened.eq(self.open & (self.newest != parity))
            with m.If((self.newest != parity) & (in_flight != 2)):
                m.d.sync += [
                    context[parity][name].eq(following[name])
                    for name in SliceContext(params).members
                    if name != "thresholds"
                ]
            for first in range(0, LANES if params.gating else 0, 2):
                takes = Signal(name=f"takes_{parity}_{first}", attrs=KEEP)
                m.d.sync += takes.eq(opened)
                with m.If(takes):
                    m.d.sync += [
                        context[parity].thresholds[n].eq(following.thresholds[n]) for n in range(first, first + 2)
                    ]

        # What the memory of thresholds answers is shifted in one cycle later, by a strobe for each part.
        came = Signal(self.thresholds.shape(), reset_less=True)
        shifts = [Signal(name=f"shift_{n}", attrs=KEEP) for n in range(LANES // 2 if params.gating else 0)]
        m.d.sync += came.eq(self.thresholds)
        m.d.sync += [shift.eq(0) for shift in shifts]
        held, shifted = following.thresholds.as_value(), Cat(following.thresholds, came)[-32 * LANES :]
        for n, shift in enumerate(shifts):
            with m.If(shift):
                m.d.sync += held.word_select(n, 64).eq(shifted.word_select(n, 64))

        # Known before the slice is opened.
        group_ends = Signal()
        advance = Signal()  # a slice was opened, in the cycle before
        m.d.sync += group_ends.eq(group_slice == layer.group_slice_last)

        def begin():
            m.d.sync += [
                group.eq(0),
                group_slice.eq(0),
                self.threshold_addr.eq(Cat(Const(0, params.param_addr_bits - 1), layer.param_half)),
                word.eq(0),
                advance.eq(0),
            ]
            m.next = "Address"

        if params.gating:  # else all chunks are the base path
            m.d.sync += base_first.eq(Array(layer[f"base_first_{n}"] for n in range(MAX_GROUPS))[group])
        with m.FSM(name="prepare"):
            with m.State("Idle"):
                with m.If(self.begin):
                    begin()
            with m.State("Address"):  # the memory of thresholds answers in the next cycle
                m.d.sync += self.threshold_addr.eq(self.threshold_addr + 1)
                with m.If(advance):
                    m.d.sync += [ring_ptr.eq(following.end_ptr), group_slice.eq(group_slice + 1)]
                    with m.If(group_ends):
                        m.d.sync += [group_slice.eq(0), group.eq(group + 1)]
                m.next = "Thresholds"
            with m.State("Thresholds"):  # a word a cycle; the last one's address is already the next slice's first
                m.d.sync += [shift.eq(1) for shift in shifts]
                m.d.sync += word.eq(word + 1)
                with m.If(word == params.rq_phases - 1):
                    m.d.sync += word.eq(0)
                    m.next = "Base"
                with m.Else():
                    m.d.sync += self.threshold_addr.eq(self.threshold_addr + 1)
            with m.State("Base"):
                m.d.sync += [
                    following.base_first.eq(base_first),
                    following.base_last.eq(base_first + layer.base_chunk_last),
                    following.base_ptr.eq(ring_ptr),
                    following.cond_ptr.eq(ring_ptr + layer.base_entries),
                ]
                m.next = "Conditional"
            with m.State("Conditional"):
                m.d.sync += [
                    following.cond_first.eq(Mux(following.base_first == 0, following.base_last + 1, 0)),
                    following.end_ptr.eq(following.cond_ptr + layer.cond_entries),
                ]
                m.next = "Ready"
            with m.State("Ready"):
                m.d.comb += self._next_valid.eq(1)
                with m.If(self.begin):  # after a layer, the context at hand is of no slice
                    begin()
                with m.Elif(self.open):
                    m.d.sync += advance.eq(1)
                    m.next = "Address"

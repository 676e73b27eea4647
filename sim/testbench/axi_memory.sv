// Memory behind an AXI4 bus, with limited bandwidth and some latency. It answers bursts in order, reads and writes apart
// from each other, up to DEPTH of each at a time. Every burst is taken as INCR with whole beats; whether it is one is what
// axi_checker looks at.
//
// bandwidth  bytes a cycle, of reads and writes together; 0 does not limit it. A bucket is filled with as many tokens in
//            each cycle, and a beat takes one for each of its bytes; at most one beat's bytes are saved up.
// latency    cycles, at least 1, from an address's acceptance to the first beat of a read or the response of a write.
// extra      up to so many cycles more, different for each burst.
// stall      for each channel the probability, in 1/256, that it rests for a cycle: ready stays low, or a beat or response
//            that is due does not come yet.
// error      for reads and writes each: the response to bytes of a range, 2 SLVERR, 3 DECERR, 4 none at all, 0 no error.
//            A read's beats have errors of their own, a write's burst has one; nothing is written there. What is outside
//            of the memory gets DECERR. Two more faults leave the data as they are: 5 of a beat that is read, rlast is
//            the opposite of what it must be; 6 the beat or the response comes `late` cycles after it is due.
module axi_memory #(
    parameter int DATA_BITS = 64,
    parameter int SIZE_LOG2 = 25, // of the memory, in bytes
    parameter int DEPTH_LOG2 = 4
) (
    input  logic clk,
    input  logic rst,

    input  int unsigned bandwidth,
    input  int unsigned latency,
    input  int unsigned extra,
    input  int unsigned stall [5], // AR, R, AW, W, B
    input  int unsigned read_error, write_error, late,
    input  logic [31:0] read_error_first, read_error_last, write_error_first, write_error_last,
    input  int unsigned seed,      // of all that is random, taken at reset
    input  logic [31:0] base,      // first address, a multiple of the size; there is nothing elsewhere

    input  logic [31:0] araddr,
    input  logic [7:0]  arlen,
    input  logic        arvalid,
    output logic        arready,
    output logic [DATA_BITS-1:0] rdata,
    output logic [1:0]  rresp,
    output logic        rlast,
    output logic        rvalid,
    input  logic        rready,
    input  logic [31:0] awaddr,
    input  logic [7:0]  awlen,
    input  logic        awvalid,
    output logic        awready,
    input  logic [DATA_BITS-1:0] wdata,
    input  logic [DATA_BITS/8-1:0] wstrb,
    input  logic        wvalid,
    output logic        wready,
    output logic [1:0]  bresp,
    output logic        bvalid,
    input  logic        bready
);
    localparam int BYTES = DATA_BITS / 8, SHIFT = $clog2(BYTES), WORD_BITS = SIZE_LOG2 - SHIFT, DEPTH = 1 << DEPTH_LOG2;
    localparam int AR = 0, R = 1, AW = 2, W = 3, B = 4;
    localparam int unsigned NONE = 4, LAST = 5, LATE = 6;

    logic [DATA_BITS-1:0] words [1 << WORD_BITS];
    logic known [1 << WORD_BITS]; // words that were loaded or written

    // What happened since the reset.
    longint unsigned read_beats, write_beats;
    int unsigned unknown_reads; // beats read that were never written

    task automatic load(input integer file, input logic [31:0] address, input logic [31:0] count);
        integer code;
        code = $fread(words, file, 32'(address >> SHIFT), count >> SHIFT);
        if (code != 32'(count)) $fatal(1, "%0d bytes are missing from a file", 32'(count) - code);
        for (logic [31:0] n = 0; n < count >> SHIFT; n++) known[WORD_BITS'((address >> SHIFT) + n)] = 1;
    endtask

    // Words have their lowest byte first in the files that are written, and their highest in those that are read.
    task automatic dump(input integer file, input logic [31:0] address, input logic [31:0] count);
        for (logic [31:0] n = 0; n < count >> SHIFT; n++) $fwrite(file, "%u", words[WORD_BITS'((address >> SHIFT) + n)]);
    endtask

    logic [31:0] lfsr [6]; // one for each channel, and one for the latency
    function automatic logic [31:0] shift(input logic [31:0] s); // xorshift of period 2^32 - 1
        logic [31:0] t;
        t = s ^ (s << 13);
        t = t ^ (t >> 17);
        return t ^ (t << 5);
    endfunction
    function automatic logic rests(input int channel);
        return 32'(lfsr[channel][15:8]) < stall[channel];
    endfunction
    function automatic int unsigned error_at(input logic [31:0] address, input int unsigned error,
                                             input logic [31:0] first, input logic [31:0] last);
        if (error != 0 && address + BYTES - 1 >= first && address <= last) return error;
        return (address ^ base) >> SIZE_LOG2 != 0 ? 3 : 0;
    endfunction

    // Bursts that were accepted, oldest first. Pointers count bursts.
    logic [31:0] read_address [DEPTH], write_address [DEPTH]; // of the next beat
    logic [8:0]  read_left [DEPTH], write_left [DEPTH];       // beats
    logic [63:0] read_due [DEPTH], write_due [DEPTH];         // first cycle of the answer
    int unsigned write_worst [DEPTH];                         // error of a burst's beats so far
    logic [DEPTH_LOG2:0] read_end, read_first;                // accepted, answered
    logic [DEPTH_LOG2:0] write_end, write_next, write_first;  // accepted, with all data, answered
    function automatic logic full(input logic [DEPTH_LOG2:0] last, input logic [DEPTH_LOG2:0] first);
        return last == {~first[DEPTH_LOG2], first[DEPTH_LOG2-1:0]};
    endfunction
    int unsigned read_held, write_held; // cycles that a beat or a response was held back
    logic [63:0] now;
    int unsigned tokens;
    logic writes_turn; // who comes first if the tokens do not suffice for both
    logic granted;     // tokens of the beat for which wready is high

    localparam int unsigned PLENTY = 1 << 20;
    logic r_up, b_up; // rvalid and bvalid of the next cycle

    always @(posedge clk) begin
        automatic logic read_wants, write_wants, flips;
        automatic int unsigned error, later;
        automatic logic [63:0] due;
        automatic logic [DEPTH_LOG2-1:0] ri, rn, wi, wn, bi; // bursts: answered next, accepted next
        ri = read_first[DEPTH_LOG2-1:0];
        rn = read_end[DEPTH_LOG2-1:0];
        wi = write_next[DEPTH_LOG2-1:0];
        wn = write_end[DEPTH_LOG2-1:0];
        bi = write_first[DEPTH_LOG2-1:0];
        now <= now + 1;
        for (int n = 0; n < 6; n++) lfsr[n] <= shift(lfsr[n]);
        if (bandwidth == 0) tokens = PLENTY;
        else begin
            tokens = tokens + bandwidth;
            if (tokens > bandwidth + BYTES - 1) tokens = bandwidth + BYTES - 1;
        end
        later = lfsr[5] % (extra + 1);
        due = now + 64'(latency) + 64'(later);

        // What the cycle that ends here has brought.
        if (arvalid && arready) begin
            read_address[rn] = araddr;
            read_left[rn] = 9'(arlen) + 1;
            read_due[rn] = due;
            read_end = read_end + 1;
        end
        if (awvalid && awready) begin
            write_address[wn] = awaddr;
            write_left[wn] = 9'(awlen) + 1;
            write_due[wn] = due;
            write_worst[wn] = 0;
            write_end = write_end + 1;
        end
        if (rvalid && rready) r_up = 0;
        if (bvalid && bready) b_up = 0;
        if (wvalid && wready) begin
            granted = 0;
            write_beats = write_beats + 1;
            error = error_at(write_address[wi], write_error, write_error_first, write_error_last);
            if (error > write_worst[wi]) write_worst[wi] = error;
            if (error == 0 || error == LATE) begin
                for (int n = 0; n < BYTES; n++)
                    if (wstrb[n]) words[WORD_BITS'(write_address[wi] >> SHIFT)][8*n +: 8] = wdata[8*n +: 8];
                known[WORD_BITS'(write_address[wi] >> SHIFT)] = 1;
            end
            write_address[wi] = write_address[wi] + BYTES;
            write_left[wi] = write_left[wi] - 1;
            if (write_left[wi] == 0) write_next = write_next + 1;
        end

        // What the next one brings.
        arready <= !full(read_end, read_first) && !rests(AR);
        awready <= !full(write_end, write_first) && !rests(AW);
        if (wready && !wvalid && rests(W)) begin
            tokens = tokens + BYTES;
            granted = 0;
        end
        error = error_at(read_address[ri], read_error, read_error_first, read_error_last);
        read_wants = !r_up && read_first != read_end && read_due[ri] <= now + 1 && error != NONE && !rests(R);
        flips = error == LAST;
        if (read_wants && error == LATE && read_held < late) begin
            read_held = read_held + 1;
            read_wants = 0;
        end
        write_wants = !granted && write_next != write_end && !rests(W);
        if (read_wants && write_wants && tokens < 2 * BYTES) begin
            if (tokens >= BYTES) writes_turn <= !writes_turn; // not while neither can move
            if (writes_turn) read_wants = 0; else write_wants = 0;
        end
        if (write_wants && tokens >= BYTES) begin
            tokens = tokens - BYTES;
            granted = 1;
        end
        if (read_wants && tokens >= BYTES) begin
            tokens = tokens - BYTES;
            read_beats = read_beats + 1;
            r_up = 1;
            read_held = 0;
            if (error == LAST || error == LATE) error = 0;
            rresp <= 2'(error);
            rdata <= error == 0 ? words[WORD_BITS'(read_address[ri] >> SHIFT)] : {BYTES{8'hEE}};
            if (error == 0 && !known[WORD_BITS'(read_address[ri] >> SHIFT)]) unknown_reads = unknown_reads + 1;
            rlast <= (read_left[ri] == 1) ^ flips;
            read_address[ri] = read_address[ri] + BYTES;
            read_left[ri] = read_left[ri] - 1;
            if (read_left[ri] == 0) read_first = read_first + 1;
        end
        wready <= granted;
        if (!b_up && write_first != write_next && write_due[bi] <= now + 1 && !rests(B)
                && !(write_worst[bi] == NONE && write_error == NONE)) begin
            if (write_worst[bi] == LATE && write_held < late) write_held = write_held + 1;
            else begin
                b_up = 1;
                write_held = 0;
                bresp <= write_worst[bi] == LATE ? 2'd0 : 2'(write_worst[bi]);
                write_first = write_first + 1;
            end
        end
        rvalid <= r_up;
        bvalid <= b_up;

        if (rst) begin
            for (int n = 0; n < 6; n++) lfsr[n] <= shift(shift((seed + n + 1) * 32'h9E3779B1) | 1);
            now <= 0;
            tokens = 0;
            granted = 0;
            writes_turn <= 0;
            read_end = 0; read_first = 0; write_end = 0; write_next = 0; write_first = 0;
            r_up = 0; b_up = 0; read_held = 0; write_held = 0;
            arready <= 0; awready <= 0; wready <= 0; rvalid <= 0; bvalid <= 0;
            read_beats = 0; write_beats = 0; unknown_reads = 0;
        end
    end
endmodule

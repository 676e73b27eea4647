// Watches an AXI4 bus and counts what the master, or the memory behind it, does against the rules: those of AXI4 as far as
// it is used here (INCR bursts of whole beats, in order), and that no burst is longer than MAX_BURST beats.
module axi_checker #(
    parameter int DATA_BITS = 64,
    parameter int MAX_BURST = 256
) (
    input logic clk,
    input logic rst,

    input logic [31:0] araddr, awaddr,
    input logic [7:0]  arlen, awlen,
    input logic [2:0]  arsize, awsize,
    input logic [1:0]  arburst, awburst,
    input logic        arid, awid,
    input logic        arvalid, arready, awvalid, awready,
    input logic        rid, bid,
    input logic [DATA_BITS-1:0] rdata, wdata,
    input logic [DATA_BITS/8-1:0] wstrb,
    input logic [1:0]  rresp, bresp,
    input logic        rlast, wlast,
    input logic        rvalid, rready, wvalid, wready, bvalid, bready
);
    localparam int BYTES = DATA_BITS / 8;

    // Of the master: a channel whose valid fell or whose payload changed before ready; a burst across 4 KiB, longer than
    // allowed, not INCR or not of whole beats, not at a multiple of a beat, with an ID; last at a wrong beat; data before
    // their address; valid in reset after its third cycle: it reaches the engine through registers.
    // Of the memory: the same rule of its channels; a beat or a response without a burst; last at a wrong beat; a wrong ID.
    typedef enum {AR_UNSTABLE, AW_UNSTABLE, W_UNSTABLE, AR_PAGE, AW_PAGE, AR_LENGTH, AW_LENGTH, AR_KIND, AW_KIND,
                  AR_ALIGN, AW_ALIGN, AR_ID, AW_ID, W_LAST, W_EARLY, RESET_VALID,
                  R_UNSTABLE, B_UNSTABLE, R_EXTRA, B_EXTRA, R_LAST, R_ID, B_ID, KINDS} kind_t;
    int unsigned count [KINDS];

    // What was seen: bursts, and the most of them at a time from their address to their last beat or response.
    int unsigned read_bursts, write_bursts, most_reads, most_writes;

    task automatic report(input integer file);
        automatic kind_t kind = kind.first();
        while (kind != KINDS) begin
            $fwrite(file, "%s %0d\n", kind.name(), count[kind]);
            kind = kind.next();
        end
        $fwrite(file, "read_bursts %0d\nwrite_bursts %0d\nmost_reads %0d\nmost_writes %0d\n", read_bursts, write_bursts,
                most_reads, most_writes);
    endtask

    function automatic logic crosses(input logic [31:0] address, input logic [7:0] len);
        return 32'(address[11:0]) + (32'(len) + 1) * BYTES > 4096;
    endfunction

    // Payloads of the cycle before, and whether they have to stay.
    localparam int ADDRESS = 32 + 8 + 3 + 2 + 1;
    logic ar_waits, aw_waits, w_waits, r_waits, b_waits;
    logic [1:0] resting; // cycles of reset so far, 3 at most
    logic [ADDRESS-1:0] ar_was, aw_was;
    logic [DATA_BITS+BYTES:0] w_was;
    logic [DATA_BITS+3:0] r_was;
    logic [2:0] b_was;
    wire [ADDRESS-1:0] ar_is = {araddr, arlen, arsize, arburst, arid}, aw_is = {awaddr, awlen, awsize, awburst, awid};
    wire [DATA_BITS+BYTES:0] w_is = {wdata, wstrb, wlast};
    wire [DATA_BITS+3:0] r_is = {rdata, rresp, rlast, rid};
    wire [2:0] b_is = {bresp, bid};

    // Beats of the bursts under way, oldest first.
    logic [8:0] reads [$], writes [$];
    int unsigned unanswered;     // write bursts, from their address on
    int unsigned complete;       // of these, those whose data have come

    always @(posedge clk) begin
        ar_waits <= arvalid && !arready && !rst;
        aw_waits <= awvalid && !awready && !rst;
        w_waits <= wvalid && !wready && !rst;
        r_waits <= rvalid && !rready && !rst;
        b_waits <= bvalid && !bready && !rst;
        ar_was <= ar_is; aw_was <= aw_is; w_was <= w_is; r_was <= r_is; b_was <= b_is;
        resting <= !rst ? 0 : resting == 3 ? 3 : resting + 1;
        if (rst) begin
            if (resting == 3 && (arvalid || awvalid || wvalid)) count[RESET_VALID]++;
            reads.delete();
            writes.delete();
            unanswered = 0;
            complete = 0;
        end else begin
            if (ar_waits && (!arvalid || ar_is != ar_was)) count[AR_UNSTABLE]++;
            if (aw_waits && (!awvalid || aw_is != aw_was)) count[AW_UNSTABLE]++;
            if (w_waits && (!wvalid || w_is != w_was)) count[W_UNSTABLE]++;
            if (r_waits && (!rvalid || r_is != r_was)) count[R_UNSTABLE]++;
            if (b_waits && (!bvalid || b_is != b_was)) count[B_UNSTABLE]++;
            // Answers first: they are to what was accepted in an earlier cycle.
            if (rvalid && rready) begin
                if (reads.size() == 0) count[R_EXTRA]++;
                else begin
                    reads[0] = reads[0] - 1;
                    if (rlast != (reads[0] == 0)) count[R_LAST]++;
                    if (reads[0] == 0) void'(reads.pop_front());
                end
                if (rid != 0) count[R_ID]++;
            end
            if (bvalid && bready) begin
                if (complete == 0) count[B_EXTRA]++;
                else begin
                    complete = complete - 1;
                    unanswered = unanswered - 1;
                end
                if (bid != 0) count[B_ID]++;
            end
            if (awvalid && awready) begin
                if (crosses(awaddr, awlen)) count[AW_PAGE]++;
                if (32'(awlen) + 1 > MAX_BURST) count[AW_LENGTH]++;
                if (awburst != 1 || 1 << awsize != BYTES) count[AW_KIND]++;
                if (awaddr % BYTES != 0) count[AW_ALIGN]++;
                if (awid != 0) count[AW_ID]++;
                writes.push_back(9'(awlen) + 1);
                unanswered = unanswered + 1;
                write_bursts++;
                if (unanswered > most_writes) most_writes = unanswered;
            end
            if (wvalid && wready) begin
                if (writes.size() == 0) count[W_EARLY]++;
                else begin
                    writes[0] = writes[0] - 1;
                    if (wlast != (writes[0] == 0)) count[W_LAST]++;
                    if (writes[0] == 0) begin
                        void'(writes.pop_front());
                        complete = complete + 1;
                    end
                end
            end
            if (arvalid && arready) begin
                if (crosses(araddr, arlen)) count[AR_PAGE]++;
                if (32'(arlen) + 1 > MAX_BURST) count[AR_LENGTH]++;
                if (arburst != 1 || 1 << arsize != BYTES) count[AR_KIND]++;
                if (araddr % BYTES != 0) count[AR_ALIGN]++;
                if (arid != 0) count[AR_ID]++;
                reads.push_back(9'(arlen) + 1);
                read_bursts++;
                if (reads.size() > most_reads) most_reads = reads.size();
            end
        end
    end
endmodule

// Testbench around one configuration of the whole engine, with its memory. Everything that happens at clock edges happens
// here; Python gives commands and waits for their end.
//
// tb_config.svh is written by the runner from the description of the Verilog: the module's name and the ports' widths.
//
// A command is given in `command` with its arguments a, b, c; it begins when `go` differs from `finished`, and at its end
// `finished` becomes equal to `go`. Files lie in +dir=PATH; FILE is PATH/<c>, c in decimal.
//   RESET      a cycles of reset; memory and settings stay as they are
//   WRITE      register a becomes b                      result: [33:32] response, [34] none came
//   READ       register a                                result: [31:0] data, [33:32] response, [34] none came
//   WAIT       for the interrupt, at most a cycles       result: [31:0] cycles waited, [62:32] passes, [63] interrupt
//   LOAD       a address, b bytes: memory from FILE      every word has its highest byte first
//   DUMP       a address, b bytes: memory to FILE        lowest byte first
//   OPEN       begins the files FILE.trace, FILE.masks, FILE.passes: a line for each record, cycle (10 hexadecimal
//              digits), payload
//   CLOSE      ends them
//   SET        setting a becomes b, see below
//   REPORT     what was counted since the simulation began, to FILE: name and number, a line each
`include "tb_config.svh"

module tb_system;
    logic        clk /* verilator public_flat_rw */ = 0;
    logic        go /* verilator public_flat_rw */ = 0;
    logic        finished /* verilator public_flat_rw */ = 0;
    logic [7:0]  command /* verilator public_flat_rw */ = 0;
    logic [31:0] a /* verilator public_flat_rw */ = 0, b /* verilator public_flat_rw */ = 0;
    logic [31:0] c /* verilator public_flat_rw */ = 0;
    logic [63:0] result /* verilator public_flat_rw */ = 0;
    localparam logic [7:0] RESET = 0, WRITE = 1, READ = 2, WAIT = 3, LOAD = 4, DUMP = 5, OPEN = 6, CLOSE = 7, SET = 8,
                           REPORT = 9;

    // Settings: of the memory, see axi_memory; LITE_GAP: most cycles between the parts of a register access, at random;
    // BASE: first address of the memory on the bus, where LOAD and DUMP have 0.
    localparam int BANDWIDTH = 0, LATENCY = 1, EXTRA = 2, STALL = 3 /* to 7: AR, R, AW, W, B */, READ_ERROR = 8,
                   READ_FIRST = 9, READ_LAST = 10, WRITE_ERROR = 11, WRITE_FIRST = 12, WRITE_LAST = 13, SEED = 14,
                   LITE_GAP = 15, BASE = 16, LATE = 17, SETTINGS = 18;
    int unsigned setting [SETTINGS];
    int unsigned stall [5];
    always_comb for (int n = 0; n < 5; n++) stall[n] = setting[STALL + n];

    // The engine.
    logic rst = 1;
    wire  interrupt;
    wire  [31:0] araddr, awaddr;
    wire  [7:0]  arlen, awlen;
    wire  [2:0]  arsize, awsize;
    wire  [1:0]  arburst, awburst, rresp, bresp;
    wire  [`AXI_BITS-1:0] rdata, wdata;
    wire  [`AXI_BITS/8-1:0] wstrb;
    wire  arid, arvalid, arready, rlast, rvalid, rready, awid, awvalid, awready, wlast, wvalid, wready, bvalid, bready;
    wire  rid = 0, bid = 0;
    logic [`LITE_BITS-1:0] lite_awaddr = 0, lite_araddr = 0;
    logic [31:0] lite_wdata = 0;
    logic lite_awvalid = 0, lite_wvalid = 0, lite_bready = 0, lite_arvalid = 0, lite_rready = 0;
    wire  lite_awready, lite_wready, lite_bvalid, lite_arready, lite_rvalid;
    wire  [1:0]  lite_bresp, lite_rresp;
    wire  [31:0] lite_rdata;
    wire  trace_valid, mask_valid, pass_valid;
    wire  [`TRACE_BITS-1:0] trace_payload;
    wire  [`MASK_BITS-1:0]  mask_payload;
    wire  [`PASS_BITS-1:0]  pass_payload;

    `DUT dut (
        .clk(clk), .rst(rst), .interrupt(interrupt),
        .m_axi_araddr(araddr), .m_axi_arlen(arlen), .m_axi_arsize(arsize), .m_axi_arburst(arburst), .m_axi_arid(arid),
        .m_axi_arvalid(arvalid), .m_axi_arready(arready), .m_axi_rdata(rdata), .m_axi_rresp(rresp),
        .m_axi_rlast(rlast), .m_axi_rid(rid), .m_axi_rvalid(rvalid), .m_axi_rready(rready), .m_axi_awaddr(awaddr),
        .m_axi_awlen(awlen), .m_axi_awsize(awsize), .m_axi_awburst(awburst), .m_axi_awid(awid),
        .m_axi_awvalid(awvalid), .m_axi_awready(awready), .m_axi_wdata(wdata), .m_axi_wstrb(wstrb),
        .m_axi_wlast(wlast), .m_axi_wvalid(wvalid), .m_axi_wready(wready), .m_axi_bresp(bresp), .m_axi_bid(bid),
        .m_axi_bvalid(bvalid), .m_axi_bready(bready),
        .s_axil_awaddr(lite_awaddr), .s_axil_awprot(3'd0), .s_axil_awvalid(lite_awvalid), .s_axil_awready(lite_awready),
        .s_axil_wdata(lite_wdata), .s_axil_wstrb(4'd15), .s_axil_wvalid(lite_wvalid), .s_axil_wready(lite_wready),
        .s_axil_bresp(lite_bresp), .s_axil_bvalid(lite_bvalid), .s_axil_bready(lite_bready),
        .s_axil_araddr(lite_araddr), .s_axil_arprot(3'd0), .s_axil_arvalid(lite_arvalid), .s_axil_arready(lite_arready),
        .s_axil_rdata(lite_rdata), .s_axil_rresp(lite_rresp), .s_axil_rvalid(lite_rvalid), .s_axil_rready(lite_rready)
`ifdef HAS_TRACE
        , .trace_o__valid(trace_valid), .trace_o__payload(trace_payload)
        , .mask_o__valid(mask_valid), .mask_o__payload(mask_payload)
        , .pass_o__valid(pass_valid), .pass_o__payload(pass_payload)
`endif
    );
`ifndef HAS_TRACE
    assign {trace_valid, mask_valid, pass_valid, trace_payload, mask_payload, pass_payload} = 0;
`endif

    axi_memory #(.DATA_BITS(`AXI_BITS), .SIZE_LOG2(`MEMORY_LOG2)) memory (
        .clk(clk), .rst(rst), .bandwidth(setting[BANDWIDTH]), .latency(setting[LATENCY]), .extra(setting[EXTRA]),
        .stall(stall), .seed(setting[SEED]), .base(setting[BASE]),
        .read_error(setting[READ_ERROR]), .read_error_first(setting[READ_FIRST]), .read_error_last(setting[READ_LAST]),
        .write_error(setting[WRITE_ERROR]), .write_error_first(setting[WRITE_FIRST]),
        .write_error_last(setting[WRITE_LAST]), .late(setting[LATE]),
        .araddr(araddr), .arlen(arlen), .arvalid(arvalid), .arready(arready), .rdata(rdata), .rresp(rresp),
        .rlast(rlast), .rvalid(rvalid), .rready(rready), .awaddr(awaddr), .awlen(awlen), .awvalid(awvalid),
        .awready(awready), .wdata(wdata), .wstrb(wstrb), .wvalid(wvalid), .wready(wready), .bresp(bresp),
        .bvalid(bvalid), .bready(bready)
    );
    axi_checker #(.DATA_BITS(`AXI_BITS), .MAX_BURST(`MAX_BURST)) rules (
        .clk(clk), .rst(rst),
        .araddr(araddr), .arlen(arlen), .arsize(arsize), .arburst(arburst), .arid(arid), .arvalid(arvalid),
        .arready(arready), .rdata(rdata), .rresp(rresp), .rlast(rlast), .rid(rid), .rvalid(rvalid), .rready(rready),
        .awaddr(awaddr), .awlen(awlen), .awsize(awsize), .awburst(awburst), .awid(awid), .awvalid(awvalid),
        .awready(awready), .wdata(wdata), .wstrb(wstrb), .wlast(wlast), .wvalid(wvalid), .wready(wready),
        .bresp(bresp), .bid(bid), .bvalid(bvalid), .bready(bready)
    );

    // Traces.
    logic [39:0] cycle = 0;
    logic        tracing = 0;
    int unsigned passes = 0;
    integer trace_file, mask_file, pass_file;
    always @(posedge clk) begin
        cycle <= cycle + 1;
        if (tracing) begin
            if (trace_valid) $fwrite(trace_file, "%h %h\n", cycle, trace_payload);
            if (mask_valid) $fwrite(mask_file, "%h %h\n", cycle, mask_payload);
            if (pass_valid) begin
                $fwrite(pass_file, "%h %h\n", cycle, pass_payload);
                passes = passes + 1;
            end
        end
    end

    typedef enum {IDLE, RESETTING, WRITING, READING, WAITING} state_t;
    state_t state = IDLE;
    logic [31:0] waited = 0;
    logic address_sent = 0, data_sent = 0; // in the cycles after the handshake

    // The register port keeps a response until it is taken, and gives none that nobody has asked for.
    int unsigned lite_unstable = 0, lite_extra = 0;
    logic b_waits = 0, r_waits = 0;
    logic [1:0]  b_was;
    logic [33:0] r_was;
    always @(posedge clk) begin
        b_waits <= lite_bvalid && !lite_bready && !rst;
        r_waits <= lite_rvalid && !lite_rready && !rst;
        b_was <= lite_bresp;
        r_was <= {lite_rresp, lite_rdata};
        if ((b_waits && (!lite_bvalid || lite_bresp != b_was))
                || (r_waits && (!lite_rvalid || {lite_rresp, lite_rdata} != r_was))) lite_unstable = lite_unstable + 1;
        if ((lite_bvalid && !(state == WRITING && address_sent && data_sent))
                || (lite_rvalid && !(state == READING && address_sent))) lite_extra = lite_extra + 1;
    end

    int unsigned gap [3] = '{0, 0, 0};     // before address, data, readiness for the response
    logic [31:0] lfsr = 1;
    localparam int PATIENCE = 10000;

    string dir, name;
    integer file;
    initial begin
        if (!$value$plusargs("dir=%s", dir)) $fatal(1, "+dir is missing");
        for (int n = 0; n < SETTINGS; n++) setting[n] = 0;
        setting[LATENCY] = 1;
    end

    function automatic integer open_file(input string mode, input string suffix);
        integer opened;
        name = $sformatf("%s/%0d%s", dir, c, suffix);
        opened = $fopen(name, mode);
        if (opened == 0) $fatal(1, "%s cannot be opened", name);
        return opened;
    endfunction

    task automatic check_range();
        if (a % (`AXI_BITS / 8) != 0 || b % (`AXI_BITS / 8) != 0 || 33'(a) + 33'(b) > 33'd1 << `MEMORY_LOG2)
            $fatal(1, "%0d bytes at %h are not words of the memory", b, a);
    endtask

    always @(posedge clk) begin
        lfsr <= memory.shift(lfsr);
        waited <= waited + 1;
        case (state)
            IDLE: if (go != finished) begin
                waited <= 0;
                result <= 0;
                address_sent <= 0;
                data_sent <= 0;
                for (int n = 0; n < 3; n++) gap[n] = (lfsr >> (8 * n)) % (setting[LITE_GAP] + 1);
                case (command)
                    RESET: begin
                        rst <= 1;
                        state <= RESETTING;
                    end
                    WRITE: begin
                        lite_awaddr <= a[`LITE_BITS-1:0];
                        lite_wdata <= b;
                        state <= WRITING;
                    end
                    READ: begin
                        lite_araddr <= a[`LITE_BITS-1:0];
                        state <= READING;
                    end
                    WAIT: state <= WAITING;
                    LOAD, DUMP: begin
                        check_range();
                        file = open_file(command == LOAD ? "rb" : "wb", "");
                        if (command == LOAD) memory.load(file, a, b); else memory.dump(file, a, b);
                        $fclose(file);
                        finished <= go;
                    end
                    OPEN: begin
                        trace_file = open_file("w", ".trace");
                        mask_file = open_file("w", ".masks");
                        pass_file = open_file("w", ".passes");
                        passes = 0;
                        tracing <= 1;
                        finished <= go;
                    end
                    CLOSE: begin
                        if (tracing) begin
                            $fclose(trace_file); $fclose(mask_file); $fclose(pass_file);
                        end
                        tracing <= 0;
                        finished <= go;
                    end
                    SET: begin
                        if (a >= SETTINGS) $fatal(1, "there is no setting %0d", a);
                        setting[a[4:0]] <= b;
                        finished <= go;
                    end
                    REPORT: begin
                        file = open_file("w", "");
                        rules.report(file);
                        $fwrite(file, "LITE_UNSTABLE %0d\nLITE_EXTRA %0d\n", lite_unstable, lite_extra);
                        $fwrite(file, "unknown_reads %0d\nread_beats %0d\nwrite_beats %0d\ncycle %0d\n",
                                memory.unknown_reads, memory.read_beats, memory.write_beats, cycle);
                        $fclose(file);
                        finished <= go;
                    end
                    default: $fatal(1, "there is no command %0d", command);
                endcase
            end
            RESETTING: if (waited >= a) begin
                rst <= 0;
                finished <= go;
                state <= IDLE;
            end
            WRITING: begin
                if (lite_awvalid && lite_awready) begin
                    lite_awvalid <= 0;
                    address_sent <= 1;
                end else if (!address_sent && waited >= gap[0]) lite_awvalid <= 1;
                if (lite_wvalid && lite_wready) begin
                    lite_wvalid <= 0;
                    data_sent <= 1;
                end else if (!data_sent && waited >= gap[1]) lite_wvalid <= 1;
                lite_bready <= waited >= gap[2] && !(lite_bvalid && lite_bready);
                if ((lite_bvalid && lite_bready) || waited == PATIENCE) begin
                    result <= {29'd0, !(lite_bvalid && lite_bready), lite_bresp, 32'd0};
                    lite_bready <= 0;
                    lite_awvalid <= 0;
                    lite_wvalid <= 0;
                    finished <= go;
                    state <= IDLE;
                end
            end
            READING: begin
                if (lite_arvalid && lite_arready) begin
                    lite_arvalid <= 0;
                    address_sent <= 1;
                end else if (!address_sent && waited >= gap[0]) lite_arvalid <= 1;
                lite_rready <= waited >= gap[2] && !(lite_rvalid && lite_rready);
                if ((lite_rvalid && lite_rready) || waited == PATIENCE) begin
                    result <= {29'd0, !(lite_rvalid && lite_rready), lite_rresp, lite_rdata};
                    lite_rready <= 0;
                    lite_arvalid <= 0;
                    finished <= go;
                    state <= IDLE;
                end
            end
            WAITING: if (interrupt || waited >= a) begin
                result <= {interrupt, 31'(passes), waited};
                finished <= go;
                state <= IDLE;
            end
            default: state <= IDLE;
        endcase
    end
endmodule

// Memory and checker of a bus that cocotb drives; the settings are ports, and what the checker counted goes into a file.
module axi_bench;
    logic clk /* verilator public_flat_rw */ = 0;
    logic rst /* verilator public_flat_rw */ = 1;
    logic [31:0] bandwidth /* verilator public_flat_rw */ = 0, latency /* verilator public_flat_rw */ = 1;
    logic [31:0] extra /* verilator public_flat_rw */ = 0, stall /* verilator public_flat_rw */ = 0;
    logic [31:0] read_error /* verilator public_flat_rw */ = 0, write_error /* verilator public_flat_rw */ = 0;
    logic [31:0] error_first /* verilator public_flat_rw */ = 0, error_last /* verilator public_flat_rw */ = 0;
    logic [31:0] late /* verilator public_flat_rw */ = 0;
    logic report /* verilator public_flat_rw */ = 0; // writes the files at its rising edge
    logic load /* verilator public_flat_rw */ = 0;   // reads memory.bin
    int unsigned stalls [5];

    logic [31:0] axi_awaddr /* verilator public_flat_rw */ = 0;
    logic [7:0] axi_awlen /* verilator public_flat_rw */ = 0;
    logic [2:0] axi_awsize /* verilator public_flat_rw */ = 0;
    logic [1:0] axi_awburst /* verilator public_flat_rw */ = 0;
    logic axi_awid /* verilator public_flat_rw */ = 0;
    logic axi_awvalid /* verilator public_flat_rw */ = 0;
    logic [31:0] axi_wdata /* verilator public_flat_rw */ = 0;
    logic [3:0] axi_wstrb /* verilator public_flat_rw */ = 0;
    logic axi_wlast /* verilator public_flat_rw */ = 0;
    logic axi_wvalid /* verilator public_flat_rw */ = 0;
    logic axi_bready /* verilator public_flat_rw */ = 0;
    logic [31:0] axi_araddr /* verilator public_flat_rw */ = 0;
    logic [7:0] axi_arlen /* verilator public_flat_rw */ = 0;
    logic [2:0] axi_arsize /* verilator public_flat_rw */ = 0;
    logic [1:0] axi_arburst /* verilator public_flat_rw */ = 0;
    logic axi_arid /* verilator public_flat_rw */ = 0;
    logic axi_arvalid /* verilator public_flat_rw */ = 0;
    logic axi_rready /* verilator public_flat_rw */ = 0;
    wire axi_awready /* verilator public_flat_rw */;
    wire axi_wready /* verilator public_flat_rw */;
    wire axi_bid /* verilator public_flat_rw */ = 0;
    wire [1:0] axi_bresp /* verilator public_flat_rw */;
    wire axi_bvalid /* verilator public_flat_rw */;
    wire axi_arready /* verilator public_flat_rw */;
    wire axi_rid /* verilator public_flat_rw */ = 0;
    wire [31:0] axi_rdata /* verilator public_flat_rw */;
    wire [1:0] axi_rresp /* verilator public_flat_rw */;
    wire axi_rlast /* verilator public_flat_rw */;
    wire axi_rvalid /* verilator public_flat_rw */;

    always_comb for (int n = 0; n < 5; n++) stalls[n] = stall;

    axi_memory #(.DATA_BITS(32), .SIZE_LOG2(16), .DEPTH_LOG2(3)) memory (
        .clk(clk), .rst(rst), .bandwidth(bandwidth), .latency(latency), .extra(extra), .stall(stalls), .seed(1), .base(0),
        .late(late),
        .read_error(read_error), .write_error(write_error), .read_error_first(error_first),
        .read_error_last(error_last), .write_error_first(error_first), .write_error_last(error_last),
        .araddr(axi_araddr), .arlen(axi_arlen), .arvalid(axi_arvalid), .arready(axi_arready),
        .rdata(axi_rdata), .rresp(axi_rresp), .rlast(axi_rlast), .rvalid(axi_rvalid), .rready(axi_rready),
        .awaddr(axi_awaddr), .awlen(axi_awlen), .awvalid(axi_awvalid), .awready(axi_awready),
        .wdata(axi_wdata), .wstrb(axi_wstrb), .wvalid(axi_wvalid), .wready(axi_wready), .bresp(axi_bresp),
        .bvalid(axi_bvalid), .bready(axi_bready)
    );
    axi_checker #(.DATA_BITS(32), .MAX_BURST(64)) checker_ (
        .clk(clk), .rst(rst),
        .awaddr(axi_awaddr), .awlen(axi_awlen), .awsize(axi_awsize), .awburst(axi_awburst), .awid(axi_awid),
        .awvalid(axi_awvalid), .wdata(axi_wdata), .wstrb(axi_wstrb), .wlast(axi_wlast), .wvalid(axi_wvalid),
        .bready(axi_bready), .araddr(axi_araddr), .arlen(axi_arlen), .arsize(axi_arsize),
        .arburst(axi_arburst), .arid(axi_arid), .arvalid(axi_arvalid), .rready(axi_rready),
        .awready(axi_awready), .wready(axi_wready), .bid(axi_bid), .bresp(axi_bresp), .bvalid(axi_bvalid),
        .arready(axi_arready), .rid(axi_rid), .rdata(axi_rdata), .rresp(axi_rresp), .rlast(axi_rlast),
        .rvalid(axi_rvalid)
    );

    integer file;
    string  dir;
    initial if (!$value$plusargs("dir=%s", dir)) $fatal(1, "+dir is missing");
    always @(posedge report) begin
        file = $fopen({dir, "/report.txt"}, "w");
        checker_.report(file);
        $fwrite(file, "unknown_reads %0d\nread_beats %0d\nwrite_beats %0d\n", memory.unknown_reads, memory.read_beats,
                memory.write_beats);
        $fclose(file);
        file = $fopen({dir, "/memory_out.bin"}, "wb");
        memory.dump(file, 0, 32'h10000);
        $fclose(file);
    end
    always @(posedge load) begin
        file = $fopen({dir, "/memory_in.bin"}, "rb");
        memory.load(file, 32'h100, 32'h40);
        $fclose(file);
    end
endmodule

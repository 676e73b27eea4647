// The engine of the configuration `small` with its buses for cocotb to drive. Only they are public: it simulates faster.
module system_bench;
    logic clk /* verilator public_flat_rw */ = 0;
    logic rst /* verilator public_flat_rw */ = 1;
    wire  interrupt /* verilator public_flat_rw */;
    wire  [31:0] m_axi_awaddr /* verilator public_flat_rw */;
    wire  [7:0] m_axi_awlen /* verilator public_flat_rw */;
    wire  [2:0] m_axi_awsize /* verilator public_flat_rw */;
    wire  [1:0] m_axi_awburst /* verilator public_flat_rw */;
    wire  m_axi_awid /* verilator public_flat_rw */;
    wire  m_axi_awvalid /* verilator public_flat_rw */;
    logic m_axi_awready /* verilator public_flat_rw */ = 0;
    wire  [31:0] m_axi_araddr /* verilator public_flat_rw */;
    wire  [7:0] m_axi_arlen /* verilator public_flat_rw */;
    wire  [2:0] m_axi_arsize /* verilator public_flat_rw */;
    wire  [1:0] m_axi_arburst /* verilator public_flat_rw */;
    wire  m_axi_arid /* verilator public_flat_rw */;
    wire  m_axi_arvalid /* verilator public_flat_rw */;
    logic m_axi_arready /* verilator public_flat_rw */ = 0;
    wire  [31:0] m_axi_wdata /* verilator public_flat_rw */;
    wire  [3:0] m_axi_wstrb /* verilator public_flat_rw */;
    wire  m_axi_wlast /* verilator public_flat_rw */;
    wire  m_axi_wvalid /* verilator public_flat_rw */;
    logic m_axi_wready /* verilator public_flat_rw */ = 0;
    logic m_axi_bid /* verilator public_flat_rw */ = 0;
    logic [1:0] m_axi_bresp /* verilator public_flat_rw */ = 0;
    logic m_axi_bvalid /* verilator public_flat_rw */ = 0;
    wire  m_axi_bready /* verilator public_flat_rw */;
    logic m_axi_rid /* verilator public_flat_rw */ = 0;
    logic [31:0] m_axi_rdata /* verilator public_flat_rw */ = 0;
    logic [1:0] m_axi_rresp /* verilator public_flat_rw */ = 0;
    logic m_axi_rlast /* verilator public_flat_rw */ = 0;
    logic m_axi_rvalid /* verilator public_flat_rw */ = 0;
    wire  m_axi_rready /* verilator public_flat_rw */;
    logic [9:0] s_axil_awaddr /* verilator public_flat_rw */ = 0;
    logic [2:0] s_axil_awprot /* verilator public_flat_rw */ = 0;
    logic s_axil_awvalid /* verilator public_flat_rw */ = 0;
    wire  s_axil_awready /* verilator public_flat_rw */;
    logic [31:0] s_axil_wdata /* verilator public_flat_rw */ = 0;
    logic [3:0] s_axil_wstrb /* verilator public_flat_rw */ = 0;
    logic s_axil_wvalid /* verilator public_flat_rw */ = 0;
    wire  s_axil_wready /* verilator public_flat_rw */;
    wire  [1:0] s_axil_bresp /* verilator public_flat_rw */;
    wire  s_axil_bvalid /* verilator public_flat_rw */;
    logic s_axil_bready /* verilator public_flat_rw */ = 0;
    logic [9:0] s_axil_araddr /* verilator public_flat_rw */ = 0;
    logic [2:0] s_axil_arprot /* verilator public_flat_rw */ = 0;
    logic s_axil_arvalid /* verilator public_flat_rw */ = 0;
    wire  s_axil_arready /* verilator public_flat_rw */;
    wire  [31:0] s_axil_rdata /* verilator public_flat_rw */;
    wire  [1:0] s_axil_rresp /* verilator public_flat_rw */;
    wire  s_axil_rvalid /* verilator public_flat_rw */;
    logic s_axil_rready /* verilator public_flat_rw */ = 0;

    cdgate_small_system dut (
        .clk(clk), .rst(rst), .interrupt(interrupt),
        .m_axi_awaddr(m_axi_awaddr), .m_axi_awlen(m_axi_awlen), .m_axi_awsize(m_axi_awsize),
        .m_axi_awburst(m_axi_awburst), .m_axi_awid(m_axi_awid), .m_axi_awvalid(m_axi_awvalid),
        .m_axi_awready(m_axi_awready), .m_axi_araddr(m_axi_araddr), .m_axi_arlen(m_axi_arlen),
        .m_axi_arsize(m_axi_arsize), .m_axi_arburst(m_axi_arburst), .m_axi_arid(m_axi_arid),
        .m_axi_arvalid(m_axi_arvalid), .m_axi_arready(m_axi_arready), .m_axi_wdata(m_axi_wdata),
        .m_axi_wstrb(m_axi_wstrb), .m_axi_wlast(m_axi_wlast), .m_axi_wvalid(m_axi_wvalid),
        .m_axi_wready(m_axi_wready), .m_axi_bid(m_axi_bid), .m_axi_bresp(m_axi_bresp), .m_axi_bvalid(m_axi_bvalid),
        .m_axi_bready(m_axi_bready), .m_axi_rid(m_axi_rid), .m_axi_rdata(m_axi_rdata), .m_axi_rresp(m_axi_rresp),
        .m_axi_rlast(m_axi_rlast), .m_axi_rvalid(m_axi_rvalid), .m_axi_rready(m_axi_rready),
        .s_axil_awaddr(s_axil_awaddr), .s_axil_awprot(s_axil_awprot), .s_axil_awvalid(s_axil_awvalid),
        .s_axil_awready(s_axil_awready), .s_axil_wdata(s_axil_wdata), .s_axil_wstrb(s_axil_wstrb),
        .s_axil_wvalid(s_axil_wvalid), .s_axil_wready(s_axil_wready), .s_axil_bresp(s_axil_bresp),
        .s_axil_bvalid(s_axil_bvalid), .s_axil_bready(s_axil_bready), .s_axil_araddr(s_axil_araddr),
        .s_axil_arprot(s_axil_arprot), .s_axil_arvalid(s_axil_arvalid), .s_axil_arready(s_axil_arready),
        .s_axil_rdata(s_axil_rdata), .s_axil_rresp(s_axil_rresp), .s_axil_rvalid(s_axil_rvalid),
        .s_axil_rready(s_axil_rready),
        .trace_o__valid(), .trace_o__payload(), .mask_o__valid(), .mask_o__payload(), .pass_o__valid(), .pass_o__payload()
    );
endmodule

// The multiplier of an ECP5: P = A * B, with registers at its inputs and its output, which start at 0.
//
// Without a register a value passes. INPUTA is the register of SIGNEDA, too, INPUTB that of SIGNEDB: a sign comes as
// late as its operand. CLK0_DIV "ENABLED" is the usual operation: a register acts at every rising edge of CLK0.
//
// What has no port or parameter here is not modelled, and ends the build; so do other values of the parameters.
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "CE0", REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "CE0", REG_INPUTB_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "CE0", REG_OUTPUT_RST = "RST0",
    parameter REG_INPUTC_CLK = "NONE", REG_PIPELINE_CLK = "NONE", CLK0_DIV = "ENABLED", HIGHSPEED_CLK = "NONE",
    parameter SOURCEB_MODE = "B_SHIFT", MULT_BYPASS = "DISABLED", RESETMODE = "SYNC", GSR = "ENABLED"
) (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    if (REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0") REG_INPUTA_CLK_must_be_NONE_or_CLK0 stop ();
    if (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0") REG_INPUTB_CLK_must_be_NONE_or_CLK0 stop ();
    if (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0") REG_OUTPUT_CLK_must_be_NONE_or_CLK0 stop ();
    if (REG_INPUTA_CE != "CE0") REG_INPUTA_CE_must_be_CE0 stop ();
    if (REG_INPUTB_CE != "CE0") REG_INPUTB_CE_must_be_CE0 stop ();
    if (REG_OUTPUT_CE != "CE0") REG_OUTPUT_CE_must_be_CE0 stop ();
    if (REG_INPUTA_RST != "RST0") REG_INPUTA_RST_must_be_RST0 stop ();
    if (REG_INPUTB_RST != "RST0") REG_INPUTB_RST_must_be_RST0 stop ();
    if (REG_OUTPUT_RST != "RST0") REG_OUTPUT_RST_must_be_RST0 stop ();
    if (REG_INPUTC_CLK != "NONE") REG_INPUTC_CLK_must_be_NONE stop ();
    if (REG_PIPELINE_CLK != "NONE") REG_PIPELINE_CLK_must_be_NONE stop ();
    if (CLK0_DIV != "ENABLED") CLK0_DIV_must_be_ENABLED stop ();
    if (HIGHSPEED_CLK != "NONE") HIGHSPEED_CLK_must_be_NONE stop ();
    if (SOURCEB_MODE != "B_SHIFT") SOURCEB_MODE_must_be_B_SHIFT stop ();
    if (MULT_BYPASS != "DISABLED") MULT_BYPASS_must_be_DISABLED stop ();
    if (RESETMODE != "SYNC") RESETMODE_must_be_SYNC stop ();

    // A sign and 18 bits, so that one multiplication does for all signs.
    wire signed [18:0] a_in = {SIGNEDA && A17,
        A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire signed [18:0] b_in = {SIGNEDB && B17,
        B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg signed [18:0] a_held = 0, b_held = 0;
    reg [35:0] p_held = 0;
    wire signed [18:0] a = REG_INPUTA_CLK == "NONE" ? a_in : a_held;
    wire signed [18:0] b = REG_INPUTB_CLK == "NONE" ? b_in : b_held;
    wire signed [37:0] product = a * b;
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15, P14,
        P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
    } = REG_OUTPUT_CLK == "NONE" ? product[35:0] : p_held;

    always @(posedge CLK0) begin
        if (RST0) begin
            a_held <= 0;
            b_held <= 0;
            p_held <= 0;
        end else if (CE0) begin
            a_held <= a_in;
            b_held <= b_in;
            p_held <= product[35:0];
        end
    end

    always @* if (SOURCEA || SOURCEB) $fatal(1, "operands of MULT18X18D must not come from its neighbour");
endmodule

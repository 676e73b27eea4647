// The block RAM of an ECP5: 2,048 bytes of 9 bits, two ports on one clock.
//
// DATA_WIDTH  bits of a word: 1, 2, 4 (of the first 8 of a byte), 9, 18 or 36. A word of 36 bits is written by port A,
//             its upper half through DIB, and read by port B, its lower half at DOA. The address is that of a bit, of
//             which a byte has 8 here; where a word has several bytes, its lowest bits are their enables instead.
// CE, WE      a port that is enabled writes, or else reads into its latch. While it writes, the latch holds still
//             (NORMAL) or gets what was there before (READBEFOREWRITE).
// REGMODE     OUTREG: the latch is seen at the next clock with OCE, through a register. In a memory of 36 bits that of
//             DOA goes by OCEB.
//
// Bits that one port reads while the other writes them are noise: the vendor promises nothing. Both ports must not
// write the same bits. Latches and registers start at 0. What has no port or parameter here is not modelled, and ends
// the build; so do other values of the parameters that are here. Other values at ports end the simulation.
module DP16KD #(
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "NOREG", REGMODE_B = "NOREG",
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL", CSDECODE_A = "0b000", CSDECODE_B = "0b000",
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB", RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED",
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0, INITVAL_04 = 0, INITVAL_05 = 0,
        INITVAL_06 = 0, INITVAL_07 = 0, INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0,
        INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0, INITVAL_10 = 0, INITVAL_11 = 0,
        INITVAL_12 = 0, INITVAL_13 = 0, INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0,
        INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0, INITVAL_1C = 0, INITVAL_1D = 0,
        INITVAL_1E = 0, INITVAL_1F = 0, INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0,
        INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0, INITVAL_28 = 0, INITVAL_29 = 0,
        INITVAL_2A = 0, INITVAL_2B = 0, INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0,
        INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0, INITVAL_34 = 0, INITVAL_35 = 0,
        INITVAL_36 = 0, INITVAL_37 = 0, INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0,
        INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0
) (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
        DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
        DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
);
    if (!(DATA_WIDTH_A inside {1, 2, 4, 9, 18, 36})) DATA_WIDTH_A_must_be_1_2_4_9_18_or_36 stop ();
    if (!(DATA_WIDTH_B inside {1, 2, 4, 9, 18, 36})) DATA_WIDTH_B_must_be_1_2_4_9_18_or_36 stop ();
    if ((DATA_WIDTH_A == 36) != (DATA_WIDTH_B == 36)) DATA_WIDTH_B_must_be_36_where_DATA_WIDTH_A_is stop ();
    if (REGMODE_A != "NOREG" && REGMODE_A != "OUTREG") REGMODE_A_must_be_NOREG_or_OUTREG stop ();
    if (REGMODE_B != "NOREG" && REGMODE_B != "OUTREG") REGMODE_B_must_be_NOREG_or_OUTREG stop ();
    if (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "READBEFOREWRITE")
        WRITEMODE_A_must_be_NORMAL_or_READBEFOREWRITE stop ();
    if (WRITEMODE_B != "NORMAL" && WRITEMODE_B != "READBEFOREWRITE")
        WRITEMODE_B_must_be_NORMAL_or_READBEFOREWRITE stop ();
    if (CSDECODE_A != "0b000") CSDECODE_A_must_be_0b000 stop ();
    if (CSDECODE_B != "0b000") CSDECODE_B_must_be_0b000 stop ();
    if (CLKAMUX != "CLKA") CLKAMUX_must_be_CLKA stop ();
    if (CLKBMUX != "CLKB") CLKBMUX_must_be_CLKB stop ();

    wire [13:0] ada = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] adb = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] dia = {
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1,
        DIA0};
    wire [17:0] dib = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1,
        DIB0};

    // Where a port's word begins within 36 bits, and which of these it would write.
    function automatic [5:0] first(input integer width, input [13:0] address);
        case (width)
            36: first = 0;
            18: first = 18 * address[4];
            9: first = 9 * address[4:3];
            default: first = 9 * address[4:3] + (address[2:0] & ~(3'(width) - 3'd1));
        endcase
    endfunction
    function automatic [35:0] mask(input integer width, input [13:0] address);
        case (width)
            36: mask = {{9{address[3]}}, {9{address[2]}}, {9{address[1]}}, {9{address[0]}}};
            18: mask = {18'd0, {9{address[1]}}, {9{address[0]}}} << first(width, address);
            default: mask = ((36'd1 << width) - 36'd1) << first(width, address);
        endcase
    endfunction

    wire [35:0] mask_a = CEA && WEA ? mask(DATA_WIDTH_A, ada) : 36'd0;
    wire [35:0] mask_b = CEB && WEB ? mask(DATA_WIDTH_B, adb) : 36'd0;
    wire [35:0] data_a = {DATA_WIDTH_A == 36 ? dib : 18'd0, dia} << first(DATA_WIDTH_A, ada);
    wire [35:0] data_b = {18'd0, dib} << first(DATA_WIDTH_B, adb);
    wire same = ada[13:5] == adb[13:5];
    wire [35:0] also_b = same ? mask_b : 36'd0;

    localparam [20479:0] INITIAL = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37,
        INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E,
        INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25,
        INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C,
        INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13,
        INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
        INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01,
        INITVAL_00
    };
    reg [35:0] words [0:511];
    integer n;
    initial for (n = 0; n < 512; n = n + 1) words[n] = {INITIAL[40 * n + 20 +: 18], INITIAL[40 * n +: 18]};

    reg [35:0] noise = 36'h9_2E6D_51C7;
    wire [35:0] seen_a = words[ada[13:5]] ^ (noise & also_b);
    wire [35:0] seen_b = words[adb[13:5]] ^ (same ? noise & mask_a : 36'd0);
    localparam [35:0] ALL_A = (37'd1 << DATA_WIDTH_A) - 37'd1, ALL_B = (37'd1 << DATA_WIDTH_B) - 37'd1;
    reg [35:0] latch_a = 0, latch_b = 0;
    reg [17:0] out_a = 0, out_b = 0;

    always @(posedge CLKA) begin
        if (OCEA && DATA_WIDTH_B != 36) out_a <= latch_a[17:0];
        if (OCEB && DATA_WIDTH_B == 36) out_a <= latch_b[17:0];
        if (OCEB) out_b <= DATA_WIDTH_B == 36 ? latch_b[35:18] : latch_b[17:0];
        if (CEA && (!WEA || WRITEMODE_A == "READBEFOREWRITE")) latch_a <= seen_a >> first(DATA_WIDTH_A, ada) & ALL_A;
        if (CEB && (!WEB || WRITEMODE_B == "READBEFOREWRITE")) latch_b <= seen_b >> first(DATA_WIDTH_B, adb) & ALL_B;
        if (same) noise <= noise * 36'h5_DEEC_E66D + 36'd11;
        if (mask_a != 0) words[ada[13:5]] <= words[ada[13:5]] & ~(mask_a | also_b) | data_a & mask_a | data_b & also_b;
        if (mask_b != 0 && !(same && mask_a != 0)) words[adb[13:5]] <= words[adb[13:5]] & ~mask_b | data_b & mask_b;

        if (same && (mask_a & mask_b) != 0) $fatal(1, "both ports of DP16KD write the same bits");
        if (WEB && DATA_WIDTH_B == 36) $fatal(1, "WEB of DP16KD must be 0 where words have 36 bits");
        if (RSTA || RSTB) $fatal(1, "RSTA and RSTB of DP16KD must be 0");
        if (CSA2 || CSA1 || CSA0 || CSB2 || CSB1 || CSB0) $fatal(1, "CSA and CSB of DP16KD must be 0");
    end
    always @(posedge CLKB) if (!CLKA) $fatal(1, "CLKB of DP16KD must be CLKA");

    wire [17:0] doa = REGMODE_A == "OUTREG" ? out_a : DATA_WIDTH_B == 36 ? latch_b[17:0] : latch_a[17:0];
    wire [17:0] dob = REGMODE_B == "OUTREG" ? out_b : DATA_WIDTH_B == 36 ? latch_b[35:18] : latch_b[17:0];
    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1,
        DOA0
    } = doa;
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1,
        DOB0
    } = dob;
endmodule

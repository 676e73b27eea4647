// A look-up table. Yosys' model chooses among constants, of which a simulator makes several times as much to compile.
module LUT4 #(parameter [15:0] INIT = 0) (input A, B, C, D, output Z);
    assign Z = INIT[{D, C, B, A}];
endmodule

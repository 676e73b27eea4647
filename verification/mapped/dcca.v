// The buffer of a clock network of an ECP5, which can stop the clock: here it must not.
module DCCA (input CLKI, CE, output CLKO);
    assign CLKO = CLKI;
    always @* if (!CE) $fatal(1, "CE of DCCA must be 1");
endmodule

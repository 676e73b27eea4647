// Testbench around one configuration of the compute core. Everything that happens at clock edges happens here; Python only
// prepares files, names a run and waits for its end.
//
// tb_config.svh is written by the runner from the description of the Verilog: the module's name and the ports' widths.
//
// A run N reads from +dir=PATH, in the folder PATH/N:
//   control.txt  decimal numbers in the order of the $fscanf below
//   layer.bin    the port `layer`
//   loads.bin, params.bin, weights.bin, reads.bin, forces.bin   payloads of load_i, param_i, weight_i, read_i, mask_i
// and writes there:
//   masks.txt, logits.txt, trace.txt   a line for each record: cycle (10 hexadecimal digits), payload
//   words.txt    a line for each word read back
//   result.txt   name and value, a line each; written last
// Built with WAVES it also writes +waves=PATH, a VCD file, from cycle +waves_from=C of run +waves_run=N on.
// Every binary record is a whole number of bytes, highest first. Cycle 1 is the cycle after that of `start`.
`include "tb_config.svh"
`define BYTES(bits) (((bits) + 7) / 8)

module tb_core;
    logic        clk /* verilator public_flat_rw */ = 0;
    logic        go /* verilator public_flat_rw */ = 0;        // starts run `number`; falls before the next one
    logic [31:0] number /* verilator public_flat_rw */ = 0;
    logic        finished /* verilator public_flat_rw */ = 0;  // the run's files are complete

    // The core.
    logic rst = 1, start = 0;
    wire  busy, done;
    logic [`LAYER_BITS-1:0]  layer = 0;
    wire  [`COUNTER_BITS-1:0] counters;
    logic [`LOAD_BITS-1:0]   load_payload = 0;
    logic [`PARAM_BITS-1:0]  param_payload = 0;
    logic [`WEIGHT_BITS-1:0] weight_payload = 0;
    logic [`READ_BITS-1:0]   read_payload = 0;
    wire  [`WORD_BITS-1:0]   word_payload;
    wire  [`MASK_BITS-1:0]   mask_payload;
    wire  [`LOGIT_BITS-1:0]  logit_payload;
    logic [`MASK_BITS-1:0]   force_payload = 0;
    logic load_valid = 0, param_valid = 0, weight_valid = 0, read_valid = 0, force_valid = 0;
    wire  load_ready, param_ready, weight_ready, read_ready, force_ready;
    wire  word_valid, mask_valid, logit_valid;
    logic word_ready = 0, mask_ready = 0, logit_ready = 0;
    wire  trace_valid;
    wire  [`TRACE_BITS-1:0]  trace_payload;

    `DUT dut (
        .clk(clk), .rst(rst), .start(start), .busy(busy), .done(done), .layer(layer), .counters(counters),
        .load_i__payload(load_payload), .load_i__valid(load_valid), .load_i__ready(load_ready),
        .param_i__payload(param_payload), .param_i__valid(param_valid), .param_i__ready(param_ready),
        .weight_i__payload(weight_payload), .weight_i__valid(weight_valid), .weight_i__ready(weight_ready),
        .mask_i__payload(force_payload), .mask_i__valid(force_valid), .mask_i__ready(force_ready),
        .read_i__payload(read_payload), .read_i__valid(read_valid), .read_i__ready(read_ready),
`ifdef HAS_TRACE
        .trace_o__payload(trace_payload), .trace_o__valid(trace_valid),
`endif
        .read_o__payload(word_payload), .read_o__valid(word_valid), .read_o__ready(word_ready),
        .mask_o__payload(mask_payload), .mask_o__valid(mask_valid), .mask_o__ready(mask_ready),
        .logit_o__payload(logit_payload), .logit_o__valid(logit_valid), .logit_o__ready(logit_ready)
    );
`ifndef HAS_TRACE
    assign trace_valid = 0;
    assign trace_payload = 0;
`endif

    // Random stalls: stream n stalls in a cycle with probability stall[n] / 256.
    localparam int LOAD = 0, PARAM = 1, WEIGHT = 2, MASK = 3, LOGIT = 4, READ = 5, WORD = 6, FORCE = 7, STREAMS = 8;
    int unsigned stall [STREAMS];
    logic [31:0] lfsr [STREAMS];
    function automatic logic [31:0] shift(input logic [31:0] s); // xorshift of period 2^32 - 1
        logic [31:0] t;
        t = s ^ (s << 13);
        t = t ^ (t >> 17);
        return t ^ (t << 5);
    endfunction
    function automatic logic stalls(input int n);
        return 32'(lfsr[n][15:8]) < stall[n];
    endfunction

    // Files and counts of the run.
    string  folder;
    integer layer_file, load_file, param_file, weight_file, read_file, force_file;
    integer mask_file, logit_file, trace_file, word_file, result_file, code;
    int unsigned want_reset, early, seed, limit;
    int unsigned loads, late_loads, params, weights, reads, forces; // still to be sent
    int unsigned words;                                      // still to come back
    int unsigned late_weights;                               // taken after `done`
    logic [8*`BYTES(`LAYER_BITS)-1:0]  layer_raw;
    logic [8*`BYTES(`LOAD_BITS)-1:0]   load_raw;
    logic [8*`BYTES(`PARAM_BITS)-1:0]  param_raw;
    logic [8*`BYTES(`WEIGHT_BITS)-1:0] weight_raw;
    logic [8*`BYTES(`READ_BITS)-1:0]   read_raw;
    logic [8*`BYTES(`MASK_BITS)-1:0]   force_raw;

    // What was seen.
    logic [39:0] cycle, done_cycle;
    int unsigned violations; // of the rule that a stream holds valid and payload until ready
    int unsigned stray;      // outputs outside of their time
    logic        timeout = 0;
    logic [`COUNTER_BITS-1:0] counted, held;

    typedef enum {IDLE, RESET, LOADING, SETTLE, STARTING, RUNNING, QUIET, READING, CLOSING} state_t;
    state_t state = IDLE;
    int unsigned waited;
    int unsigned stuck; // cycles since a word was taken, outside of RUNNING
    localparam int RESET_CYCLES = 4, SETTLE_CYCLES = 8, QUIET_CYCLES = 64, STUCK_CYCLES = 100000;

    function automatic integer open_in(input string name);
        integer file;
        file = $fopen({folder, name}, "rb");
        if (file == 0) $fatal(1, "%s%s cannot be read", folder, name);
        return file;
    endfunction

    task automatic open_run();
        integer control;
        string  dir;
        if (!$value$plusargs("dir=%s", dir)) $fatal(1, "+dir is missing");
        folder = $sformatf("%s/%0d/", dir, number);
        control = open_in("control.txt");
        code = $fscanf(control, "%d %d %d %d %d %d %d %d %d %d", want_reset, early, seed, limit, loads, late_loads, params,
                       weights, reads, forces);
        code = code + $fscanf(control, "%d %d %d %d %d %d %d %d", stall[LOAD], stall[PARAM], stall[WEIGHT], stall[MASK],
                              stall[LOGIT], stall[READ], stall[WORD], stall[FORCE]);
        if (code != 18) $fatal(1, "%scontrol.txt is not complete", folder);
        $fclose(control);
        layer_file = open_in("layer.bin");
        code = $fread(layer_raw, layer_file);
        $fclose(layer_file);
        load_file = open_in("loads.bin");
        param_file = open_in("params.bin");
        weight_file = open_in("weights.bin");
        read_file = open_in("reads.bin");
        force_file = open_in("forces.bin");
        mask_file = $fopen({folder, "masks.txt"}, "w");
        logit_file = $fopen({folder, "logits.txt"}, "w");
        trace_file = $fopen({folder, "trace.txt"}, "w");
        word_file = $fopen({folder, "words.txt"}, "w");
        words = reads;
        late_weights = 0;
        violations = 0;
        stray = 0;
        if (timeout) want_reset = 1; // the run before was given up, its pass may still be under way
        timeout = 0;
        for (int n = 0; n < STREAMS; n++) lfsr[n] = shift(shift((seed + n + 1) * 32'h9E3779B1) | 1);
    endtask

    task automatic close_run();
        $fclose(load_file); $fclose(param_file); $fclose(weight_file); $fclose(read_file);
        $fclose(force_file);
        $fclose(mask_file); $fclose(logit_file); $fclose(trace_file); $fclose(word_file);
        result_file = $fopen({folder, "result.txt"}, "w");
        $fwrite(result_file, "timeout %0d\nviolations %0d\nstray %0d\ndone_cycle %0d\n", timeout, violations, stray, done_cycle);
        $fwrite(result_file, "weights_left %0d\nwords_left %0d\nlate_loads_left %0d\n", weights + 32'(weight_valid), words,
                late_loads);
        $fwrite(result_file, "forces_left %0d\nlate_weights %0d\n", forces + 32'(force_valid), late_weights);
        $fwrite(result_file, "counters_changed %0d\ncounters %h\n", 32'(counted != held), counted);
        $fclose(result_file);
    endtask

    // Streams into the core.
    // Those of a conditional path that nobody wants may be taken when the pass is done; the next one does not expect them.
    wire weights_on = state == STARTING || state == RUNNING || state == QUIET
                      || (early != 0 && (state == LOADING || state == SETTLE));
    always @(posedge clk) begin
        if (!load_valid || load_ready) begin
            load_valid <= 0;
            if (((state == LOADING && loads != 0) || (state == RUNNING && late_loads != 0)) && !stalls(LOAD)) begin
                code = $fread(load_raw, load_file);
                load_payload <= load_raw[`LOAD_BITS-1:0];
                load_valid <= 1;
                if (state == LOADING) loads = loads - 1; else late_loads = late_loads - 1;
            end
        end
        if (!param_valid || param_ready) begin
            param_valid <= 0;
            if (state == LOADING && params != 0 && !stalls(PARAM)) begin
                code = $fread(param_raw, param_file);
                param_payload <= param_raw[`PARAM_BITS-1:0];
                param_valid <= 1;
                params = params - 1;
            end
        end
        if (state == QUIET && weight_valid && weight_ready) late_weights = late_weights + 1;
        if (!weight_valid || weight_ready) begin
            weight_valid <= 0;
            if (weights_on && weights != 0 && !stalls(WEIGHT)) begin
                code = $fread(weight_raw, weight_file);
                weight_payload <= weight_raw[`WEIGHT_BITS-1:0];
                weight_valid <= 1;
                weights = weights - 1;
            end
        end
        if (!read_valid || read_ready) begin
            read_valid <= 0;
            if (state == READING && reads != 0 && !stalls(READ)) begin
                code = $fread(read_raw, read_file);
                read_payload <= read_raw[`READ_BITS-1:0];
                read_valid <= 1;
                reads = reads - 1;
            end
        end
        if (!force_valid || force_ready) begin
            force_valid <= 0;
            if ((state == STARTING || state == RUNNING) && forces != 0 && !stalls(FORCE)) begin
                code = $fread(force_raw, force_file);
                force_payload <= force_raw[`MASK_BITS-1:0];
                force_valid <= 1;
                forces = forces - 1;
            end
        end
        if (rst) begin
            load_valid <= 0; param_valid <= 0; weight_valid <= 0; read_valid <= 0; force_valid <= 0;
        end
    end

    // Streams out of the core.
    wire open = state != IDLE && state != RESET;
    // The pass is done when the ofmap is out; decisions that are not taken at once may come later.
    wire late_masks = state == QUIET && stall[MASK] != 0;
    always @(posedge clk) begin
        mask_ready <= !stalls(MASK);
        logit_ready <= !stalls(LOGIT);
        word_ready <= !stalls(WORD);
        for (int n = 0; n < STREAMS; n++) lfsr[n] <= shift(lfsr[n]);
        if (open) begin
            if (mask_valid && mask_ready) $fwrite(mask_file, "%h %h\n", cycle, mask_payload);
            if (logit_valid && logit_ready) $fwrite(logit_file, "%h %h\n", cycle, logit_payload);
            if (trace_valid) $fwrite(trace_file, "%h %h\n", cycle, trace_payload);
            if (word_valid && word_ready) begin
                $fwrite(word_file, "%h\n", word_payload);
                if (words == 0) stray = stray + 1; else words = words - 1;
            end
            if (state != RUNNING && (logit_valid || trace_valid || (mask_valid && !late_masks))) stray = stray + 1;
            if (state != READING && word_valid) stray = stray + 1;
        end
    end

    // Once valid, a payload stays until it is taken.
    logic mask_waits = 0, logit_waits = 0, word_waits = 0;
    logic [`MASK_BITS-1:0]  mask_was;
    logic [`LOGIT_BITS-1:0] logit_was;
    logic [`WORD_BITS-1:0]  word_was;
    always @(posedge clk) begin
        mask_waits <= mask_valid && !mask_ready && !rst;
        logit_waits <= logit_valid && !logit_ready && !rst;
        word_waits <= word_valid && !word_ready && !rst;
        mask_was <= mask_payload;
        logit_was <= logit_payload;
        word_was <= word_payload;
        if ((mask_waits && (!mask_valid || mask_payload != mask_was))
                || (logit_waits && (!logit_valid || logit_payload != logit_was))
                || (word_waits && (!word_valid || word_payload != word_was)))
            violations = violations + 1;
    end

`ifdef WAVES
    string waves_path;
    int unsigned waves_run, waves_from;
    initial code = $value$plusargs("waves=%s", waves_path) + $value$plusargs("waves_run=%d", waves_run)
                   + $value$plusargs("waves_from=%d", waves_from);
    // They start with the values behind this edge.
    always @(posedge clk)
        if (number == waves_run && (start ? 40'd1 : cycle + 40'd1) == 40'(waves_from) && (start || state == RUNNING)) begin
            $dumpfile(waves_path);
            $dumpvars(0, tb_core);
        end
`endif

    // The run.
    always @(posedge clk) begin
        start <= 0;
        waited <= waited + 1;
        cycle <= start ? 1 : cycle + 1;
        stuck <= stuck + 1;
        if (state == IDLE || state == RUNNING || (load_valid && load_ready) || (param_valid && param_ready)
                || (word_valid && word_ready)) stuck <= 0;
        case (state)
            IDLE:
                if (go && !finished) begin
                    open_run();
                    rst <= want_reset != 0;
                    waited <= 0;
                    state <= RESET;
                end else if (!go) begin
                    finished <= 0;
                end
            RESET:
                if (want_reset == 0 || waited == RESET_CYCLES) begin
                    rst <= 0;
                    state <= LOADING;
                end
            LOADING: begin
                waited <= 0;
                if (loads == 0 && params == 0 && !load_valid && !param_valid) state <= SETTLE;
                if (stuck == STUCK_CYCLES) begin
                    timeout = 1;
                    state <= CLOSING;
                end
            end
            SETTLE: // the last words are on their way into their memories
                if (waited == SETTLE_CYCLES) begin
                    layer <= layer_raw[`LAYER_BITS-1:0];
                    start <= 1;
                    state <= STARTING;
                end
            STARTING: begin
                layer <= ~layer; // it has to be sampled at start
                done_cycle <= 0;
                state <= RUNNING;
            end
            RUNNING: begin
                waited <= 0;
                if (done) begin
                    done_cycle <= cycle;
                    counted <= counters;
                    state <= QUIET;
                end else if (cycle >= 40'(limit)) begin
                    timeout = 1;
                    counted <= counters;
                    held <= counters;
                    state <= CLOSING;
                end
            end
            QUIET: begin
                if (mask_valid || weights != 0 || weight_valid) waited <= 0;
                if (stuck == STUCK_CYCLES) begin
                    timeout = 1;
                    held <= counters;
                    state <= CLOSING;
                end else if (waited == QUIET_CYCLES) begin
                    held <= counters;
                    waited <= 0;
                    state <= READING;
                    if (busy) stray = stray + 1;
                end
            end
            READING: begin
                if (words != 0) waited <= 0;
                if (waited == QUIET_CYCLES) state <= CLOSING;
                if (stuck == STUCK_CYCLES) begin
                    timeout = 1;
                    state <= CLOSING;
                end
            end
            CLOSING: begin
                close_run();
                finished <= 1;
                state <= IDLE;
            end
            default: state <= IDLE;
        endcase
    end
endmodule

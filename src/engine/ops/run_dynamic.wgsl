// Runs whose length the uniform says, so that one kernel serves them all. See gemm.wgsl.

var<private> RUN: u32;
var<private> RUN_ROWS: u32;
var<private> SHARERS: u32;
var<private> RUNS: u32;

fn begin_runs() {
    RUN = p.run;
    RUN_ROWS = max(RUN / DOWN, 1u);
    SHARERS = min(RUN, DOWN);
    RUNS = ROWS / RUN_ROWS;
}

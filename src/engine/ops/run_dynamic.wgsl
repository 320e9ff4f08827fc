// Runs whose length the uniform says, so that one kernel serves them all: what stands in gemm.wgsl at HERE. They are no variables of
// the module, of which a browser does not believe that all threads of a workgroup have the same.
let RUN = p.run;
let RUN_ROWS = max(RUN / DOWN, 1u);
let SHARERS = min(RUN, DOWN);
let RUNS = ROWS / RUN_ROWS;

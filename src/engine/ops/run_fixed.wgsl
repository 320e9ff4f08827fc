// Runs whose length RUN is known: RUN, RUN_ROWS and RUNS are constants of the variant. See gemm.wgsl.

const SHARERS = min(RUN, DOWN);

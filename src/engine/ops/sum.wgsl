// Sums that SHARERS threads beside each other take together, in a fixed order: each thread's, then thread by thread.

var<workgroup> sums: array<f32, THREADS>;

fn total(thread: u32, mine: f32) -> f32 {
    workgroupBarrier();
    sums[thread] = mine;
    workgroupBarrier();
    for (var half = SHARERS / 2u; half > 0u; half /= 2u) {
        if thread % SHARERS < half { sums[thread] += sums[thread + half]; }
        workgroupBarrier();
    }
    return sums[thread - thread % SHARERS];
}

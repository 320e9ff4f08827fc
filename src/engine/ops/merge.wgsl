// The last dispatch of attention whose keys are cut into slices; attention.wgsl comes before it.

// Puts the slices together, a thread for each lane of the result.
@compute @workgroup_size(THREADS)
fn merge(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let lane = (group.x + group.y * groups.x) * THREADS + thread;
    let pixels = p.batch * p.pixels;
    let lanes = pixels * p.inner / LANE;
    if lane >= lanes { return; }
    let at = lane * LANE;
    let state = p.state + (at / p.inner * p.heads + at % p.inner / HEAD) * 4u;
    let beyond = pixels * p.heads * 4u;
    var top = LEAST;
    for (var s = 0u; s < p.slices; s++) {
        top = max(top, read1(state + s * beyond));
    }
    var sums = Lane();
    var sum = 0.0;
    for (var s = 0u; s < p.slices; s++) {
        let slice = read4(state + s * beyond);
        let share = exp(slice.x - top);
        sum += share * slice.y;
        sums += share * arena[p.partial / LANE + s * lanes + lane];
    }
    arena[p.output / LANE + lane] = sums / sum;
}

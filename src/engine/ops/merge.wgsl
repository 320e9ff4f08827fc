// The last dispatch of attention whose keys are cut into slices, where the operation after it does not put them together;
// attention.wgsl and slices.wgsl come before it.

// A thread for each lane of the result.
@compute @workgroup_size(THREADS)
fn merge(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let lane = (group.x + group.y * groups.x) * THREADS + thread;
    let floats = p.batch * p.pixels * p.inner;
    let at = lane * LANE;
    if at >= floats { return; }
    let state = p.state + (at / p.inner * p.heads + at % p.inner / HEAD) * 4u;
    let beyond = p.batch * p.pixels * p.heads * 4u;
    arena[p.output / LANE + lane] = merged(p.slices, p.partial + at, floats, state, beyond);
}

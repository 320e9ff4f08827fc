// What attention over slices of the keys comes to. `merge` (merge.wgsl) writes it out; a product may read it so (gemm.wgsl).

// A lane of a query's result: the sums of slice 0 are at `start`, and those of the next `floats` on; its maximum and sum at `state`,
// and the next ones `beyond` on.
fn merged(slices: u32, start: u32, floats: u32, state: u32, beyond: u32) -> Lane {
    var top = read1(state);
    for (var s = 1u; s < slices; s++) {
        top = max(top, read1(state + s * beyond));
    }
    var sums = Lane();
    var sum = 0.0;
    for (var s = 0u; s < slices; s++) {
        let slice = read4(state + s * beyond);
        let share = exp(slice.x - top);
        sum += share * slice.y;
        sums += share * arena[(start + s * floats) / LANE];
    }
    return sums / sum;
}

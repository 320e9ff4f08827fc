// The tiles of a product in workgroup memory in 32 bits. It goes with gemm.wgsl.

alias Tile4 = vec4f;

// The sums that moments are made of lie where the matrix was.
fn put_sum(at: u32, across: u32, sum: vec4f) {
    matrix[at / COLUMNS16][across][at % COLUMNS16] = sum;
}

fn sum_at(at: u32, across: u32) -> vec4f {
    return matrix[at / COLUMNS16][across][at % COLUMNS16];
}

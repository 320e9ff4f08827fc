// The tiles of a product in workgroup memory in 16-bit floats (shader-f16): half of what threads read of tile32.wgsl's. It goes
// with gemm.wgsl.
//
// Numbers are widened as they are read, so that products are exact and all sums have 32 bits: rounding image and matrix once is the
// only error. AMD's compiler makes that one instruction, v_fma_mix_f32: of 256 multiply-adds in the tile of 64×64 none is
// more than in 32 bits, and 8 reads of 16 bytes are left of 16. Apple's and Intel's multiply-adds take 16-bit operands, too; NVIDIA's
// take an instruction for each number that is read, one for four multiply-adds here. Products of four summed in 16 bits would be
// 192 instructions on AMD in place of 256, but no fewer on consumers' NVIDIA and on Apple, whose rate is the same for both; they
// would round three times more, and overflow at 65,504.

alias Tile4 = vec4<f16>;

// The sums that moments are made of stay in 32 bits.
var<workgroup> sums: array<array<vec4f, ACROSS>, DOWN * COLUMNS4>;

fn put_sum(at: u32, across: u32, sum: vec4f) {
    sums[at][across] = sum;
}

fn sum_at(at: u32, across: u32) -> vec4f {
    return sums[at][across];
}

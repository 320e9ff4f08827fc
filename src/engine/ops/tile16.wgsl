// The tiles of a product in workgroup memory in 16-bit floats (shader-f16): half of what threads read of tile32.wgsl's. It goes
// with gemm.wgsl.
//
// Numbers are widened as they are read, so that products are exact and all sums have 32 bits: rounding image and matrix once is the
// only error. On AMD widening costs nothing: for four steps of depth a thread of the tile of 64×64 has 256 multiply-adds, as in 32
// bits, all of them v_fma_mix_f32, and 8 reads of 16 bytes in place of 16 (bench/device/count). Apple's multiply-add takes
// 16-bit operands, too; on NVIDIA's a number that is read is widened by an instruction, one for four multiply-adds. What halved
// reads bring was expected to be 1.2 to 1.5 times the speed on Apple's, Intel's and Adreno's (bench/device/REPORT.md).
//
// Summing each four products in 16 bits would be 192 instructions on AMD's in place of 256. But where 16 bits are no faster than 32,
// as on Apple's and most of NVIDIA's, it would be more of them, and everywhere it rounds each sum four times and overflows at 65,504.

alias Tile4 = vec4<f16>;

// The sums that moments are made of stay in 32 bits.
var<workgroup> sums: array<array<vec4f, ACROSS>, DOWN * COLUMNS4>;

fn put_sum(at: u32, across: u32, sum: vec4f) {
    sums[at][across] = sum;
}

fn sum_at(at: u32, across: u32) -> vec4f {
    return sums[at][across];
}

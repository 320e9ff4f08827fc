//! A plan's operations on a GPU, each a pair of files: how it is lowered, with the uniform that its shader reads, and the shader.
//!
//! A file uses only those that stand before it: activation, tile; load; norm; the operations.

mod activation;
mod attention;
mod fir;
mod gather;
mod gemm;
mod load;
mod map;
mod moments;
mod norm;
mod pool;
mod tile;

use super::lower::Lowering;
use super::plan::Op;
use crate::error::Result;

/// Lowers an operation.
///
/// # Errors
/// [`Error::Unsupported`](crate::Error::Unsupported) where attention's heads are too wide.
pub(super) fn lower(op: &Op, to: &mut Lowering) -> Result<()> {
    match op {
        Op::Attention(attention) => attention::lower(attention, to),
        Op::Fir(fir) => fir::lower(fir, to),
        Op::Gather(gather) => gather::lower(gather, to),
        Op::Gemm(gemm) => gemm::lower(gemm, to),
        Op::Map(map) => map::lower(map, to),
        Op::Moments(moments) => moments::lower(moments, to),
        Op::Norm(norm) => norm::lower(norm, to),
        Op::Pool(pool) => pool::lower(pool, to),
    }
}

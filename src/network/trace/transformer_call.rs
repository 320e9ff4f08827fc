//! What calls of text and latent networks are written down as.

/// A recorded call of [`TransformerOps`](crate::network::ops::TransformerOps), for which [`Call`](super::Call) has no name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants and fields are those of the trait's methods")]
pub enum TransformerCall {
    LayerNorm {
        name: Option<String>,
        eps: f64,
    },
    GatedGelu,
    AttentionMap {
        heads: usize,
    },
    /// The first rows of a table, one a token, which are added to tokens.
    Positions {
        name: String,
        rows: usize,
    },
    TokenAt,
    Slice {
        start: usize,
    },
    UpsampleTo,
    NearestRow {
        name: String,
        rows: usize,
    },
    Unpatchify {
        patch: usize,
    },
}

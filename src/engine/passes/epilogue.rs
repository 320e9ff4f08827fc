//! What passes share that fold something into the epilogue of a product.

use crate::engine::draft::{Draft, When};
use crate::engine::plan::{Gemm, Map, Op, PlannedOp, Source, ValueId};

/// Who writes and how many read each value of a draft.
pub(super) struct Flow {
    producers: Vec<Option<usize>>,
    uses: Vec<usize>,
}

impl Flow {
    pub(super) fn of(draft: &Draft) -> Self {
        Self { producers: draft.producers(), uses: draft.uses() }
    }

    /// The operation that computes `x`, if `x` has no other reader.
    pub(super) fn only<'a>(&self, draft: &'a Draft, x: ValueId) -> Option<(usize, &'a PlannedOp)> {
        let at = self.producers[x.0].filter(|_| self.uses[x.0] == 1)?;
        Some((at, &draft.ops[at]))
    }

    /// The product that computes `x`, if its result can still be multiplied. Those of the prelude stay as they are: computed once,
    /// they would gain nothing.
    pub(super) fn product<'a>(&self, draft: &'a Draft, x: ValueId) -> Option<(&'a str, &'a Gemm)> {
        let (_, step) = self.only(draft, x).filter(|_| draft.values[x.0].when != When::Prelude)?;
        match step {
            PlannedOp { name, op: Op::Gemm(g) } if g.moments.is_none() && g.sample_scale.is_none() => {
                Some((name, g))
            }
            _ => None,
        }
    }

    /// The product that computes `x`, if something can still be added to its sum.
    pub(super) fn sum<'a>(&self, draft: &'a Draft, x: ValueId) -> Option<(&'a str, &'a Gemm)> {
        self.product(draft, x).filter(|(_, g)| is_sum(g))
    }
}

/// Whether a product is its sum and the bias, and nothing else.
pub(super) fn is_sum(g: &Gemm) -> bool {
    g.scale == 1.0
        && g.time.is_none()
        && g.residual.is_none()
        && g.shortcut.is_none()
        && g.sample_scale.is_none()
        && g.moments.is_none()
}

/// The one image that is read as it is, where a map's source is that.
pub(super) fn plain(source: &Source) -> Option<ValueId> {
    (*source == Source::of(source.first)).then_some(source.first)
}

/// Folds maps into the products whose results they change: `absorb` says what a product becomes.
pub(super) fn absorb(draft: &mut Draft, absorb: &dyn Fn(&Gemm, &Map) -> Option<Gemm>) {
    let flow = Flow::of(draft);
    for at in 0..draft.ops.len() {
        if let Op::Map(map) = &draft.ops[at].op
            && let Some(x) = map.source.as_ref().and_then(plain)
            && let Some((name, product)) = flow.product(draft, x)
            && let Some(product) = absorb(product, map)
        {
            let op = Op::Gemm(Gemm { output: map.output, ..product });
            draft.ops[at] = PlannedOp { name: name.to_owned(), op };
        }
    }
    draft.sweep();
}

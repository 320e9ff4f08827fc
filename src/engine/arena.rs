//! Where each activation lives in the one buffer that all of them share.

use crate::sort::sort;

/// Offsets are multiples of this many bytes, WebGPU's `minStorageBufferOffsetAlignment`.
pub const ALIGNMENT: usize = 256;

/// Floats between two possible offsets.
pub(super) const ALIGNMENT_FLOATS: usize = ALIGNMENT / size_of::<f32>();

/// When an activation is written first and read last, as positions in the list of operations, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The operation that writes it.
    pub first: usize,
    /// The last operation that reads it.
    pub last: usize,
    /// Floats.
    pub len: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// In 64 bits, like every sum of them: all activations together can be more than 32 count, though each is less.
    fn rounded(&self) -> u64 {
        (self.len as u64).next_multiple_of(ALIGNMENT_FLOATS as u64)
    }
}

/// The most floats alive at one operation, each activation rounded up to the alignment: no placement needs less.
#[must_use]
pub fn live_maximum(lifetimes: &[Lifetime]) -> u64 {
    let alive = |at: usize| {
        lifetimes.iter().filter(|l| (l.first..=l.last).contains(&at)).map(Lifetime::rounded).sum()
    };
    // The sum can only grow where something is written.
    lifetimes.iter().map(|l| alive(l.first)).max().unwrap_or(0)
}

/// An offset in floats for each activation, and the buffer's length. Activations that are alive at the same time do not
/// overlap. None where the buffer has more bytes than this machine can count.
///
/// Greedy by size: the largest first, each at the lowest place that is free for its whole life (Pisarchyk and Lee,
/// "Efficient Memory Management for Deep Neural Net Inference", 2020, algorithm 3).
#[must_use]
pub fn place(lifetimes: &[Lifetime]) -> Option<(Vec<usize>, usize)> {
    // From largest to smallest.
    let mut order: Vec<(u64, u64)> =
        lifetimes.iter().zip(0..).map(|(life, i)| (u64::MAX - life.rounded(), i)).collect();
    sort(&mut order, &|a, b| a < b);
    let mut offsets = vec![0; lifetimes.len()];
    // (start, end, lifetime) of what is placed, by start.
    let mut placed: Vec<(u64, u64, Lifetime)> = Vec::new();
    let mut total = 0;
    for (_, i) in order {
        let i = i as usize;
        let life = lifetimes[i];
        let mut start = 0u64;
        for (taken, end, other) in &placed {
            if life.overlaps(other) {
                if start + life.rounded() <= *taken {
                    break;
                }
                start = start.max(*end);
            }
        }
        offsets[i] = usize::try_from(start).ok()?;
        let end = start + life.rounded();
        total = total.max(end);
        placed.insert(placed.partition_point(|p| p.0 <= start), (start, end, life));
    }
    usize::try_from(4 * total).ok()?;
    Some((offsets, total as usize))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_alive_together_never_touches(lives in prop::collection::vec((0..40usize, 0..12usize, 1..2000usize), 1..60)) {
            let lives: Vec<Lifetime> =
                lives.into_iter().map(|(first, more, len)| Lifetime { first, last: first + more, len }).collect();
            let (offsets, total) = place(&lives).unwrap();
            prop_assert!(total as u64 >= live_maximum(&lives));
            for (i, a) in lives.iter().enumerate() {
                prop_assert_eq!(offsets[i] % ALIGNMENT_FLOATS, 0);
                prop_assert!(offsets[i] + a.len <= total);
                for (j, b) in lives.iter().enumerate().take(i) {
                    let apart = offsets[i] + a.len <= offsets[j] || offsets[j] + b.len <= offsets[i];
                    prop_assert!(apart || !a.overlaps(b), "{i} and {j}");
                }
            }
        }
    }

    #[test]
    fn what_all_activations_take_is_counted_in_64_bits() {
        let half = 1 << 29;
        let lives = [Lifetime { first: 0, last: 1, len: half }; 3];
        assert_eq!(live_maximum(&lives), 3 * half as u64);
        let placed = place(&lives);
        assert_eq!(placed.is_some(), usize::BITS > 32, "{placed:?}");
    }
}

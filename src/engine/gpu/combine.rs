//! The kernel that runs a sampler's programs between two evaluations of a network: its words, its uniform and its text.

use crate::engine::lower::{constants, declarations, uniform, wgsl};

constants! {
    /// Threads of a workgroup.
    THREADS = 64;

    /// A sampler's program, by what follows each instruction in its words. Take the network's output: slot; number of the check;
    /// how far on the answers for what is not wanted lie, or 0; the share of the others.
    OP_TAKE_OUTPUT = 0;
    /// Give the network its input. Slot; scale; how far on it is written once more, or 0.
    OP_GIVE_INPUT = 1;
    /// A step ends. Slot of x; number of the check.
    OP_END_STEP = 2;
    /// Blend two slots. Output; mask; yes; no.
    OP_BLEND = 4;
    /// Combine slots. Output; range of the clip, or 0; kind of noise; its draw or its slot; two numbers of its scale; the
    /// network's output that holds its variance; number of terms; and for each term its slot, channels and coefficient.
    OP_COMBINE = 3;

    // Kinds of noise that `OP_COMBINE` adds: by how its scale is found, and whether the host has drawn it.
    NO_NOISE = 0;
    NOISE_CONSTANT = 1;
    NOISE_LEARNED = 2;
    NOISE_LEARNED_RANGE = 3;
    /// The bits of a kind that say how its scale is found.
    NOISE_SCALE = 3;
    /// Set where the noise waits in a slot, and is not made by the kernel.
    NOISE_DRAWN = 4;
}

uniform! {
    /// `Params` in combine.wgsl.
    struct Params {
        start: u32,
        end: u32,
        batch: u32,
        channels: u32,
        pixels: u32,
        input: u32,
        output: u32,
        out_channels: u32,
        seed_low: u32,
        seed_high: u32,
    }
}

/// The text, whose function is `main`.
pub(super) fn text() -> String {
    declarations(CONSTANTS) + wgsl!("combine.wgsl")
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn the_shader_is_valid_and_reads_its_uniform_as_rust_writes_it() {
    use crate::engine::lower::{compare, valid};
    compare::<Params>(&valid("combine", &text(), "main"), "p");
}

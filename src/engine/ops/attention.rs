//! Attention of the pixels of an image to those of the same or another. The twin is the kernels' `attention`.

use crate::engine::lower::{File, Lowering, Shader, constants, grid, uniform, wgsl, word};
use crate::engine::plan::Attention;
use crate::error::{Error, Result};

uniform! {
    /// `Params` in attention.wgsl.
    struct Params {
        q: u32,
        k: u32,
        v: u32,
        q_row: u32,
        k_row: u32,
        v_row: u32,
        output: u32,
        batch: u32,
        pixels: u32,
        keys: u32,
        heads: u32,
        inner: u32,
        scale: f32,
    }
}

constants! {
    /// Threads of a workgroup.
    THREADS = 64;
    /// The most vectors of a head for which a thread holds a query and its result in registers.
    NARROW_LANES = 16;
}

const ATTENTION: File = File { text: wgsl!("attention.wgsl"), constants: CONSTANTS };

/// Queries of a workgroup; `None` for one a thread, which holds it and its result in registers.
type Queries = Option<usize>;

fn shader(head: usize, lanes4: bool, queries: Queries) -> Shader {
    let entry = if queries.is_none() { "narrow" } else { "wide" };
    let constants = vec![("HEAD", word(head)), ("QUERIES", word(queries.unwrap_or(1)))];
    Shader::new(entry, constants, lanes4, &[ATTENTION]).labelled(|| format!("attention, heads of {head}"))
}

pub(super) fn lower(a: &Attention, to: &mut Lowering) -> Result<()> {
    let [batch, height, width, _] = to.shape(a.output);
    let (pixels, head) = (height * width, a.inner / a.heads);
    let parts = [a.q, a.k, a.v];
    let starts = parts.map(|part| to.values[part.value.0].offset + part.start);
    let rows = parts.map(|part| to.shape(part.value)[3]);
    let lanes4 = [head, a.inner].iter().chain(&starts).chain(&rows).all(|n| n.is_multiple_of(4));
    let [_, key_height, key_width, _] = to.shape(a.k.value);
    let keys = key_height * key_width;
    let lanes = if lanes4 { head / 4 } else { head };
    // A wide head's workgroup holds so many queries in half of its memory.
    let queries = if lanes <= NARROW_LANES as usize {
        None
    } else {
        let most = [8, 4, 2, 1].into_iter().find(|q| q * head <= 2048);
        Some(most.ok_or_else(|| Error::Unsupported {
            what: format!("attention with heads of {head} channels"),
            why: "on a GPU a head may have up to 2048; the CPU device has no such limit".to_owned(),
        })?)
    };
    let params = Params {
        q: word(starts[0]),
        k: word(starts[1]),
        v: word(starts[2]),
        q_row: word(rows[0]),
        k_row: word(rows[1]),
        v_row: word(rows[2]),
        output: to.offset(a.output),
        batch: word(batch),
        pixels: word(pixels),
        keys: word(keys),
        heads: word(a.heads),
        inner: word(a.inner),
        scale: 1.0 / (head as f32).sqrt(),
    };
    let read = 4 * (batch * a.inner * (pixels + 2 * keys)) as u64;
    let tiles = pixels.div_ceil(queries.unwrap_or(THREADS as usize));
    to.dispatch(shader(head, lanes4, queries), 0, &params, grid(batch * a.heads * tiles));
    to.costs(4 * (batch * a.inner) as u64 * (pixels * keys) as u64, to.traffic[1] + read);
    Ok(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
#[test]
fn every_variant_is_valid() {
    for lanes4 in [false, true] {
        for (head, queries) in [(8, None), (64, Some(8)), (256, Some(8)), (1024, Some(2))] {
            crate::engine::lower::check::<Params>(&shader(head, lanes4, queries));
        }
    }
}

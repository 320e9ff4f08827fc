//! A safetensors file in pieces of any size is read or refused. The first byte says how large the pieces are, and whether the
//! rest is a header without its length and, behind a zero byte, data: a changed header is then of another length by itself.
#![no_main]

use noiseball::checkpoint::WeightsReader;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    let file = if mode & 0x80 == 0 {
        rest.to_vec()
    } else {
        let (header, data) = rest.split_at(rest.iter().position(|b| *b == 0).unwrap_or(rest.len()));
        [&(header.len() as u64).to_le_bytes(), header, data.get(1..).unwrap_or_default()].concat()
    };
    let mut reader = WeightsReader::new("fuzz.safetensors");
    let pushed = file.chunks(usize::from(mode & 0x7f) + 1).try_for_each(|piece| reader.push(piece));
    if let Ok(weights) = pushed.and_then(|()| reader.finish()) {
        for name in weights.names() {
            let tensor = weights.get(name).expect("a name is a tensor's");
            let _ = tensor.to_f32(name);
        }
    }
});

//! Any bytes, in any pieces, are read or refused.
#![no_main]

use noiseball::checkpoint::WeightsReader;

libfuzzer_sys::fuzz_target!(|input: (usize, &[u8])| {
    let mut reader = WeightsReader::new("fuzz.safetensors");
    let pushed = input.1.chunks(input.0 % 64 + 1).try_for_each(|piece| reader.push(piece));
    let _ = pushed.and_then(|()| reader.finish());
});

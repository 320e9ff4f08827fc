//! A file of PyTorch in pieces of any size is read or refused, and what is read is not larger than the file allows. The first
//! byte says how large the pieces are, and whether the rest is a pickle, for which an archive with the storages `0` and `1`
//! is made.
#![no_main]

use noiseball::checkpoint::WeightsReader;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    let file = if mode & 0x80 == 0 { rest.to_vec() } else { archive(rest) };
    let mut reader = WeightsReader::new("fuzz.bin");
    let pushed = file.chunks(usize::from(mode & 0x7f) + 1).try_for_each(|piece| reader.push(piece));
    let Ok(weights) = pushed.and_then(|()| reader.finish()) else { return };
    let mut bytes = 0;
    for name in weights.names() {
        let tensor = weights.get(name).expect("a name is a tensor's");
        bytes += tensor.bytes.len();
        let _ = tensor.to_f32(name);
    }
    assert!(bytes <= 2 * file.len() + (1 << 20), "{bytes} bytes of tensors from {}", file.len());
});

/// What `torch.save` makes of a pickle and two storages.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[7; 24]), ("a/data/1", &[0; 8])] {
        let offset = (file.len() as u32).to_le_bytes();
        let size = (bytes.len() as u32).to_le_bytes();
        let length = (name.len() as u32).to_le_bytes();
        file.extend([b"PK\x03\x04\0\0\x08\0", &[0; 18][..], &length, name.as_bytes(), bytes].concat());
        file.extend([b"PK\x07\x08\0\0\0\0", &size[..], &size].concat());
        directory.extend([b"PK\x01\x02\0\0\0\0\x08\0", &[0; 10][..], &size, &size, &length].concat());
        directory.extend([&[0; 10][..], &offset, name.as_bytes()].concat());
    }
    [&file[..], &directory, b"PK\x05\x06", &[0; 18]].concat()
}

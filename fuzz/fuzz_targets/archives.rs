//! A ZIP archive becomes a data set or is left out. The first byte says what it is called, and whether the rest is a list of
//! entries from which an archive is made: a name up to a zero byte, a length of two bytes, and so many bytes.
#![no_main]

mod reading;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    const NAMES: [&str; 2] = ["a.zip", "a.npz"];
    let file = if mode & 0x80 == 0 { rest.to_vec() } else { archive(rest) };
    reading::read(NAMES[usize::from(mode) % NAMES.len()], file, mode & 0x40 != 0);
});

fn archive(mut entries: &[u8]) -> Vec<u8> {
    let (mut file, mut directory, mut count) = (Vec::new(), Vec::new(), 0u16);
    while let Some(end) = entries.iter().position(|byte| *byte == 0) {
        let (name, rest) = (&entries[..end], &entries[end + 1..]);
        let Some((length, rest)) = rest.split_first_chunk() else { break };
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(u16::from_le_bytes(*length))));
        entries = rest;
        count = count.wrapping_add(1);
        let offset = (file.len() as u32).to_le_bytes();
        let size = (bytes.len() as u32).to_le_bytes();
        let length = (name.len() as u32 & 0xffff).to_le_bytes();
        let sum = crc32(bytes).to_le_bytes();
        let common = [&[20, 0, 0, 8, 0, 0, 0, 0, 0, 0][..], &sum, &size, &size, &length].concat();
        file.extend([b"PK\x03\x04", &common[..], name, bytes].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &offset, name].concat());
    }
    let (count, size) = (count.to_le_bytes(), (directory.len() as u32).to_le_bytes());
    let offset = (file.len() as u32).to_le_bytes();
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &size, &offset, &[0; 2]].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}

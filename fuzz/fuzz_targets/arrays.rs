//! An array of NumPy's or of MNIST's format becomes a data set or is left out. The first byte says what the file is called, and
//! whether the rest is the header of an NPY without its length and, behind a zero byte, data.
#![no_main]

mod reading;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    const NAMES: [&str; 4] = ["a.npy", "train-images-idx3-ubyte", "a.npy.gz", "images-idx3-ubyte.gz"];
    let file = if mode & 0x80 == 0 {
        rest.to_vec()
    } else {
        let (header, data) = rest.split_at(rest.iter().position(|b| *b == 0).unwrap_or(rest.len()));
        let length = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\0", &length[..], header, data.get(1..).unwrap_or_default()].concat()
    };
    reading::read(NAMES[usize::from(mode) % NAMES.len()], file, false);
});

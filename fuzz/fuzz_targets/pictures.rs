//! A picture in any of the formats that are decoded here becomes a data set or is left out. The first byte says what it is called.
#![no_main]

mod reading;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    const NAMES: [&str; 4] = ["class/a.png", "class/a.jpg", "class/a.webp", "class/a.gif"];
    reading::read(NAMES[usize::from(mode) % NAMES.len()], rest.to_vec(), mode & 0x80 != 0);
});

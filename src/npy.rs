//! NumPy's NPY format, written.

/// A file of format 1.0: magic, a header padded to a multiple of 64 bytes, and `data`, the little-endian numbers in
/// row-major order. `descr` is NumPy's name of their type, such as `<f4`.
#[must_use]
pub fn encode(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    // A tuple of one ends in a comma in Python.
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", sizes.join(", "));
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}").into_bytes();
    header.resize((10 + header.len() + 1).next_multiple_of(64) - 10 - 1, b' ');
    header.push(b'\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header);
    bytes.extend(data);
    bytes
}

//! Images as arrays: NumPy's NPY and MNIST's IDX.

use super::builder::{Builder, MAX_PIXELS, Picture, Skipped};

/// An array of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its sizes, outermost first.
    pub shape: Vec<usize>,
    /// Its numbers, row-major.
    pub values: Values,
}

/// An [`Array`]'s numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Unsigned bytes.
    Bytes(Vec<u8>),
    /// Anything else, as the nearest f32.
    Floats(Vec<f32>),
}

impl Array {
    /// Reads NPY or IDX, by how the bytes begin; `None` where they are neither.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn read(bytes: &[u8]) -> Option<Result<Self, String>> {
        match bytes {
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Some(npy(bytes)),
            [0, 0, 8 | 9 | 11..=14, 1..=4, ..] => Some(idx(bytes)),
            _ => None,
        }
    }

    fn new(shape: Vec<usize>, values: Values) -> Result<Self, String> {
        let wanted = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b)).ok_or("its sizes overflow")?;
        let found = match &values {
            Values::Bytes(v) => v.len(),
            Values::Floats(v) => v.len(),
        };
        if wanted == found {
            Ok(Self { shape, values })
        } else {
            Err(format!("it holds {found} numbers for the sizes {shape:?}"))
        }
    }

    /// Adds the images of an array `[count, height, width]`, `[count, height, width, channels]` or
    /// `[count, channels, height, width]` (1, 3 or 4 channels) to a data set; `labels` holds a whole number for each. Numbers
    /// that are no bytes count from the array's smallest (black) to its largest (white).
    ///
    /// # Errors
    /// Says why this is no array of images.
    pub fn add_to(&self, builder: &mut Builder, labels: Option<&Self>) -> Result<(), String> {
        let colours = |n: usize| matches!(n, 1 | 3 | 4);
        let (count, height, width, channels, planar) = match self.shape[..] {
            [n, h, w] => (n, h, w, 1, false),
            [n, c, h, w] if colours(c) && !(colours(w) && !colours(h) && h == c) => (n, h, w, c, true),
            [n, h, w, c] if colours(c) => (n, h, w, c, false),
            _ => return Err(format!("an array {:?} is no list of images", self.shape)),
        };
        if height * width > MAX_PIXELS || height * width == 0 {
            return Err(format!("images of {width}×{height} pixels cannot be used"));
        }
        let labels = labels.map(|l| l.labels(count)).transpose()?;
        let bytes = self.bytes();
        let image = height * width * channels;
        for (index, values) in bytes.chunks_exact(image).enumerate() {
            let value =
                |p: usize, c: usize| values[if planar { c * height * width + p } else { p * channels + c }];
            let rgba = |p: usize| match channels {
                1 => [value(p, 0), value(p, 0), value(p, 0), 255],
                3 => [value(p, 0), value(p, 1), value(p, 2), 255],
                _ => [0, 1, 2, 3].map(|c| value(p, c)),
            };
            let picture = Picture { width, height, rgba: (0..height * width).flat_map(rgba).collect() };
            builder.add(labels.as_ref().map_or("", |l| &l[index]), &picture);
        }
        Ok(())
    }

    fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        match &self.values {
            Values::Bytes(bytes) => bytes.into(),
            Values::Floats(floats) => {
                let (least, most) =
                    floats.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
                let scale = 255.0 / (most - least).max(f32::MIN_POSITIVE);
                floats.iter().map(|v| ((v - least) * scale).round() as u8).collect::<Vec<u8>>().into()
            }
        }
    }

    fn labels(&self, count: usize) -> Result<Vec<String>, String> {
        if self.shape.iter().product::<usize>() != count {
            return Err(format!("labels of the sizes {:?} do not fit {count} images", self.shape));
        }
        // So that they sort as numbers do.
        let name = |v: i64, width: usize| format!("{v:0width$}");
        let numbers: Vec<i64> = match &self.values {
            Values::Bytes(v) => v.iter().map(|v| i64::from(*v)).collect(),
            Values::Floats(v) => v.iter().map(|v| *v as i64).collect(),
        };
        let width = numbers.iter().max().map_or(1, |m| m.to_string().len());
        Ok(numbers.into_iter().map(|v| name(v, width)).collect())
    }
}

/// Adds the images of files to a data set, `(name, bytes)` each, and gives what was left out. An array of as many numbers as
/// another has images is its labels, which count if `labelled`.
pub fn add_all(builder: &mut Builder, files: Vec<(String, Vec<u8>)>, labelled: bool) -> Vec<Skipped> {
    let (mut images, mut labels, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for (name, bytes) in files {
        match Array::read(&bytes).unwrap_or_else(|| Err("it is neither NPY nor IDX".to_owned())) {
            Ok(array) if array.shape.len() == 1 => labels.push(array),
            Ok(array) => images.push((name, array)),
            Err(why) => skipped.push(Skipped { name, why }),
        }
    }
    for (name, array) in images {
        let fitting = labels.iter().position(|l| l.shape[0] == array.shape[0]);
        let labels = fitting.map(|at| labels.remove(at)).filter(|_| labelled);
        if let Err(why) = array.add_to(builder, labels.as_ref()) {
            skipped.push(Skipped { name, why });
        }
    }
    skipped
}

/// NumPy's format, versions 1 to 3, little-endian or bytes, in C order.
fn npy(bytes: &[u8]) -> Result<Array, String> {
    let wide = *bytes.get(6).ok_or("it is cut off")? > 1;
    let length = if wide {
        bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    } else {
        bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))
    };
    let start = if wide { 12 } else { 10 };
    let end = length.and_then(|l| l.checked_add(start)).ok_or("it is cut off")?;
    let header = bytes.get(start..end).ok_or("it is cut off")?;
    let header = str::from_utf8(header).map_err(|_| "its header is no text")?;
    let after =
        |name: &str| header.split_once(name).map(|(_, rest)| rest.trim_start_matches([':', ' ', '\'', '"']));
    let dtype: String = after("'descr'")
        .ok_or("its header names no type")?
        .chars()
        .take_while(|c| !matches!(c, '\'' | '"'))
        .collect();
    if after("'fortran_order'").is_some_and(|rest| rest.starts_with("True")) {
        return Err("it is in Fortran order; save numpy.ascontiguousarray of it".to_owned());
    }
    let shape =
        after("'shape'").and_then(|rest| rest.strip_prefix('(')).ok_or("its header names no shape")?;
    let shape =
        shape.split(')').next().unwrap_or_default().split(',').map(str::trim).filter(|s| !s.is_empty());
    let shape: Vec<usize> =
        shape.map(str::parse).collect::<Result<_, _>>().map_err(|_| "its shape is not one")?;
    let data = &bytes[end..];
    fn read<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Values {
        Values::Floats(data.as_chunks().0.iter().map(|b| number(*b) as f32).collect())
    }
    let values = match dtype.as_str() {
        "|u1" | "|b1" => Values::Bytes(data.to_vec()),
        "|i1" => read(data, |b| f64::from(i8::from_le_bytes(b))),
        "<u2" => read(data, |b| f64::from(u16::from_le_bytes(b))),
        "<i2" => read(data, |b| f64::from(i16::from_le_bytes(b))),
        "<u4" => read(data, |b| f64::from(u32::from_le_bytes(b))),
        "<i4" => read(data, |b| f64::from(i32::from_le_bytes(b))),
        "<u8" => read(data, |b| u64::from_le_bytes(b) as f64),
        "<i8" => read(data, |b| i64::from_le_bytes(b) as f64),
        "<f4" => read(data, |b| f64::from(f32::from_le_bytes(b))),
        "<f8" => read(data, f64::from_le_bytes),
        other => return Err(format!("its numbers are {other:?}; save it as uint8 or float32")),
    };
    if let Values::Floats(floats) = &values
        && floats.iter().any(|v| !v.is_finite())
    {
        return Err("it holds numbers that are not finite".to_owned());
    }
    Array::new(shape, values)
}

/// MNIST's format: two zeros, the type, the number of sizes, the sizes, the numbers, all big-endian.
fn idx(bytes: &[u8]) -> Result<Array, String> {
    let dimensions = usize::from(bytes[3]);
    let sizes = bytes.get(4..4 + 4 * dimensions).ok_or("it is cut off")?;
    let shape = sizes.as_chunks().0.iter().map(|b| u32::from_be_bytes(*b) as usize).collect();
    let data = &bytes[4 + 4 * dimensions..];
    fn read<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Values {
        Values::Floats(data.as_chunks().0.iter().map(|b| number(*b) as f32).collect())
    }
    let values = match bytes[2] {
        8 => Values::Bytes(data.to_vec()),
        9 => read(data, |b| f64::from(i8::from_be_bytes(b))),
        11 => read(data, |b| f64::from(i16::from_be_bytes(b))),
        12 => read(data, |b| f64::from(i32::from_be_bytes(b))),
        13 => read(data, |b| f64::from(f32::from_be_bytes(b))),
        _ => read(data, f64::from_be_bytes),
    };
    Array::new(shape, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy_bytes(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn numpy_writes_what_is_read() {
        let bytes = npy_bytes(
            "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n",
            &[3, 0, 0, 0, 0, 0, 0, 0, 254, 255, 255, 255, 255, 255, 255, 255],
        );
        let array = Array::read(&bytes).unwrap().unwrap();
        assert_eq!(array, Array { shape: vec![2], values: Values::Floats(vec![3.0, -2.0]) });
        for cut in 0..bytes.len() {
            assert!(Array::read(&bytes[..cut]).is_none_or(|r| r.is_err()), "{cut}");
        }
        let fortran = npy_bytes("{'descr': '|u1', 'fortran_order': True, 'shape': (1, 1)}", &[0]);
        assert!(Array::read(&fortran).unwrap().is_err());
        let huge =
            npy_bytes("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 4)}", &[0]);
        assert!(Array::read(&huge).unwrap().is_err());
    }

    #[test]
    fn mnist_has_images_and_labels() {
        let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4][..], &[7; 32]].concat();
        let labels = [0, 0, 8, 1, 0, 0, 0, 2, 10, 9];
        let [images, labels] = [&images[..], &labels[..]].map(|b| Array::read(b).unwrap().unwrap());
        let mut builder = Builder::new(Some(4)).unwrap();
        images.add_to(&mut builder, Some(&labels)).unwrap();
        let (data, _) = builder.finish().unwrap();
        assert_eq!(
            (data.shape, data.names.clone(), data.labels.clone()),
            ([1, 4, 4], vec!["09".to_owned(), "10".to_owned()], Some(vec![1, 0]))
        );
    }

    #[test]
    fn labels_go_with_as_many_images_if_they_are_wanted() {
        let npy = |shape: &str, count: u8, first: u8| {
            npy_bytes(
                &format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"),
                &(first..first + count).collect::<Vec<u8>>(),
            )
        };
        let files = || {
            let named = |name: &str, bytes| (name.to_owned(), bytes);
            vec![
                named("arr_0.npy", npy("(2, 8, 8)", 128, 9)),
                named("arr_1.npy", npy("(3,)", 3, 7)),
                named("arr_2.npy", npy("(2,)", 2, 5)),
                named("arr_3.npy", vec![1, 2, 3]),
            ]
        };
        for (labelled, expected) in [(true, vec!["5".to_owned(), "6".to_owned()]), (false, Vec::new())] {
            let mut builder = Builder::new(None).unwrap();
            let skipped = add_all(&mut builder, files(), labelled);
            assert_eq!(skipped.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["arr_3.npy"]);
            let (data, _) = builder.finish().unwrap();
            assert_eq!((data.len(), data.names), (2, expected));
        }
    }

    #[test]
    fn channels_are_first_or_last() {
        for (shape, at) in [(vec![1, 3, 8, 8], 64), (vec![1, 8, 8, 3], 1)] {
            let mut values = vec![0; 192];
            values[at] = 255;
            let mut builder = Builder::new(None).unwrap();
            Array { shape, values: Values::Bytes(values) }.add_to(&mut builder, None).unwrap();
            let (data, _) = builder.finish().unwrap();
            let mut image = [0.0; 192];
            data.image(0, false, &mut image);
            assert_eq!(image.iter().position(|v| *v == 1.0), Some(64), "green of the first pixel");
        }
        let flat = Array { shape: vec![4, 64], values: Values::Bytes(vec![0; 256]) };
        assert!(flat.add_to(&mut Builder::new(None).unwrap(), None).is_err());
    }
}

//! One picture or one array as it is, not made like others: for the command line's pictures to edit and to measure.

use std::ops::RangeInclusive;
use std::path::Path;

use super::array::{Array, Header};
use super::builder::Picture;
use super::decode;
use super::problem::Problem;
use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::read::read_regular;

/// The most bytes of such a file.
const MAX_BYTES: u64 = 1 << 28;

/// Numbers from 0 to 1, as a file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// `[3, height, width]` of a picture, what its file says of an array.
    pub shape: Vec<usize>,
    /// The numbers in that order.
    pub values: Vec<f32>,
    /// Whether it is a picture rather than an array.
    pub is_picture: bool,
}

/// Reads a picture, black being 0 and white 1, or an array in NumPy's format that holds numbers in `range`.
///
/// # Errors
/// [`Error::Io`] where `path` cannot be read, [`Error::Dataset`] where it is neither, or its numbers are others.
pub fn read_one(path: &Path, range: RangeInclusive<f32>) -> Result<Given> {
    let bytes = read_regular(path, MAX_BYTES)?;
    let given = if Header::is(&bytes) { array(bytes, &range) } else { picture(&bytes) };
    given.map_err(|problem| {
        let (Problem::Skip(why) | Problem::End(why)) = problem;
        Error::Dataset { problem: format!("{}: {why}", path.display()) }
    })
}

fn picture(bytes: &[u8]) -> Result<Given, Problem> {
    decode::check(bytes, false)?;
    let mut first: Option<Picture> = None;
    let mut keep = |picture: &Picture| {
        first.get_or_insert_with(|| picture.clone());
        Ok(())
    };
    decode::pictures(bytes, &Budget::default(), &|_, _, _| Ok(()), &mut keep)?;
    let picture = first.ok_or("there is no picture in it")?;
    let (width, height) = picture.shown();
    let mut values = Vec::with_capacity(3 * width * height);
    for channel in 0..3 {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        values.extend(places.map(|(x, y)| picture.rgb(x, y)[channel] / 255.0));
    }
    Ok(Given { shape: vec![3, height, width], values, is_picture: true })
}

fn array(bytes: Vec<u8>, range: &RangeInclusive<f32>) -> Result<Given, Problem> {
    let header = Header::read(&mut &bytes[..], Some(bytes.len() as u64))?;
    let shape = header.shape().to_vec();
    let array = Array::new(header, bytes)?;
    let values: Vec<f32> = array.in_order()?.map(|v| v as f32).collect();
    match values.iter().find(|v| !range.contains(*v)) {
        Some(value) => {
            let (least, most) = (range.start(), range.end());
            Err(format!("it holds {value}, but numbers from {least} to {most} are wanted").into())
        }
        None => Ok(Given { shape, values, is_picture: false }),
    }
}

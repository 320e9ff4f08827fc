//! From pictures of any size, or arrays, to a data set of one size.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::exif::Orientation;
use super::{Dataset, Pixels};
use crate::budget::{Budget, Refused};
use crate::error::{Error, Result};

/// A decoded picture: bytes `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels, as it is stored.
    pub width: usize,
    /// Height in pixels, as it is stored.
    pub height: usize,
    /// 1 for grey, 2 for grey and alpha, 3 for RGB, 4 for RGBA.
    pub channels: usize,
    /// The bytes, row by row.
    pub pixels: Vec<u8>,
    /// How it is to be turned.
    pub orientation: Orientation,
}

impl Picture {
    /// A picture that stands upright.
    #[must_use]
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Self {
        Self { width, height, channels, pixels, orientation: Orientation::default() }
    }

    /// Width and height as it is shown.
    pub(super) fn shown(&self) -> (usize, usize) {
        if self.orientation.swaps() { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// Red, green and blue at a place of the shown picture, over white where it is transparent.
    pub(super) fn rgb(&self, x: usize, y: usize) -> [f32; 3] {
        let (x, y) = self.orientation.stored(x, y, self.width, self.height);
        let at = (y * self.width + x) * self.channels;
        let p = &self.pixels[at..at + self.channels];
        let over_white = |v: u8, alpha: u8| {
            (u32::from(v) * u32::from(alpha) + 255 * (255 - u32::from(alpha))) as f32 / 255.0
        };
        match *p {
            [grey] => [f32::from(grey); 3],
            [grey, alpha] => [over_white(grey, alpha); 3],
            [r, g, b] => [r, g, b].map(f32::from),
            [r, g, b, alpha, ..] => [r, g, b].map(|v| over_white(v, alpha)),
            [] => [0.0; 3],
        }
    }
}

/// What of some input was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file, or the part of one.
    pub name: String,
    /// Why it is no picture.
    pub why: String,
}

/// A picture's class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// None is known.
    Unknown,
    /// By a number, of labels in an array.
    Number(i64),
    /// By a name, of a folder for instance.
    Name(String),
}

/// A name with each accented letter as one sign: Unicode's NFC.
#[cfg(not(target_arch = "wasm32"))]
fn composed(name: &str) -> String {
    use unicode_normalization::UnicodeNormalization as _;
    name.nfc().collect()
}

/// The same from the browser, which has Unicode's tables already.
#[cfg(target_arch = "wasm32")]
fn composed(name: &str) -> String {
    js_sys::JsString::from(name).normalize("NFC").into()
}

impl Class {
    /// A class by its name; an empty one is none. A letter with an accent is one class whether it is written as one sign or
    /// as two, as macOS does.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "" => Self::Unknown,
            _ if name.is_ascii() => Self::Name(name.to_owned()),
            _ => Self::Name(composed(name)),
        }
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Unknown => "nothing".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// How pictures are made alike.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Height and width of the data set's pictures, 4 to 256. Without one it is that of the first picture, down to a multiple
    /// of 8, from 8 to 32.
    pub size: Option<usize>,
    /// Whether all of a picture is kept, with white beside it, rather than its middle square.
    pub whole: bool,
    /// Whether classes are ignored, those by folders and by labels.
    pub no_classes: bool,
}

impl Options {
    /// With this height and width, 4 to 256.
    #[must_use]
    pub fn size(self, size: impl Into<Option<usize>>) -> Self {
        Self { size: size.into(), ..self }
    }

    /// With all of each picture, or its middle square.
    #[must_use]
    pub fn whole(self, whole: bool) -> Self {
        Self { whole, ..self }
    }

    /// Without classes, or with them.
    #[must_use]
    pub fn no_classes(self, no_classes: bool) -> Self {
        Self { no_classes, ..self }
    }
}

/// Collects pictures and makes them alike: the middle square of each, or all of it, shrunk by averaging or enlarged by
/// repeating, over white where it is transparent; grey if all are.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    options: Options,
    budget: Rc<Budget>,
    /// `[count, channels, size, size]`; 1 channel until there is a picture in colour.
    pixels: Vec<u8>,
    colour: bool,
    /// Each picture's position in `numbers`' order of arrival.
    classes: Vec<u32>,
    numbers: BTreeMap<Class, u32>,
    /// A name of a picture whose class is not known.
    unknown: Option<String>,
    skipped: Vec<Skipped>,
    skipped_count: usize,
    /// The last picture's side and size with its spans, and room for what is made of a picture: many are alike.
    spans: (usize, usize, Vec<Vec<(usize, f32)>>),
    rgb: Vec<[u8; 3]>,
}

/// What a class takes in memory beside its name, and a picture beside its pixels: the class's number, room to grow, the label.
const CLASS_MEMORY: u64 = 128;
const LABEL_MEMORY: u64 = 12;

/// The sizes that a data set's pictures have unless the caller names one.
const SIZES: std::ops::RangeInclusive<usize> = 8..=32;
/// How many of the files that were left out are remembered by name.
const MAX_SKIPPED: usize = 1000;

impl Builder {
    /// # Errors
    /// [`Error::Option`] for a size that is not from 4 to 256.
    pub fn new(options: Options, budget: Rc<Budget>) -> Result<Self> {
        if let Some(found) = options.size.filter(|s| !(4..=256).contains(s)) {
            let (found, expected) = (found.to_string(), "4 to 256 pixels".to_owned());
            return Err(Error::Option { option: "size", found, expected });
        }
        Ok(Self { options, budget, ..Self::default() })
    }

    /// Whether `count` more pictures of this size, of `classes` new classes, have room. Where there is no size yet, theirs will be
    /// the data set's.
    ///
    /// # Errors
    /// Where they have none.
    pub(super) fn check_room(
        &self,
        count: u64,
        [width, height]: [usize; 2],
        classes: u64,
    ) -> Result<(), Refused> {
        let size = self.options.size.unwrap_or_else(|| self.own_size(width, height)) as u64;
        let bytes = count.saturating_mul(size * size * if self.colour { 3 } else { 1 } + LABEL_MEMORY);
        self.budget.hold(bytes.saturating_add(classes.saturating_mul(CLASS_MEMORY))).map(drop)
    }

    /// Makes room for `count` more pictures of this size at once, so that too many are refused before any is made.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn reserve(&mut self, count: usize, [width, height]: [usize; 2]) -> Result<(), Refused> {
        let size = self.options.size.unwrap_or_else(|| self.own_size(width, height));
        self.check_room(count as u64, [width, height], 0)?;
        grow(&mut self.pixels, count * size * size * if self.colour { 3 } else { 1 }, &self.budget)
    }

    fn side(&self, width: usize, height: usize) -> usize {
        if self.options.whole { width.max(height) } else { width.min(height) }
    }

    fn own_size(&self, width: usize, height: usize) -> usize {
        (self.side(width, height) / 8 * 8).clamp(*SIZES.start(), *SIZES.end())
    }

    /// Adds a picture; `name` is for messages.
    ///
    /// # Errors
    /// Where the data set would take more memory than its budget allows.
    pub fn add(&mut self, name: &str, class: &Class, picture: &Picture) -> Result<(), Refused> {
        let (width, height) = picture.shown();
        let side = self.side(width, height);
        if width * height == 0 || picture.pixels.len() != picture.channels * width * height {
            self.skip(name, "it has no pixels");
            return Ok(());
        }
        let own = self.own_size(width, height);
        let size = *self.options.size.get_or_insert(own);
        // Where the square begins, from the picture's corner; before it where the picture is smaller.
        let (left, top) = if self.options.whole {
            (-(((side - width) / 2) as isize), -(((side - height) / 2) as isize))
        } else {
            (((width - side) / 2) as isize, ((height - side) / 2) as isize)
        };
        let pixel = |x: usize, y: usize| {
            let (x, y) = (left + x as isize, top + y as isize);
            let inside = (0..width as isize).contains(&x) && (0..height as isize).contains(&y);
            if inside { picture.rgb(x as usize, y as usize) } else { [255.0; 3] }
        };
        let (mut rgb, mut known) = (std::mem::take(&mut self.rgb), std::mem::take(&mut self.spans));
        rgb.clear();
        if (known.0, known.1) != (side, size) {
            known = (side, size, spans(side, size));
        }
        // Most arrays are grey and upright, and may be many.
        let is_plain = picture.channels == 1 && picture.orientation == Orientation::default();
        let plain = (is_plain && !self.options.whole)
            .then(|| &picture.pixels[top as usize * width + left as usize..]);
        for rows in &known.2 {
            for columns in &known.2 {
                if let Some(grey) = plain {
                    let mut sum = 0.0;
                    for (y, wy) in rows {
                        for (x, wx) in columns {
                            sum += wy * wx * f32::from(grey[y * width + x]);
                        }
                    }
                    rgb.push([sum.round().clamp(0.0, 255.0) as u8; 3]);
                    continue;
                }
                if let ([(y, _)], [(x, _)]) = (&rows[..], &columns[..]) {
                    rgb.push(pixel(*x, *y).map(|v| v.round() as u8));
                    continue;
                }
                let mut sum = [0.0; 3];
                for (y, wy) in rows {
                    for (x, wx) in columns {
                        let p = pixel(*x, *y);
                        (0..3).for_each(|c| sum[c] += wy * wx * p[c]);
                    }
                }
                rgb.push(sum.map(|v| v.round().clamp(0.0, 255.0) as u8));
            }
        }
        if !self.colour && rgb.iter().any(|[r, g, b]| r != g || g != b) {
            self.become_coloured(size * size)?;
        }
        let channels = if self.colour { 3 } else { 1 };
        grow(&mut self.pixels, channels * size * size, &self.budget)?;
        for channel in 0..channels {
            self.pixels.extend(rgb.iter().map(|p| p[channel]));
        }
        (self.rgb, self.spans) = (rgb, known);
        self.classify(name, class)
    }

    fn classify(&mut self, name: &str, class: &Class) -> Result<(), Refused> {
        let class = if self.options.no_classes { &Class::Unknown } else { class };
        if *class == Class::Unknown {
            self.unknown.get_or_insert_with(|| name.to_owned());
        }
        let number = match self.numbers.get(class) {
            Some(number) => *number,
            None => {
                let number = self.numbers.len() as u32;
                let length = if let Class::Name(name) = class { name.len() as u64 } else { 0 };
                self.budget.keep(CLASS_MEMORY + 2 * length)?;
                self.numbers.insert(class.clone(), number);
                number
            }
        };
        self.budget.keep(LABEL_MEMORY)?;
        self.classes.push(number);
        Ok(())
    }

    /// Gives the pictures so far, in grey, the three channels that colour needs.
    fn become_coloured(&mut self, plane: usize) -> Result<(), Refused> {
        let (before, capacity) = (std::mem::take(&mut self.pixels), 3 * self.classes.len() * plane);
        self.budget.keep(capacity as u64)?;
        self.pixels = Vec::with_capacity(capacity);
        for image in before.chunks_exact(plane) {
            (0..3).for_each(|_| self.pixels.extend(image));
        }
        self.budget.release(before.capacity() as u64);
        self.colour = true;
        Ok(())
    }

    /// Notes what was left out.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped_count += 1;
        if self.skipped.len() < MAX_SKIPPED {
            self.skipped.push(Skipped { name: name.to_owned(), why: why.to_owned() });
        }
    }

    /// How many pictures there are so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The data set, with classes where there is more than one, what was left out, and how much that was. Beside several classes, pictures whose
    /// class is not known are left out; beside a single one, there are no classes.
    ///
    /// # Errors
    /// [`Error::Dataset`] where there are no pictures, which names the first of what was left out.
    pub fn finish(mut self) -> Result<(Dataset, Vec<Skipped>, usize)> {
        let Some(size) = self.options.size.filter(|_| !self.is_empty()) else {
            let problem = match self.skipped.first() {
                None => "there are no pictures in it".to_owned(),
                Some(Skipped { name, why }) if self.skipped_count == 1 => {
                    format!("there are no pictures in it. One file was left out, {name}: {why}")
                }
                Some(Skipped { name, why }) => format!(
                    "there are no pictures in it. {} files were left out, first of all {name}: {why}",
                    self.skipped_count
                ),
            };
            return Err(Error::Dataset { problem });
        };
        let channels = if self.colour { 3 } else { 1 };
        let mut counts = vec![0; self.numbers.len()];
        self.classes.iter().for_each(|number| counts[*number as usize] += 1);
        self.numbers.retain(|_, number| counts[*number as usize] > 0);
        let unknown = self.numbers.remove(&Class::Unknown);
        let labelled = self.numbers.len() > 1;
        if let (true, Some(unknown), Some(first)) = (labelled, unknown, self.unknown.take()) {
            self.leave_out(unknown, channels * size * size);
            let others = counts[unknown as usize] - 1;
            let name = if others == 0 { first } else { format!("{first} and {others} more") };
            let why = "no class is known for it, while others have one. Put it in the folder of its class, or label it";
            self.skip(&name, why);
        }
        let names = names(self.numbers.keys());
        let mut label = vec![0; counts.len()];
        self.numbers.values().zip(0..).for_each(|(number, position)| label[*number as usize] = position);
        let data = Dataset {
            shape: [channels, size, size],
            pixels: Pixels::Bytes(self.pixels),
            labels: labelled.then(|| self.classes.iter().map(|number| label[*number as usize]).collect()),
            names: if labelled { names } else { Vec::new() },
        };
        data.check()?;
        Ok((data, self.skipped, self.skipped_count))
    }

    /// Drops the pictures that were added since there were `count`: those of a file that turns out to be damaged.
    pub(super) fn roll_back(&mut self, count: usize) {
        if let Some(image) = self.pixels.len().checked_div(self.classes.len()) {
            self.pixels.truncate(count * image);
            self.classes.truncate(count);
        }
    }

    /// Drops the pictures of a class.
    fn leave_out(&mut self, class: u32, image: usize) {
        let mut kept = 0;
        for (index, number) in self.classes.iter().enumerate() {
            if *number != class {
                self.pixels.copy_within(index * image..(index + 1) * image, kept * image);
                kept += 1;
            }
        }
        self.pixels.truncate(kept * image);
        self.classes.retain(|number| *number != class);
    }
}

/// Room for `more` bytes: a quarter more than there are, so that old and new bytes together stay below 2.25 times.
fn grow(bytes: &mut Vec<u8>, more: usize, budget: &Budget) -> Result<(), Refused> {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let before = bytes.capacity();
        let capacity = needed.max(before + before / 4);
        budget.keep(capacity as u64)?;
        bytes.reserve_exact(capacity - bytes.len());
        budget.release(before as u64);
    }
    Ok(())
}

/// Names of classes in their order; numbers as wide as the widest, so that they sort as numbers do.
fn names<'a>(classes: impl Iterator<Item = &'a Class> + Clone) -> Vec<String> {
    let width = |class: &Class| if let Class::Number(n) = class { n.to_string().len() } else { 0 };
    let width = classes.clone().map(width).max().unwrap_or(0);
    classes
        .map(|class| match class {
            Class::Unknown => String::new(),
            Class::Number(n) => format!("{n:0width$}"),
            Class::Name(name) => name.clone(),
        })
        .collect()
}

/// For each pixel of a line shrunk or enlarged from `from` to `to` pixels, the pixels it is made of with their weights.
fn spans(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let ratio = from as f32 / to as f32;
    let span = |i: usize| {
        if from <= to {
            return vec![(i * from / to, 1.0)];
        }
        let (start, end) = (i as f32 * ratio, (i + 1) as f32 * ratio);
        let covered = |p: usize| ((p + 1) as f32).min(end) - (p as f32).max(start);
        (start as usize..(end.ceil() as usize).min(from)).map(|p| (p, covered(p) / ratio)).collect()
    };
    (0..to).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize, colour: impl Fn(usize, usize) -> [u8; 4]) -> Picture {
        let rgba = (0..width * height).flat_map(|p| colour(p % width, p / width)).collect();
        Picture::new(width, height, 4, rgba)
    }

    fn builder(options: Options) -> Builder {
        Builder::new(options, Rc::default()).unwrap()
    }

    fn sized(size: usize) -> Options {
        Options { size: Some(size), ..Options::default() }
    }

    fn add(builder: &mut Builder, class: &str, picture: &Picture) {
        builder.add("a.png", &Class::named(class), picture).unwrap();
    }

    #[test]
    fn the_middle_square_is_averaged() {
        let mut builder = builder(sized(4));
        // Left and right are cut off; each 2×2 is black and white.
        let board = |x: usize, y: usize| {
            let grey = (x + y) as u8 % 2 * 255;
            if (2..10).contains(&x) { [grey, grey, grey, 255] } else { [9, 0, 0, 255] }
        };
        add(&mut builder, "", &picture(12, 8, board));
        let (data, _, _) = builder.finish().unwrap();
        assert_eq!((data.shape, data.pixels), ([1, 4, 4], Pixels::Bytes(vec![128; 16])));
        assert_eq!(data.labels, None);
    }

    #[test]
    fn all_of_a_picture_has_white_beside_it() {
        let mut builder = builder(Options { whole: true, ..sized(4) });
        add(&mut builder, "", &picture(4, 2, |_, _| [0, 0, 0, 255]));
        let (data, _, _) = builder.finish().unwrap();
        let expected = [[255; 4], [0; 4], [0; 4], [255; 4]].concat();
        assert_eq!(data.pixels, Pixels::Bytes(expected));
    }

    #[test]
    fn transparent_is_white_and_classes_are_sorted() {
        let mut builder = builder(Options::default());
        add(&mut builder, "b", &picture(9, 8, |_, _| [200, 0, 0, 0]));
        add(&mut builder, "a", &picture(4, 4, |_, _| [0, 255, 0, 255]));
        let (data, _, _) = builder.finish().unwrap();
        assert_eq!(data.shape, [3, 8, 8]);
        assert_eq!(
            (data.labels.clone(), data.names.clone()),
            (Some(vec![1, 0]), vec!["a".to_owned(), "b".to_owned()])
        );
        let mut image = [0.0; 192];
        data.image(0, false, &mut image);
        assert_eq!(image, [1.0; 192]);
        data.image(1, false, &mut image);
        assert_eq!([image[0], image[64], image[128]], [-1.0, 1.0, -1.0]);
    }

    #[test]
    fn no_class_is_without_a_name() {
        let grey = |v: u8| picture(4, 4, move |_, _| [v, v, v, 255]);
        let finish = |classes: &[&str], options| {
            let mut builder = builder(options);
            for (i, class) in classes.iter().enumerate() {
                add(&mut builder, class, &grey(i as u8));
            }
            builder.finish().unwrap()
        };
        let (data, skipped, _) = finish(&["", "cats"], sized(4));
        assert_eq!((data.len(), data.labels, skipped.len()), (2, None, 0), "one class is none");
        let (data, skipped, _) = finish(&["", "cats", "", "dogs"], sized(4));
        assert_eq!(
            (data.names.as_slice(), data.labels.as_deref()),
            (&["cats", "dogs"].map(str::to_owned)[..], Some(&[0, 1][..]))
        );
        assert_eq!(data.pixels, Pixels::Bytes([[1; 16], [3; 16]].concat()));
        assert_eq!(skipped[0].name, "a.png and 1 more");
        let (data, _, _) = finish(&["", "cats", "dogs"], Options { no_classes: true, ..sized(4) });
        assert_eq!((data.len(), data.labels), (3, None));
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let mut builder = builder(sized(4));
        for n in [10, 9, 10] {
            builder.add("x", &Class::Number(n), &picture(4, 4, |_, _| [0; 4])).unwrap();
        }
        let (data, _, _) = builder.finish().unwrap();
        assert_eq!((data.names, data.labels), (vec!["09".to_owned(), "10".to_owned()], Some(vec![1, 0, 1])));
    }

    #[test]
    fn colour_may_come_after_grey() {
        let mut builder = builder(sized(4));
        for colour in [[7, 7, 7, 255], [1, 2, 3, 255], [9, 9, 9, 255]] {
            add(&mut builder, "", &picture(4, 4, move |_, _| colour));
        }
        let (data, _, _) = builder.finish().unwrap();
        let expected = [7, 7, 7, 1, 2, 3, 9, 9, 9].map(|v: u8| [v; 16]).concat();
        assert_eq!((data.shape, data.pixels), ([3, 4, 4], Pixels::Bytes(expected)));
    }

    #[test]
    fn a_data_set_is_not_larger_than_its_budget() {
        let mut builder = builder(sized(256));
        let black = picture(1, 1, |_, _| [0, 0, 0, 255]);
        let mut add = || builder.add("x", &Class::Unknown, &black);
        let refused = (0..10_000).find_map(|_| add().err()).unwrap();
        assert!(refused.to_string().contains("more than 160000000 bytes"), "{refused}");
    }

    #[test]
    fn nothing_is_no_data_set() {
        assert!(matches!(builder(Options::default()).finish(), Err(Error::Dataset { .. })));
        assert!(Builder::new(sized(0), Rc::default()).is_err());
        assert!(Builder::new(sized(100_000), Rc::default()).is_err());
        let mut builder = builder(Options::default());
        builder.skip("notes.txt", "it is text");
        let Err(error) = builder.finish() else { panic!("there is nothing in it") };
        assert!(error.to_string().contains("notes.txt: it is text"));
    }
}

//! The files that the reader of a page chose, on their way to a data set.

use std::cell::RefCell;

use js_sys::{Reflect, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::{JsResult, serialize, thrown};
use crate::train::dataset;

/// Pictures of any size on their way to a data set.
#[wasm_bindgen]
pub struct Pictures(dataset::Reader);

#[derive(Serialize)]
struct Done {
    done: usize,
    total: usize,
}

#[wasm_bindgen]
impl Pictures {
    /// `size` is the height and width of the data set's pictures; without one the first picture decides. `whole` keeps what is
    /// outside their middle square; `classes` says whether folders and labels count.
    ///
    /// # Errors
    /// `invalid-option` unless the size is from 4 to 256.
    #[wasm_bindgen(constructor)]
    pub fn new(size: Option<u32>, whole: bool, classes: bool) -> JsResult<Pictures> {
        let options = dataset::Options { size: size.map(|s| s as usize), whole, no_classes: !classes };
        dataset::Reader::new(options, true).map(Self).map_err(|e| thrown(&e))
    }

    /// Gives a file: a picture, an array or an archive of them. All are given before the first is read.
    ///
    /// # Errors
    /// `dataset` where there are too many.
    pub fn push(&mut self, path: String, file: web_sys::Blob) -> JsResult<()> {
        self.0.push(path, Box::new(Chosen::new(file))).map_err(|e| thrown(&e))
    }

    /// Reads the next file, in a worker only: `{done, total}`, or `{name, bytes}` of a picture that the browser is to decode, or
    /// undefined when all are read.
    ///
    /// # Errors
    /// `dataset` where nothing should be made of all of them.
    pub fn read_next(&mut self) -> JsResult<JsValue> {
        match self.0.next().map_err(|e| thrown(&e))? {
            dataset::Step::Read { done, total } => serialize(&Done { done, total }),
            dataset::Step::Done => Ok(JsValue::UNDEFINED),
            dataset::Step::Foreign { name, bytes } => {
                let object = js_sys::Object::new();
                Reflect::set(&object, &"name".into(), &name.into())?;
                Reflect::set(&object, &"bytes".into(), &Uint8Array::from(&bytes[..]))?;
                Ok(object.into())
            }
        }
    }

    /// Adds a file's picture that the browser decoded, RGBA bytes `[height, width, 4]`.
    ///
    /// # Errors
    /// `dataset` where the data set would be too large.
    pub fn add_decoded(&mut self, name: &str, width: u32, height: u32, rgba: Vec<u8>) -> JsResult<()> {
        let picture = dataset::Picture::new(width as usize, height as usize, 4, rgba);
        self.0.add(name, &picture).map_err(|e| thrown(&e))
    }

    /// Adds a picture of no file, RGBA bytes `[height, width, 4]`, of a class; an empty name is no class.
    ///
    /// # Errors
    /// `dataset` where the data set would be too large.
    pub fn add(&mut self, class: &str, width: u32, height: u32, rgba: Vec<u8>) -> JsResult<()> {
        let picture = dataset::Picture::new(width as usize, height as usize, 4, rgba);
        self.0.add_of_class(class, &picture).map_err(|e| thrown(&e))
    }

    /// Notes what was left out.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.0.skip(name, why);
    }
}

impl Pictures {
    /// The data set, for callers in Rust.
    ///
    /// # Errors
    /// [`Error::Dataset`](crate::Error::Dataset) where there are no pictures.
    pub fn into_reading(self) -> crate::Result<dataset::Reading> {
        self.0.finish()
    }
}

/// A file that the reader chose, read in place. A worker may wait for it.
struct Chosen {
    file: web_sys::Blob,
    /// The bytes that were read last, and where they begin.
    window: RefCell<(u64, Vec<u8>)>,
}

impl Chosen {
    /// Bytes that are read at least: a read takes much longer than its bytes do.
    const WINDOW: u64 = 1 << 16;

    fn new(file: web_sys::Blob) -> Self {
        Self { file, window: RefCell::default() }
    }

    fn fetch(&self, from: u64, length: u64) -> JsResult<Vec<u8>> {
        let slice = self.file.slice_with_f64_and_f64(from as f64, (from + length) as f64)?;
        let buffer = web_sys::FileReaderSync::new()?.read_as_array_buffer(&slice)?;
        Ok(Uint8Array::new(&buffer).to_vec())
    }
}

impl dataset::Source for Chosen {
    fn size(&self) -> u64 {
        self.file.size() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut window = self.window.borrow_mut();
        let inside =
            |(start, bytes): &(u64, Vec<u8>)| (*start..*start + bytes.len() as u64).contains(&offset);
        if !inside(&window) {
            let changed = |_| {
                std::io::Error::other(
                    "the browser cannot read it; it may have changed or moved. Choose it again",
                )
            };
            *window = (offset, self.fetch(offset, Self::WINDOW.max(buffer.len() as u64)).map_err(changed)?);
        }
        let from = (offset - window.0) as usize;
        let length = buffer.len().min(window.1.len() - from);
        buffer[..length].copy_from_slice(&window.1[from..from + length]);
        Ok(length)
    }

    fn close(&self) {
        *self.window.borrow_mut() = <(u64, Vec<u8>)>::default();
    }
}

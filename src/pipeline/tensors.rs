//! From a file's tensors to a part that is loaded, one tensor at a time.

use std::cell::RefCell;
use std::rc::Rc;

use super::part::{Loading, Names, Part};
use crate::checkpoint::lora::Lora;
use crate::checkpoint::weights::{Dtype, Sink, Tensor};
use crate::engine::filling::Numbers;
use crate::error::{Error, Result};

/// Low-rank updates, and how many times they are merged.
pub(super) type Updates = Option<Rc<(Lora, f64)>>;

/// A part that is being read. Whoever reads it has another handle of it.
#[derive(Clone)]
pub(super) struct Arriving(Rc<RefCell<Arrival>>);

struct Arrival {
    /// The part's name in the folder.
    folder: String,
    part: Part,
    /// None at the end.
    loading: Option<Box<dyn Loading>>,
    updates: Updates,
    /// The key of the frequencies of a time embedding, where those are random, and they.
    frequencies: Option<(&'static str, Vec<f32>)>,
    room: Room,
    /// Whether all tensors are of 32 bits.
    exact: bool,
}

/// What a part takes, and may take.
pub(super) struct Room {
    /// The part's name for messages.
    pub(super) name: String,
    pub(super) batch: usize,
    /// Bytes of the activations.
    pub(super) activations: u64,
    /// Bytes of the weights as far as they are known.
    pub(super) weights: u64,
    /// The most bytes that both may take.
    pub(super) limit: Option<u64>,
}

impl Room {
    /// # Errors
    /// [`Error::OutOfMemory`] where it takes more than it may.
    pub(super) fn check(&self) -> Result<()> {
        let Self { name, batch, activations, weights, limit } = self;
        let Some(limit) = limit.filter(|limit| weights.saturating_add(*activations) > *limit) else {
            return Ok(());
        };
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        Err(Error::OutOfMemory {
            problem: format!(
                "`{name}` takes {} MB for its weights and {} MB for a batch of {batch}, and there are {} MB",
                megabytes(*weights),
                megabytes(*activations),
                limit / 1_000_000
            ),
        })
    }
}

impl Arriving {
    pub(super) fn new(
        folder: &str,
        part: Part,
        loading: Box<dyn Loading>,
        updates: Updates,
        frequencies: Option<&'static str>,
        room: Room,
    ) -> Self {
        Self(Rc::new(RefCell::new(Arrival {
            folder: folder.to_owned(),
            part,
            loading: Some(loading),
            updates,
            frequencies: frequencies.map(|key| (key, Vec::new())),
            room,
            exact: true,
        })))
    }

    /// What has been read.
    pub(super) fn finish(self) -> Option<Arrived> {
        let mut arrival = self.0.borrow_mut();
        let frequencies = arrival.frequencies.take().map(|(_, values)| values).unwrap_or_default();
        let (exact, weights) = (arrival.exact, arrival.room.weights);
        Some(Arrived { loading: arrival.loading.take()?, frequencies, exact, weights })
    }
}

/// A part that has been read.
pub(super) struct Arrived {
    pub(super) loading: Box<dyn Loading>,
    pub(super) frequencies: Vec<f32>,
    /// Whether nothing had fewer than 32 bits.
    pub(super) exact: bool,
    /// Bytes of the weights.
    pub(super) weights: u64,
}

impl Sink for Arriving {
    fn described(&mut self, tensors: &[(&str, Dtype, &[usize])]) -> Result<()> {
        let mut arrival = self.0.borrow_mut();
        for (_, dtype, shape) in tensors {
            let bytes = match dtype {
                Dtype::F16 => 2,
                Dtype::Int8 | Dtype::Other(_) => 1,
                Dtype::F64 | Dtype::F32 | Dtype::Bf16 => 4,
            };
            arrival.exact &= bytes == 4;
            let count = shape.iter().fold(bytes, |bytes: u64, size| bytes.saturating_mul(*size as u64));
            arrival.room.weights = arrival.room.weights.saturating_add(count);
        }
        arrival.room.check()
    }

    fn put(&mut self, key: &str, mut tensor: Tensor) -> Result<()> {
        let mut arrival = self.0.borrow_mut();
        let Arrival { folder, part, loading, updates, frequencies, .. } = &mut *arrival;
        if let Some((_, values)) = frequencies.as_mut().filter(|(known, _)| *known == key) {
            *values = tensor.to_f32(key)?;
            return Ok(());
        }
        if let Some((lora, scale)) = updates.as_deref()
            && let Some(updated) = lora.updated(folder, key, &tensor, *scale)?
        {
            tensor = updated;
        }
        let Some(loading) = loading else { return Ok(()) };
        loading.put(part.key_of(key), numbers(key, tensor)?)
    }
}

/// A tensor's numbers, in the precision that they have in the file where the engine knows it.
///
/// # Errors
/// As for [`Tensor::to_f32`].
fn numbers(key: &str, tensor: Tensor) -> Result<Numbers> {
    let halves = |bytes: &[u8]| -> Result<Vec<u16>> {
        let (pairs, mut values) = (bytes.as_chunks::<2>().0, Vec::new());
        let room = values.try_reserve_exact(pairs.len());
        room.map_err(|_| Error::OutOfMemory { problem: format!("{} bytes of weights", bytes.len()) })?;
        values.extend(pairs.iter().map(|pair| u16::from_le_bytes(*pair)));
        // The exponent of what is no finite number.
        match values.iter().position(|bits| bits & 0x7c00 == 0x7c00) {
            None => Ok(values),
            Some(index) => {
                let value = half::f16::from_bits(values[index]).to_f32();
                Err(Error::NotFiniteWeight { key: key.to_owned(), index, value })
            }
        }
    };
    Ok(match tensor.dtype {
        Dtype::F16 => Numbers::F16(halves(&tensor.bytes)?),
        Dtype::Int8 => {
            let count = tensor.shape.iter().product::<usize>().min(tensor.bytes.len());
            let scales = halves(&tensor.bytes[count..])?;
            let mut bytes = tensor.bytes;
            bytes.truncate(count);
            Numbers::Int8 { numbers: bytemuck::cast_vec(bytes), scales }
        }
        _ => Numbers::F32(tensor.to_f32(key)?),
    })
}

/// A part's parameters as its file names them.
pub(super) fn names_in_file(part: &Part) -> Names {
    part.parameters().into_iter().map(|(key, shape)| (part.key_in_file(&key).into_owned(), shape)).collect()
}

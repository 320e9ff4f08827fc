//! A network's parameters as they arrive: a tensor after the other, in any order and each in its own precision. What a matrix is made of
//! is packed once all of it is there, and is gone.

use half::f16;

use super::kernels::compact::{GROUP, Span};
use super::packed::Packed;
use super::parameters::{Matrix, MatrixId, MatrixNumbers, Parameters, Storage, is_table, spans, zeros};
use super::plan::{Op, Plan, PlannedOp};
use super::value::Reference;
use crate::error::{Error, Result};
use crate::sort::sort;

/// A tensor's numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats.
    F16(Vec<u16>),
    /// Whole numbers, and 16-bit floats that multiply them: one for each 64 of a row, the last of which may be fewer.
    Int8 {
        /// The numbers.
        numbers: Vec<i8>,
        /// `[rows][groups]`.
        scales: Vec<u16>,
    },
}

impl Numbers {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Int8 { numbers, .. } => numbers.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How they are stored.
    #[must_use]
    pub fn storage(&self) -> Storage {
        match self {
            Self::F32(_) => Storage::F32,
            Self::F16(_) => Storage::F16,
            Self::Int8 { .. } => Storage::Int8,
        }
    }

    /// As f32, of which so many are a row.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn into_f32(self, row: usize) -> Result<Vec<f32>> {
        let mut values: Vec<f32> = Vec::new();
        if let Self::F32(values) = self {
            return Ok(values);
        }
        let len = self.len();
        let room = values.try_reserve_exact(len);
        room.map_err(|_| Error::OutOfMemory { problem: format!("a tensor of {len} weights as f32") })?;
        match self {
            Self::F32(_) => {}
            Self::F16(halves) => values.extend(halves.iter().map(|bits| f16::from_bits(*bits).to_f32())),
            Self::Int8 { numbers, scales } => {
                let (row, groups) = (row.max(1), row.div_ceil(GROUP));
                values.extend(numbers.iter().enumerate().map(|(at, number)| {
                    let scale = scales[at / row * groups + at % row / GROUP];
                    f32::from(*number) * f16::from_bits(scale).to_f32()
                }));
            }
        }
        Ok(values)
    }
}

/// A network's parameters on their way to the processor's memory.
#[derive(Debug)]
pub struct IncomingPacked {
    filling: Filling,
    packed: Packed,
}

impl IncomingPacked {
    /// Waits for a plan's parameters: see [`Filling::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(plan: &Plan, exact: bool) -> Result<Self> {
        let packed = Packed::of_vectors(&plan.parameters, Vec::new());
        Ok(Self { filling: Filling::new(plan, exact)?, packed })
    }

    /// Takes a tensor, and packs the matrix that is whole with it.
    ///
    /// # Errors
    /// [`Error::WrongShape`] for another number of numbers than is asked for; [`Error::OutOfMemory`].
    pub fn put(&mut self, key: &str, numbers: Numbers) -> Result<()> {
        let Some((id, rows)) = self.filling.put(key, numbers)? else { return Ok(()) };
        self.packed.put_rows(id, &self.filling.parameters.matrices[id.0], &rows)
    }

    /// The parameters, once all are there.
    ///
    /// # Errors
    /// [`Error::MissingKey`].
    pub fn finish(self) -> Result<Packed> {
        let Self { filling, mut packed } = self;
        packed.set_vectors(filling.finish()?);
        Ok(packed)
    }
}

/// Where a tensor goes.
#[derive(Clone, Copy, Debug)]
enum Destination {
    Matrix(usize, usize),
    Vector(usize, usize),
}

/// Parameters that are arriving.
#[derive(Debug)]
pub struct Filling {
    pub(super) parameters: Parameters,
    /// Whether all are to be f32.
    exact: bool,
    /// The least that each matrix may be stored in, by who reads it.
    least: Vec<Storage>,
    /// By their keys, in whose order they stand.
    places: Vec<(String, Destination)>,
    /// Which of them are there.
    done: Vec<bool>,
    /// The tensors of matrices that are not whole yet.
    waiting: Vec<Vec<Option<Numbers>>>,
    vectors: Vec<f32>,
}

impl Filling {
    /// Waits for a plan's parameters.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(plan: &Plan, exact: bool) -> Result<Self> {
        let parameters = plan.parameters.clone();
        let mut places = Vec::new();
        for (at, matrix) in parameters.matrices.iter().enumerate() {
            let parts = matrix.parts.iter().enumerate();
            places.extend(parts.map(|(part, of)| (of.key.clone(), Destination::Matrix(at, part))));
        }
        for (at, vector) in parameters.vectors.iter().enumerate() {
            let parts = vector.parts.iter().enumerate();
            places.extend(parts.map(|(part, of)| (of.key.clone(), Destination::Vector(at, part))));
        }
        sort(&mut places, &|(a, _), (b, _)| a < b);
        let waiting = parameters.matrices.iter().map(|m| m.parts.iter().map(|_| None).collect()).collect();
        let mut least = vec![Storage::Int8; parameters.matrices.len()];
        let all = [&plan.prelude.ops, &plan.prompts.ops, &plan.ops];
        all.into_iter().flatten().for_each(|step| read(step, &parameters, &mut least));
        Ok(Self {
            exact,
            least,
            done: vec![false; places.len()],
            places,
            waiting,
            vectors: zeros(parameters.vectors_len(), 1)?,
            parameters,
        })
    }

    /// Takes a tensor; one that is there already, or that nobody asks for, is passed over. The matrix that is whole with it, if any.
    ///
    /// # Errors
    /// [`Error::WrongShape`] for another number of numbers than is asked for; [`Error::OutOfMemory`].
    pub(super) fn put(&mut self, key: &str, numbers: Numbers) -> Result<Option<(MatrixId, MatrixNumbers)>> {
        let first = self.places.partition_point(|(known, _)| known.as_str() < key);
        let last = self.places.partition_point(|(known, _)| known.as_str() <= key);
        if first == last || self.done[first] {
            return Ok(None);
        }
        let mut whole = None;
        let mut numbers = Some(numbers);
        for at in first..last {
            // A tensor has one place; where it had several, each would need its numbers.
            let own = if at + 1 == last { numbers.take() } else { numbers.clone() };
            let Some(own) = own else { break };
            self.done[at] = true;
            match self.places[at].1 {
                Destination::Vector(vector, part) => {
                    let vector = &self.parameters.vectors[vector];
                    let part = &vector.parts[part];
                    check(key, &[part.len], &own)?;
                    let values = own.into_f32(part.len)?;
                    for (sum, value) in self.vectors[vector.start + part.at..].iter_mut().zip(values) {
                        *sum += value;
                    }
                }
                Destination::Matrix(matrix, part) => {
                    check(key, &self.parameters.matrices[matrix].parts[part].shape, &own)?;
                    self.waiting[matrix][part] = Some(own);
                    if self.waiting[matrix].iter().all(Option::is_some) {
                        let parts = std::mem::take(&mut self.waiting[matrix]).into_iter().flatten().collect();
                        whole = Some((MatrixId(matrix), self.rows(matrix, parts)?));
                    }
                }
            }
        }
        Ok(whole)
    }

    /// The vectors, once all is there.
    ///
    /// # Errors
    /// [`Error::MissingKey`].
    pub(super) fn finish(self) -> Result<Vec<f32>> {
        let mut absent =
            self.places.iter().zip(&self.done).filter(|(_, done)| !**done).map(|(place, _)| place);
        match absent.next() {
            None => Ok(self.vectors),
            Some((key, place)) => {
                let expected = match *place {
                    Destination::Matrix(at, part) => self.parameters.matrices[at].parts[part].shape.clone(),
                    Destination::Vector(at, part) => vec![self.parameters.vectors[at].parts[part].len],
                };
                Err(Error::MissingKey { key: key.clone(), expected, more: absent.count() })
            }
        }
    }

    /// How a matrix of these tensors is stored: as they are, where they are alike and who reads it can.
    fn storage(&self, at: usize, parts: &[Numbers]) -> Storage {
        let of = |storage: Storage| parts.iter().all(|part| part.storage() == storage);
        let least = self.least[at];
        if self.exact || least == Storage::F32 {
            Storage::F32
        } else if of(Storage::F16) {
            Storage::F16
        } else if of(Storage::Int8) && least == Storage::Int8 {
            Storage::Int8
        } else {
            Storage::F32
        }
    }

    fn rows(&self, at: usize, parts: Vec<Numbers>) -> Result<MatrixNumbers> {
        let matrix = &self.parameters.matrices[at];
        Ok(match self.storage(at, &parts) {
            Storage::F32 => {
                let mut packed = zeros(matrix.rows, matrix.columns)?;
                for (part, numbers) in matrix.parts.iter().zip(parts) {
                    let row = part.shape.iter().skip(1).product();
                    part.put(numbers.into_f32(row)?.into_iter(), &mut packed, matrix.columns);
                }
                MatrixNumbers::F32(packed)
            }
            Storage::F16 => {
                let mut packed = zeros(matrix.rows, matrix.columns)?;
                for (part, numbers) in matrix.parts.iter().zip(parts) {
                    if let Numbers::F16(values) = numbers {
                        part.put(values.into_iter(), &mut packed, matrix.columns);
                    }
                }
                MatrixNumbers::F16(packed)
            }
            Storage::Int8 => whole_numbers(matrix, parts)?,
        })
    }
}

fn whole_numbers(matrix: &Matrix, parts: Vec<Numbers>) -> Result<MatrixNumbers> {
    let mut packed = zeros(matrix.rows, matrix.columns)?;
    let spans = spans(matrix).unwrap_or_default();
    let all: usize = spans.iter().map(|span| span.groups()).sum();
    let mut of_groups = zeros(if is_table(matrix) { 0 } else { all }, matrix.columns)?;
    for (part, given) in matrix.parts.iter().zip(parts) {
        let Numbers::Int8 { numbers, scales } = given else { continue };
        part.put(numbers.into_iter(), &mut packed, matrix.columns);
        if is_table(matrix) {
            of_groups = scales;
            continue;
        }
        // Behind the groups of the tensors above it.
        let (mut row, mut above) = (0, 0);
        for span in &spans {
            if row < part.row {
                above += span.groups();
            }
            row += span.rows();
        }
        let groups = part.size()[0].div_ceil(GROUP);
        for (at, scale) in scales.into_iter().enumerate() {
            of_groups[(above + at % groups) * matrix.columns + part.column + at / groups] = scale;
        }
    }
    Ok(MatrixNumbers::Int8 { numbers: packed, scales: of_groups })
}

fn check(key: &str, expected: &[usize], numbers: &Numbers) -> Result<()> {
    let len: usize = expected.iter().product();
    let row: usize = expected.iter().skip(1).product();
    let scales = match numbers {
        Numbers::Int8 { scales, .. } => scales.len() == len / row.max(1) * row.div_ceil(GROUP),
        _ => true,
    };
    if numbers.len() == len && scales {
        return Ok(());
    }
    Err(Error::WrongShape { key: key.to_owned(), expected: expected.to_vec(), found: vec![numbers.len()] })
}

/// Notes what an operation can read its matrix in: only products and tables are made for less than f32, and a product for whole numbers
/// whose groups it can tell by its window.
fn read(step: &PlannedOp, parameters: &Parameters, least: &mut [Storage]) {
    step.op.references(&mut |reference| {
        let Reference::Matrix(id) = reference else { return };
        let matrix = &parameters.matrices[id.0];
        let found = match &step.op {
            Op::Gemm(g) => match spans(matrix).as_deref() {
                Some([own] | [own, Span { taps: 1, .. }]) if own.taps == g.window.taps() => Storage::Int8,
                _ => Storage::F16,
            },
            Op::Gather(_) if is_table(matrix) => Storage::Int8,
            Op::Gather(_) => Storage::F16,
            _ => Storage::F32,
        };
        if least[id.0] != Storage::F32 && found != Storage::Int8 {
            least[id.0] = found;
        }
    });
}

//! Replays a sampler's program on the host, in f32, step by step.

use std::borrow::Cow;
use std::future::Future;

use super::adaptive::Integration;
use super::program::{Instruction, Noise, NoiseScale, Program, Slot, SlotKind};
use crate::denoiser::{Level, Point};
use crate::error::{Error, Result};
use crate::rng::Normals;
use crate::schedule::Clip;
use crate::text::number;

/// A network as a run sees it.
pub trait Evaluate {
    /// The network's output for the images `x`, `shape` being `[batch, channels, height, width]`, at a timestep: of that
    /// shape, or with twice the channels (prediction first) if the network learned a variance too.
    ///
    /// May be written as an `async fn`.
    fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timestep: f64,
    ) -> impl Future<Output = Result<Vec<f32>>>;

    /// The same with a timestep for each image, which only `adaptive` asks for; by itself, one image after the other.
    fn evaluate_each(
        &mut self,
        x: &[f32],
        [_, channels, height, width]: [usize; 4],
        timesteps: &[f64],
    ) -> impl Future<Output = Result<Vec<f32>>> {
        async move {
            let mut output = Vec::new();
            for (image, timestep) in x.chunks_exact(x.len() / timesteps.len()).zip(timesteps) {
                output.extend(self.evaluate(image, [1, channels, height, width], *timestep).await?);
            }
            Ok(output)
        }
    }

    /// The same for what is wanted and then for what is not, one after the other: `[2 batch, channels, height, width]`. Only runs with
    /// [guidance](super::Guidance) ask.
    fn evaluate_both(
        &mut self,
        _x: &[f32],
        _shape: [usize; 4],
        _timestep: f64,
    ) -> impl Future<Output = Result<Vec<f32>>> {
        std::future::ready(Err(Error::Unsupported {
            what: "guidance".to_owned(),
            why: "this network is asked for one thing only".to_owned(),
        }))
    }

    /// Looks at an estimate of the clean images, `[batch, channels, height, width]`, and may change it: the run goes on as if the
    /// network had said that. Only runs that are [`watched`](super::Options::watched) ask.
    fn watch(&mut self, _at: Watched, _x0: &mut [f32]) -> impl Future<Output = Result<()>> {
        std::future::ready(Ok(()))
    }
}

/// Where a run is when it shows an estimate of the clean images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// Position of the step in the run, from 0. A step of several evaluations shows as many estimates.
    pub index: usize,
    /// Number of steps of the run.
    pub total: usize,
    /// Where the network was asked.
    pub at: Point,
    /// `[batch, channels, height, width]` of the images.
    pub shape: [usize; 4],
}

/// The result of a step.
#[derive(Clone, Copy, Debug)]
pub struct Step<'run> {
    /// Position of the step in the run, from 0.
    pub index: usize,
    /// Number of steps of the run.
    pub total: usize,
    /// The timestep that the step started from.
    pub timestep: f64,
    /// The level that it started from.
    pub from: Level,
    /// The level that it arrived at, which `x` has.
    pub to: Level,
    /// `[batch, channels, height, width]` of the images.
    pub shape: [usize; 4],
    /// The noisy images that it arrived at; the result, after the last step. Empty where [nobody looks](Program::shown_every).
    pub x: &'run [f32],
    /// Its estimate of the clean images. Empty where nobody looks.
    pub x0: &'run [f32],
}

impl Step<'_> {
    /// `x` to look at: scaled to the variance of a variance-preserving level, whatever the sampler's own scale is.
    #[must_use]
    pub fn shown(&self) -> Cow<'_, [f32]> {
        let norm = self.to.norm() as f32;
        if norm == 1.0 { Cow::Borrowed(self.x) } else { self.x.iter().map(|v| v / norm).collect() }
    }
}

/// A run of a sampler, one step a call. It holds all its state, so runs may be interleaved, cloned to come back to
/// later, or dropped between steps; a dropped [`HostRun::step`] future may be followed by another call, which goes on from
/// the last finished instruction.
///
/// ```
/// # use noiseball::{rng::Generator, sampler::{Evaluate, HostRun, Options, SamplerKind}, schedule::Schedule};
/// struct Zero;
/// impl Evaluate for Zero {
///     async fn evaluate(&mut self, x: &[f32], _: [usize; 4], _: f64) -> noiseball::Result<Vec<f32>> {
///         Ok(vec![0.0; x.len()])
///     }
/// }
/// # async fn example() -> noiseball::Result<()> {
/// let schedule = Schedule::from_json("scheduler_config.json", b"{}")?;
/// let program = SamplerKind::Ddim.program(&schedule, &Options::steps(50))?;
/// let mut run = HostRun::new(program, [1, 3, 32, 32], Generator::philox(42)?)?;
/// while let Some(step) = run.step(&mut Zero).await? {
///     println!("{} of {}: {}", step.index + 1, step.total, step.x0[0]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HostRun<N> {
    program: Program,
    shape: [usize; 4],
    noise: N,
    slots: Vec<Vec<f32>>,
    next: usize,
    index: usize,
    evaluations: usize,
}

impl<N: Normals> HostRun<N> {
    /// A run at its beginning, for `shape` = `[batch, channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Option`] if the shape holds no or too many elements.
    pub fn new(program: Program, shape: [usize; 4], noise: N) -> Result<Self> {
        // Twice the channels of any slot must be countable, and Philox counts images with 32 bits.
        let elements = shape.iter().try_fold(2usize, |product, size| product.checked_mul(*size));
        if !elements.is_some_and(|n| n > 0 && n < i32::MAX as usize) {
            return Err(Error::Option {
                option: "shape",
                found: format!("{shape:?}"),
                expected: "[batch, channels, height, width] of 1 to 2^30 elements".to_owned(),
            });
        }
        let slots = vec![Vec::new(); program.slots().len()];
        Ok(Self { program, shape, noise, slots, next: 0, index: 0, evaluations: 0 })
    }

    /// What it does.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// Whether every step has been taken.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.index == self.program.steps()
    }

    /// How often the network was asked so far.
    #[must_use]
    pub fn evaluations(&self) -> usize {
        self.evaluations
    }

    /// The next step of the sampler with all its evaluations of the network, or `None` after the last.
    ///
    /// # Errors
    /// Those of the network; [`Error::WrongShape`] if its output has another size than the run needs;
    /// [`Error::NotFiniteOutput`] if it holds NaN or infinity, or if the images overflow. After an error, the next call
    /// tries the failed instruction again.
    pub async fn step(&mut self, network: &mut impl Evaluate) -> Result<Option<Step<'_>>> {
        while let Some(instruction) = self.program.instructions().get(self.next) {
            match instruction {
                Instruction::Evaluate { input, scale, timestep, guided, output } => {
                    let mut x = Cow::Borrowed(&self.slots[input.index()][..]);
                    if *scale != 1.0 {
                        x.to_mut().iter_mut().for_each(|v| *v *= *scale as f32);
                    }
                    let batch = self.shape[0];
                    let m = match guided {
                        None => network.evaluate(&x, self.shape, *timestep).await?,
                        Some(guided) => {
                            let [_, rest @ ..] = self.shape;
                            let both = network.evaluate_both(&x, self.shape, *timestep).await?;
                            check_output(&both, [2 * batch, rest[0], rest[1], rest[2]], *timestep)?;
                            guided.mix(both, batch, rest.iter().product())
                        }
                    };
                    check_output(&m, self.shape, *timestep)?;
                    self.slots[output.index()] = m;
                    self.evaluations += 1;
                }
                Instruction::Rescale { output, input, over, power, batch } => {
                    let images =
                        Images { slots: &self.slots, kinds: self.program.slots(), shape: self.shape };
                    let norms = over.map(|slot| images.norms(slot, *batch));
                    let mut out = Vec::with_capacity(images.len() * self.shape[0]);
                    for (n, image) in images.images(*input).enumerate() {
                        let ratio = norms[0][n] / norms[1][n];
                        let factor = if *power == 2 { ratio * ratio } else { ratio } as f32;
                        out.extend(image.iter().map(|v| factor * v));
                    }
                    self.slots[output.index()] = out;
                }
                Instruction::Integrate { output, input, slope, span } => {
                    let images = |slot: &Slot| self.slots[slot.index()].clone();
                    let mut integration = Integration::new(span, images(input), images(slope), self.shape[0]);
                    let mut evaluations = self.evaluations;
                    while let Some((x, timesteps)) = integration.ask(evaluations)? {
                        let m = network.evaluate_each(&x, self.shape, &timesteps).await?;
                        check_output(&m, self.shape, timesteps[0])?;
                        evaluations += 1;
                        integration.answer(&m);
                    }
                    self.slots[output.index()] = integration.end();
                    self.evaluations = evaluations;
                }
                Instruction::Load { output, pictures } => {
                    let len: usize = self.shape.iter().product();
                    if pictures.is_empty() || !len.is_multiple_of(pictures.len()) {
                        return Err(wrong_pictures("init", pictures.len(), self.shape));
                    }
                    self.slots[output.index()] = pictures.repeat(len / pictures.len());
                }
                Instruction::Blend { output, mask, yes, no } => {
                    let [mask, yes, no] = [mask, yes, no].map(|slot| &self.slots[slot.index()]);
                    let shares = mask.iter().zip(yes.iter().zip(no));
                    let out = shares.map(|(m, (yes, no))| m * yes + (1.0 - m) * no).collect();
                    self.slots[output.index()] = out;
                }
                Instruction::Restore { output, operator, yes, no } => {
                    let [_, shape @ ..] = self.shape;
                    let [yes, no] = [yes, no].map(|slot| &self.slots[slot.index()]);
                    let difference: Vec<f32> = no.iter().zip(yes).map(|(no, yes)| no - yes).collect();
                    let mut out = yes.clone();
                    let each = shape.iter().product();
                    for (out, difference) in out.chunks_exact_mut(each).zip(difference.chunks_exact(each)) {
                        let measured = operator.project(difference, shape);
                        out.iter_mut().zip(measured).for_each(|(out, d)| *out += d);
                    }
                    self.slots[output.index()] = out;
                }
                &Instruction::Watch { at, x0, output } => {
                    let mut seen = self.slots[x0.index()].clone();
                    let (index, total, shape) = (self.index, self.program.steps(), self.shape);
                    network.watch(Watched { index, total, at, shape }, &mut seen).await?;
                    if let Some(value) = seen.iter().find(|v| !v.is_finite()) {
                        return Err(Error::Option {
                            option: "on_prediction",
                            found: format!("a function that gave {}", number(f64::from(*value))),
                            expected: "one that gives finite numbers".to_owned(),
                        });
                    }
                    self.slots[output.index()] = seen;
                }
                Instruction::Combine { output, terms, clip, noise } => {
                    let mut out = std::mem::take(&mut self.slots[output.index()]);
                    out.clear();
                    out.resize(self.shape.iter().product(), 0.0);
                    let images =
                        Images { slots: &self.slots, kinds: self.program.slots(), shape: self.shape };
                    images.sum(terms, &mut out);
                    clip_images(*clip, self.shape, &mut out);
                    let added = match noise {
                        Some(noise) => images.add_noise(noise, &mut self.noise, &mut out),
                        None => Ok(()),
                    };
                    self.slots[output.index()] = out;
                    added?;
                }
                &Instruction::EndStep { from: Point { level: from, timestep }, to, x, x0 } => {
                    check_finite(&self.slots[x.index()], timestep)?;
                    let index = self.index;
                    self.next += 1;
                    self.index += 1;
                    let shows = self.program.shows(index);
                    let [x, x0] = [x, x0].map(|slot| if shows { &self.slots[slot.index()][..] } else { &[] });
                    let (total, shape) = (self.program.steps(), self.shape);
                    return Ok(Some(Step { index, total, timestep, from, to, shape, x, x0 }));
                }
            }
            self.next += 1;
        }
        Ok(None)
    }
}

fn check_output(m: &[f32], shape: [usize; 4], timestep: f64) -> Result<()> {
    let len: usize = shape.iter().product();
    if m.len() != len && m.len() != 2 * len {
        return Err(wrong_output(shape, m.len()));
    }
    check_finite(m, timestep)
}

/// Whether all that a network made of a timestep's images are numbers.
///
/// # Errors
/// [`Error::NotFiniteOutput`] where one is not.
pub(crate) fn check_finite(m: &[f32], timestep: f64) -> Result<()> {
    if m.iter().all(|v| v.is_finite()) { Ok(()) } else { Err(Error::NotFiniteOutput { timestep }) }
}

/// For pictures that are not as large as the run's.
pub(crate) fn wrong_pictures(option: &'static str, found: usize, shape: [usize; 4]) -> Error {
    let [batch, channels, height, width] = shape;
    let one = channels * height * width;
    let expected =
        format!("{one} ({channels} × {height} × {width}), or as many for each of {batch} pictures");
    Error::Option { option, found: format!("{found} numbers"), expected }
}

fn wrong_output(expected: [usize; 4], found: usize) -> Error {
    let key = "the network's output".to_owned();
    Error::WrongShape { key, expected: expected.to_vec(), found: vec![found] }
}

/// The slots as batches of images.
#[derive(Clone, Copy)]
struct Images<'a> {
    slots: &'a [Vec<f32>],
    kinds: &'a [SlotKind],
    shape: [usize; 4],
}

impl<'a> Images<'a> {
    /// Elements of one image.
    fn len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The images in a slot, one after the other: of a network's output, the channels of the prediction.
    fn images(self, slot: Slot) -> impl Iterator<Item = &'a [f32]> {
        let values = &self.slots[slot.index()];
        let stride = match self.kinds[slot.index()] {
            SlotKind::Image => self.len(),
            SlotKind::Output => values.len() / self.shape[0],
        };
        values.chunks_exact(stride).map(move |image| &image[..self.len()])
    }

    /// The second half of the channels of a network's output, image by image.
    fn variances(self, output: Slot) -> Result<impl Iterator<Item = &'a [f32]>> {
        let [batch, channels, height, width] = self.shape;
        let values = &self.slots[output.index()];
        let len = self.len();
        if values.len() != 2 * batch * len {
            return Err(wrong_output([batch, 2 * channels, height, width], values.len()));
        }
        Ok(values.chunks_exact(2 * len).map(move |image| &image[len..]))
    }

    /// The Euclidean norm of each image, or their mean in the place of each.
    fn norms(self, slot: Slot, mean: bool) -> Vec<f64> {
        let (mut norms, mut sum) = (Vec::new(), 0.0);
        for image in self.images(slot) {
            let mut square = 0.0;
            for v in image {
                square += f64::from(*v) * f64::from(*v);
            }
            norms.push(square.sqrt());
            sum += square.sqrt();
        }
        if mean {
            norms.fill(sum / self.shape[0] as f64);
        }
        norms
    }

    fn sum(self, terms: &[(Slot, f64)], out: &mut [f32]) {
        for &(slot, coefficient) in terms {
            let coefficient = coefficient as f32;
            for (out, image) in out.chunks_exact_mut(self.len()).zip(self.images(slot)) {
                for (o, v) in out.iter_mut().zip(image) {
                    *o += coefficient * v;
                }
            }
        }
    }

    fn add_noise(self, noise: &Noise, normals: &mut impl Normals, out: &mut [f32]) -> Result<()> {
        // Before the draw: this may fail, the next call tries again, and a draw must not be made twice.
        let variances = match noise.scale {
            NoiseScale::Constant(_) => None,
            NoiseScale::Learned { output } | NoiseScale::LearnedRange { output, .. } => {
                Some(self.variances(output)?)
            }
        };
        let mut z = vec![0.0; out.len()];
        normals.normals(noise.draw, self.shape[0], &mut z);
        let deviation = |v: f32| match noise.scale {
            NoiseScale::Constant(scale) => scale as f32,
            NoiseScale::Learned { .. } => v.max(0.0).sqrt(),
            NoiseScale::LearnedRange { log_min, log_max, .. } => {
                let f = (v + 1.0) / 2.0;
                (0.5 * (f * log_max as f32 + (1.0 - f) * log_min as f32)).exp()
            }
        };
        match variances {
            None => out.iter_mut().zip(&z).for_each(|(o, z)| *o += deviation(0.0) * z),
            Some(variances) => {
                for (o, (v, z)) in out.iter_mut().zip(variances.flatten().zip(&z)) {
                    *o += deviation(*v) * z;
                }
            }
        }
        Ok(())
    }
}

fn clip_images(clip: Clip, shape: [usize; 4], values: &mut [f32]) {
    match clip {
        Clip::None => {}
        Clip::Range(range) => values.iter_mut().for_each(|v| *v = clamp(*v, range as f32)),
        Clip::Dynamic { ratio, max } => {
            for image in values.chunks_exact_mut(shape[1..].iter().product()) {
                let s = magnitude_quantile(image, ratio as f32).max(1.0).min(max as f32);
                image.iter_mut().for_each(|v| *v = clamp(*v, s) / s);
            }
        }
    }
}

/// NaN stays NaN, so that it is found; no range makes it panic.
fn clamp(value: f32, range: f32) -> f32 {
    if value > range {
        range
    } else if value < -range {
        -range
    } else {
        value
    }
}

/// `torch.quantile(values.abs(), ratio)`: with linear interpolation, and the rank in f32 as there.
fn magnitude_quantile(values: &[f32], ratio: f32) -> f32 {
    let magnitudes = || values.iter().map(|v| v.abs().to_bits());
    let last = values.len() - 1;
    let rank = (ratio * last as f32).max(0.0).min(last as f32);
    let below = (rank as usize).min(last);
    // The least number that is not below `below` others: bit by bit, as the bits of magnitudes are in their order. The
    // library's selection would take two kilobytes of a page.
    let mut low = 0u32;
    for bit in (0..31).rev() {
        let above = low | 1 << bit;
        if magnitudes().filter(|m| *m < above).count() <= below {
            low = above;
        }
    }
    let others = magnitudes().filter(|m| *m > low).min();
    let high = match others {
        Some(next) if magnitudes().filter(|m| *m <= low).count() == below + 1 => next,
        _ => low,
    };
    let (low, high) = (f32::from_bits(low), f32::from_bits(high));
    low + (rank - below as f32) * (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_between_magnitudes() {
        let values = [-4.0, 1.0, -2.0, 3.0, 0.0];
        for (ratio, quantile) in [(0.25, 1.0), (0.5, 2.0), (0.9, 3.6), (1.0, 4.0), (0.125, 0.5)] {
            assert!((magnitude_quantile(&values, ratio) - quantile).abs() < 1e-6, "{ratio}");
        }
        assert_eq!(magnitude_quantile(&[-3.0], 0.7), 3.0);
    }

    #[test]
    fn thresholding_looks_at_each_image_alone() {
        let mut values = [0.5, -0.25, 4.0, -1.0];
        let clip = Clip::Dynamic { ratio: 1.0, max: 2.0 };
        clip_images(clip, [2, 1, 1, 2], &mut values);
        assert_eq!(values, [0.5, -0.25, 1.0, -0.5]);
        let mut values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        clip_images(Clip::Range(1.0), [1, 1, 1, 3], &mut values);
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [1.0, -1.0]);
    }
}

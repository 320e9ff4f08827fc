//! One interface for what replays plans: the processor, and devices.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use super::packed::Packed;
use super::parameters::{Storage, Take};
use super::plan::Plan;
use super::prelude::{Conditioning, PreludeRows, prelude};
use crate::engine::order::{to_nchw, to_nhwc};
use crate::error::{Error, Result};
use crate::network::architecture::Network;
use crate::rng::Generator;
use crate::sampler::{Program, Step};

/// What comes later: at once from the processor, and from a device when it is done.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// What may go to another thread, natively. A page has one, to which its device's handles are bound.
#[cfg(not(target_arch = "wasm32"))]
pub trait Portable: Send + Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send + Sync> Portable for T {}
/// What may stay in its thread.
#[cfg(target_arch = "wasm32")]
pub trait Portable {}
#[cfg(target_arch = "wasm32")]
impl<T> Portable for T {}

/// Images to be evaluated together: how many, their height and their width. There is a plan for each such size.
pub type Size = [usize; 3];

/// One evaluation of a network.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// The size that its plan is for.
    pub size: Size,
    /// The prelude's numbers, of so many rows, and which of them the samples read.
    pub prelude: (&'a [f32], usize, PreludeRows),
    /// The images, in the engine's order.
    pub x: &'a [f32],
}

/// A sampler's run, as an executor is given it.
#[derive(Debug)]
pub struct Run<'a> {
    /// What its preludes are made of.
    pub conditioning: &'a Arc<Conditioning>,
    /// What it does.
    pub program: &'a Program,
    /// `[batch, channels, height, width]` of the images.
    pub shape: [usize; 4],
    /// Where its noise comes from.
    pub noise: Generator,
    /// As for [`Network::features`], one for each sample or one vector; where the program is guided, those of what is wanted and then
    /// those of what is not.
    pub labels: Option<&'a [f32]>,
}

/// What replays plans. It has a network's parameters, packed for itself.
pub trait Executor: Portable {
    /// The parameters that preludes are computed from.
    fn packed(&self) -> &Packed;

    /// Plans the network for a size, where that is not kept, and makes all that it takes to replay the plan.
    ///
    /// # Errors
    /// Those of [`Plan::new`]; [`Error::OutOfMemory`], and [`Error::Limit`] and [`Error::DeviceLost`] of a device.
    fn prepare<'a>(&'a mut self, network: &'a dyn Network, size: Size) -> Later<'a, ()>;

    /// The plan for a size that was prepared lately.
    fn plan(&self, size: Size) -> Option<&Plan>;

    /// The network's output, in the engine's order, by a plan that is prepared.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] and [`Error::OutOfMemory`] of a device.
    fn evaluate<'a>(&'a mut self, evaluation: Evaluation<'a>) -> Later<'a, Vec<f32>>;

    /// Begins to replay a sampler's program where the images are, so that [`Self::step`] goes on with it. False where the
    /// host has to, over [`LoadedNetwork::evaluate`]: always on the processor, and on devices for programs that look at whole images.
    ///
    /// # Errors
    /// [`Error::Option`] where a timestep or a label does not suit the network, and those of [`Self::prepare`].
    fn begin<'a>(&'a mut self, _run: Run<'a>) -> Later<'a, bool> {
        Box::pin(ready(Ok(false)))
    }

    /// The next step of the run that was begun, or `None` after the last.
    ///
    /// # Errors
    /// [`Error::NotFiniteOutput`], [`Error::DeviceLost`] and [`Error::OutOfMemory`].
    fn step(&mut self) -> Later<'_, Option<Step<'_>>> {
        Box::pin(ready(Ok(None)))
    }

    /// Frees what the run had.
    fn end(&mut self) {}
}

/// Where networks can be loaded.
pub trait Backend: Portable {
    /// Loads a network: `take` gives its parameters, one after the other, which a device may keep as `storage` says.
    ///
    /// # Errors
    /// Those of `take`; [`Error::Limit`], [`Error::OutOfMemory`] and [`Error::DeviceLost`] of a device.
    fn load<'a>(
        &'a self,
        network: Arc<dyn Network>,
        storage: Storage,
        take: Take<'a>,
    ) -> Later<'a, LoadedNetwork>;

    /// The adapter's name, or "CPU".
    fn name(&self) -> &str;

    /// Whether it still works.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], and [`Error::OutOfMemory`] where the graphics API ran out of memory at an unknown place.
    fn check(&self) -> Result<()>;

    /// Where burn computes, to train beside it.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where the adapter does not make a device that burn can use.
    #[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
    fn for_burn(&self) -> Later<'_, burn::tensor::Device>;
}

/// A network with an executor that has its parameters.
pub struct LoadedNetwork<E: ?Sized = dyn Executor> {
    conditioning: Arc<Conditioning>,
    executor: Box<E>,
}

// Not derived, as `dyn Executor` would then carry the text of every plan into a page's module.
impl<E: ?Sized> fmt::Debug for LoadedNetwork<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedNetwork").finish_non_exhaustive()
    }
}

impl<E: Executor + 'static> LoadedNetwork<E> {
    /// `executor` has the parameters of the network that `conditioning` are of.
    pub(super) fn of(conditioning: Conditioning, executor: E) -> Self {
        Self { conditioning: Arc::new(conditioning), executor: Box::new(executor) }
    }

    /// The same, whatever its executor is.
    #[must_use]
    pub fn any(self) -> LoadedNetwork {
        LoadedNetwork { conditioning: self.conditioning, executor: self.executor }
    }
}

impl<E: Executor + ?Sized> LoadedNetwork<E> {
    /// The network.
    #[must_use]
    pub fn network(&self) -> &dyn Network {
        self.conditioning.network()
    }

    /// Its executor.
    #[must_use]
    pub fn executor(&self) -> &E {
        &self.executor
    }

    /// Its executor, to be changed.
    pub fn executor_mut(&mut self) -> &mut E {
        &mut self.executor
    }

    /// [`Executor::prepare`] with this network.
    ///
    /// # Errors
    /// As there.
    pub fn plan(&mut self, size: Size) -> Later<'_, ()> {
        self.executor.prepare(self.conditioning.network(), size)
    }

    /// One evaluation: `x` holds `shape = [batch, in_channels, height, width]` numbers, `timesteps` one for each sample,
    /// and `labels` is as for [`Network::features`]. The result is `[batch, out_channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Option`] where a size, timestep or label does not suit the network, and those of [`Executor::prepare`] and
    /// [`Executor::evaluate`].
    pub async fn evaluate(
        &mut self,
        x: &[f32],
        shape: [usize; 4],
        timesteps: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let [batch, channels, height, width] = shape;
        let [inputs, outputs] = [self.network().in_channels(), self.network().out_channels()];
        if timesteps.len() != batch || channels != inputs || x.len() != shape.iter().product::<usize>() {
            return Err(Error::Option {
                option: "x",
                found: format!("{} numbers for {shape:?}, at {} timesteps", x.len(), timesteps.len()),
                expected: format!("[batch, {inputs}, height, width] numbers and a timestep for each sample"),
            });
        }
        let given = self.conditioning.given(timesteps, labels)?;
        let size = [batch, height, width];
        self.plan(size).await?;
        let plan = self.executor.plan(size).ok_or(Error::Disposed)?;
        let numbers = prelude(plan, self.executor.packed(), &given)?;
        let mut nhwc = vec![0.0; x.len()];
        to_nhwc(x, channels, height * width, &mut nhwc);
        let prelude = (&numbers[..], batch, PreludeRows { first: 0, stride: 1 });
        let found = self.executor.evaluate(Evaluation { size, prelude, x: &nhwc }).await?;
        let mut out = vec![0.0; found.len()];
        to_nchw(&found, outputs, height * width, &mut out);
        Ok(out)
    }

    /// [`Executor::begin`] with this network: `shape` is `[batch, in_channels, height, width]`.
    ///
    /// # Errors
    /// As there, and [`Error::Option`] where the shape does not suit the network.
    pub fn begin<'a>(
        &'a mut self,
        program: &'a Program,
        shape: [usize; 4],
        noise: Generator,
        labels: Option<&'a [f32]>,
    ) -> Later<'a, bool> {
        let Self { conditioning, executor } = self;
        executor.begin(Run { conditioning, program, shape, noise, labels })
    }

    /// [`Executor::step`].
    ///
    /// # Errors
    /// As there.
    pub fn step(&mut self) -> Later<'_, Option<Step<'_>>> {
        self.executor.step()
    }
}

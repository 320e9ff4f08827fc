//! What the kernels are made for.

/// What kernels are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// A GPU: a kernel for each job, and work cut up until thousands of threads have some.
    Hardware,
    /// A processor that stands in for a GPU, with few cores and a slow compiler: few kernels, each for several jobs.
    Software,
}

/// What a measurement may override. `None` leaves the choice to the engine.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The tile of products, where the image's size allows it: rows and vectors of columns of a thread, depth, threads.
    pub tile: Option<[u32; 4]>,
    /// Workgroups from which the larger tile is used.
    pub large: Option<usize>,
    /// Workgroups up to which a product is cut in slices.
    pub few: Option<usize>,
    /// Workgroups that slices should make.
    pub wanted: Option<usize>,
    /// Whether indices go unchecked.
    pub unchecked: bool,
    /// Whether 3×3 convolutions of stride 1 load their input once for nine taps, where a tile holds whole rows of an image.
    pub halo: Option<bool>,
    /// Whether 3×3 convolutions of stride 1 are done by Winograd's transform, where the image allows it; `None` for never.
    pub winograd: Option<bool>,
    /// The tile of their products, as above.
    pub winograd_tile: Option<[u32; 4]>,
    /// Whether products whose matrix is stored in 16 or 8 bits have their numbers in 16 bits in workgroup memory, image and
    /// matrix, which takes shader-f16. Sums stay in 32 bits; Winograd's transform does, too.
    pub f16_products: bool,
    /// Whether the adapter is tried out for a moment, to find which of a few choices is the fastest for each product; `None`
    /// where it is a GPU and nothing was chosen.
    pub measure: Option<bool>,
}

/// Nothing: pages leave it to the engine, and have no bytes for asking.
#[cfg(target_arch = "wasm32")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {}

/// What was chosen, or else the engine's own.
macro_rules! chosen {
    ($choice:expr, $field:ident, $own:expr) => {{
        #[cfg(not(target_arch = "wasm32"))]
        let chosen = $choice.$field.unwrap_or($own);
        #[cfg(target_arch = "wasm32")]
        let chosen = $own;
        chosen
    }};
}

pub(in crate::engine) use chosen;

#[cfg(not(target_arch = "wasm32"))]
impl Choice {
    /// The same for a graphics card, whose hundred cores take more workgroups than those of a GPU beside a processor: cut into
    /// so many, the CIFAR-10 U-Net's products at batch 1 take two thirds of the time on an H200. Browsers do not say which of
    /// the two an adapter is.
    pub(in crate::engine) fn of_card(self) -> Self {
        Self { few: self.few.or(Some(128)), wanted: self.wanted.or(Some(512)), ..self }
    }
}

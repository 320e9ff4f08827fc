//! The floats that one instruction works on: AVX2's eight where the machine has them, WebAssembly's four, and elsewhere an
//! array that the compiler vectorises as it can.

/// As many floats as fit a register.
pub(super) trait SimdVector: Copy {
    /// How many.
    const LANES: usize;
    /// Pixels of a tile of sums, of two vectors each. They fill the vector registers but for some; in a browser they leave half
    /// of them free, as V8 begins to keep sums in memory at five pixels, and takes a third longer.
    const PIXELS: usize;
    /// The same in every lane.
    fn splat(x: f32) -> Self;
    /// The first [`Self::LANES`] floats of a slice.
    fn load(from: &[f32]) -> Self;
    /// `self + a · b`, rounded once or twice.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
    /// `self - other`.
    fn minus(self, other: Self) -> Self;
    /// Writes the lanes to the start of a slice.
    fn store(self, to: &mut [f32]);
}

/// What kernels use where nothing better is found at run time.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) type Baseline = wasm::Simd128;
/// What kernels use where nothing better is found at run time.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) type Baseline = portable::Lanes;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod portable {
    use super::SimdVector;

    const LANES: usize = if cfg!(target_arch = "wasm32") { 4 } else { 8 };

    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct Lanes([f32; LANES]);

    impl SimdVector for Lanes {
        const LANES: usize = LANES;
        const PIXELS: usize = if cfg!(target_arch = "wasm32") { 4 } else { 6 };

        #[inline(always)]
        fn splat(x: f32) -> Self {
            Self([x; LANES])
        }

        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            Self(std::array::from_fn(|i| from[i]))
        }

        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            let fused = cfg!(target_arch = "aarch64");
            Self(std::array::from_fn(|i| {
                if fused { a.0[i].mul_add(b.0[i], self.0[i]) } else { self.0[i] + a.0[i] * b.0[i] }
            }))
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
        }

        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] - other.0[i]))
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            to[..LANES].copy_from_slice(&self.0);
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use std::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, f32x4_sub, v128, v128_load, v128_store};

    use super::SimdVector;

    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(crate) struct Simd128(v128);

    impl SimdVector for Simd128 {
        const LANES: usize = 4;
        const PIXELS: usize = 4;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            Self(f32x4_splat(x))
        }

        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            let from = &from[..4];
            // SAFETY: four floats are 16 readable bytes, and WebAssembly asks for no alignment.
            Self(unsafe { v128_load(from.as_ptr().cast()) })
        }

        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            Self(f32x4_add(self.0, f32x4_mul(a.0, b.0)))
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            Self(f32x4_add(self.0, other.0))
        }

        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            Self(f32x4_sub(self.0, other.0))
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..4];
            // SAFETY: four floats are 16 writable bytes, and WebAssembly asks for no alignment.
            unsafe { v128_store(to.as_mut_ptr().cast(), self.0) }
        }
    }
}

/// Eight floats of AVX2 with fused multiply-add. Only functions that are compiled for both may use it.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx {
    use std::arch::x86_64::{
        __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
        _mm256_sub_ps,
    };

    use super::SimdVector;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx(__m256);

    impl SimdVector for Avx {
        const LANES: usize = 8;
        const PIXELS: usize = 6;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the caller is compiled for AVX2 and runs only where the machine has it; here as below.
            Self(unsafe { _mm256_set1_ps(x) })
        }

        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            let from = &from[..8];
            // SAFETY: eight floats are readable.
            Self(unsafe { _mm256_loadu_ps(from.as_ptr()) })
        }

        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as for `splat`.
            Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: as for `splat`.
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            // SAFETY: as for `splat`.
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..8];
            // SAFETY: eight floats are writable.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), self.0) }
        }
    }
}

/// Sixteen floats of AVX-512. Only functions that are compiled for it may use it.
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512 {
    use std::arch::x86_64::{
        __m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
        _mm512_sub_ps,
    };

    use super::SimdVector;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    impl SimdVector for Avx512 {
        const LANES: usize = 16;
        const PIXELS: usize = 12;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the caller is compiled for AVX-512 and runs only where the machine has it; here as below.
            Self(unsafe { _mm512_set1_ps(x) })
        }

        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            let from = &from[..16];
            // SAFETY: sixteen floats are readable.
            Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
        }

        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: as for `splat`.
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }

        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            // SAFETY: as for `splat`.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            // SAFETY: as for `splat`.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..16];
            // SAFETY: sixteen floats are writable.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
        }
    }
}

/// Runs `f(arguments)`, an `#[inline(always)]` function without result, compiled for AVX2 where the machine has it.
macro_rules! simd {
    ($f:ident($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn wide($($name: $type),*) {
                $f($($name),*)
            }
            if $crate::vector::has_avx2() {
                // SAFETY: the machine has just been asked for both features.
                unsafe { wide($($name),*) }
            } else {
                $f($($name),*)
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        $f($($name),*)
    }};
}
pub(super) use simd;

/// Runs `f::<Vector>(arguments)`, an `#[inline(always)]` function without result, compiled for the widest vectors that this
/// machine has. Each sum is of the same products in the same order whatever their width, so the numbers are the same too.
macro_rules! simd_vectors {
    ($f:ident::<$vector:ident>($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn widest($($name: $type),*) {
                use $crate::vector::avx512::Avx512 as $vector;
                $f::<$vector>($($name),*)
            }
            #[target_feature(enable = "avx2,fma")]
            fn wide($($name: $type),*) {
                use $crate::vector::avx::Avx as $vector;
                $f::<$vector>($($name),*)
            }
            if $crate::vector::has_avx2() && std::is_x86_feature_detected!("avx512f") {
                // SAFETY: the machine has just been asked for all three features.
                unsafe { widest($($name),*) }
            } else if $crate::vector::has_avx2() {
                // SAFETY: as above, for two of them.
                unsafe { wide($($name),*) }
            } else {
                use $crate::vector::Baseline as $vector;
                $f::<$vector>($($name),*)
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            use $crate::vector::Baseline as $vector;
            $f::<$vector>($($name),*)
        }
    }};
}
pub(super) use simd_vectors;

/// Whether the machine has AVX2 and fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma")
}

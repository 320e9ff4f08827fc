//! The floats that one instruction works on: AVX2's eight where the machine has them, WebAssembly's four, and elsewhere an
//! array that the compiler vectorises as it can.

/// As many floats as fit a register.
pub(super) trait Vector: Copy {
    /// How many.
    const LANES: usize;
    /// The same in every lane.
    fn splat(x: f32) -> Self;
    /// The first [`Self::LANES`] floats of a slice.
    fn load(from: &[f32]) -> Self;
    /// `self + a · b`, rounded once or twice.
    fn add_product(self, a: Self, b: Self) -> Self;
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
    use super::Vector;

    const LANES: usize = if cfg!(target_arch = "wasm32") { 4 } else { 8 };

    #[derive(Clone, Copy)]
    pub(crate) struct Lanes([f32; LANES]);

    impl Vector for Lanes {
        const LANES: usize = LANES;

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
        fn store(self, to: &mut [f32]) {
            to[..LANES].copy_from_slice(&self.0);
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm {
    use std::arch::wasm32::{f32x4_add, f32x4_mul, f32x4_splat, v128, v128_load, v128_store};

    use super::Vector;

    #[derive(Clone, Copy)]
    pub(crate) struct Simd128(v128);

    impl Vector for Simd128 {
        const LANES: usize = 4;

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
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps};

    use super::Vector;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx(__m256);

    impl Vector for Avx {
        const LANES: usize = 8;

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
        fn store(self, to: &mut [f32]) {
            let to = &mut to[..8];
            // SAFETY: eight floats are writable.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), self.0) }
        }
    }
}

/// Runs `f(arguments)` or `f::<Vector>(arguments)`, an `#[inline(always)]` function without result, compiled for the widest
/// vectors that this machine has.
macro_rules! simd {
    ($f:ident $(::<$vector:ident>)? ($($name:ident: $type:ty),*)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn wide($($name: $type),*) {
                $(use $crate::vector::avx::Avx as $vector;)?
                $f$(::<$vector>)?($($name),*)
            }
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                // SAFETY: the machine has just been asked for both features.
                unsafe { wide($($name),*) }
            } else {
                $(use $crate::vector::Baseline as $vector;)?
                $f$(::<$vector>)?($($name),*)
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            $(use $crate::vector::Baseline as $vector;)?
            $f$(::<$vector>)?($($name),*)
        }
    }};
}
pub(super) use simd;

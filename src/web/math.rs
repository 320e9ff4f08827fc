//! The functions of C's library that Rust's floats call, by way of the browser's `Math`, which has them anyway: compiled in, they
//! would take five kilobytes of a page.
//!
//! The kernels call none of them. The training module has its own, as burn's do.

use js_sys::Math;

macro_rules! defined {
    ($($name:ident $float:ty: $of:ident($($x:ident),*);)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($x: $float),*) -> $float {
            Math::$of($($x.into()),*) as $float
        }
    )*};
}

defined! {
    sin f64: sin(x);
    sinf f32: sin(x);
    cos f64: cos(x);
    cosf f32: cos(x);
    exp f64: exp(x);
    expf f32: exp(x);
    expm1 f64: expm1(x);
    log f64: log(x);
    logf f32: log(x);
    log1p f64: log1p(x);
    hypot f64: hypot(x, y);
    atan2 f64: atan2(x, y);
}

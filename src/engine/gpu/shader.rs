//! The WGSL of a kernel's variant: the constants that choose the variant, then the files that it is made of.

use std::fmt::Write;

use super::interface::{ACROSS, FLAT_THREADS, NO_ACTIVATION, ScalingKind, TILE_PIXELS, declarations};
use super::unroll::{replaced, unroll};

/// A WGSL file without comments, indentation and empty lines: pages download it, and nobody reads it there.
macro_rules! wgsl {
    ($file:literal) => {{
        const TEXT: &[u8] = include_bytes!($file);
        const BYTES: [u8; strip(TEXT, &mut [])] = {
            let mut bytes = [0; strip(TEXT, &mut [])];
            strip(TEXT, &mut bytes);
            bytes
        };
        match str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("not UTF-8"),
        }
    }};
}

/// Writes what is left of a text to `to`, or only counts it where there is no room. Line comments are the only ones that the
/// kernels have.
const fn strip(text: &[u8], to: &mut [u8]) -> usize {
    let (mut at, mut len, mut line) = (0, 0, 0);
    while at < text.len() {
        let byte = text[at];
        if byte == b'/' && at + 1 < text.len() && text[at + 1] == b'/' {
            while at + 1 < text.len() && text[at + 1] != b'\n' {
                at += 1;
            }
        } else if !(len == line && (byte == b' ' || byte == b'\n')) {
            if len < to.len() {
                to[len] = byte;
            }
            len += 1;
            if byte == b'\n' {
                line = len;
            }
        }
        at += 1;
    }
    len
}

const BINDINGS: &str = wgsl!("../kernels/bindings.wgsl");
const LANES_1: &str = wgsl!("../kernels/lanes1.wgsl");
const LANES_4: &str = wgsl!("../kernels/lanes4.wgsl");
const WEIGHTS_16: &str = wgsl!("../kernels/weights16.wgsl");
const WEIGHTS_16F: &str = wgsl!("../kernels/weights16f.wgsl");
const WEIGHTS_32: &str = wgsl!("../kernels/weights32.wgsl");
const ACTIVATION: &str = wgsl!("../kernels/activation.wgsl");
const LOAD: &str = wgsl!("../kernels/load.wgsl");
const GEMM: &str = wgsl!("../kernels/gemm.wgsl");
#[cfg(not(target_arch = "wasm32"))]
const HALO: &str = wgsl!("../kernels/halo.wgsl");
const NORM: &str = wgsl!("../kernels/norm.wgsl");
const ATTENTION: &str = wgsl!("../kernels/attention.wgsl");
const COMBINE: &str = wgsl!("../kernels/combine.wgsl");
const POOL: &str = wgsl!("../kernels/pool.wgsl");
#[cfg(not(target_arch = "wasm32"))]
const PEAK: &str = wgsl!("peak.wgsl");

/// The kernel that runs a sampler's programs, `main`, which has no variants.
pub(super) fn combine() -> String {
    declarations() + COMBINE
}

/// Multiply-adds of each thread of `multiply_add` in a round, of four lanes each: chains, and links of each.
#[cfg(not(target_arch = "wasm32"))]
pub(super) const PEAK_CHAINS: u32 = 8;
#[cfg(not(target_arch = "wasm32"))]
pub(super) const PEAK_LINKS: u32 = 8;
/// Threads of either kernel: so many workgroups that all fit in one dimension.
#[cfg(not(target_arch = "wasm32"))]
pub(super) const PEAK_THREADS: u32 = FLAT_THREADS * 16_384;

/// The kernels that measure what an adapter can do at most, `multiply_add` and `copy`, whose threads copy so many vectors each.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn peak(copies: u32) -> String {
    let counts = [("CHAINS", PEAK_CHAINS), ("LINKS", PEAK_LINKS), ("COPIES", copies)];
    let mut text = declarations() + &format!("const PEAK_THREADS = {PEAK_THREADS}u;\n");
    for (name, count) in counts {
        let _ = writeln!(text, "const {name} = {count}u;");
    }
    unroll(&(text + PEAK), &counts)
}

/// How many outputs a workgroup and a thread of a product work out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Rows of a thread; a workgroup has [`Self::down`] times as many.
    pub(super) rows: u32,
    /// Vectors of four columns of a thread; a workgroup has [`ACROSS`] times as many.
    pub(super) columns4: u32,
    /// Inputs that go through workgroup memory at a time.
    pub(super) depth: u32,
    /// Threads of a workgroup.
    pub(super) threads: u32,
}

impl Tile {
    /// 64 × 64 outputs, where there are workgroups enough for that.
    pub(super) const LARGE: Self = Self { rows: 8, columns4: 2, depth: 16, threads: 64 };
    /// 32 × 32 outputs.
    pub(super) const MEDIUM: Self = Self { rows: 4, columns4: 1, depth: 32, threads: 64 };
    /// 16 × 32 outputs, for images of few pixels.
    pub(super) const SMALL: Self = Self { rows: 2, columns4: 1, depth: 32, threads: 64 };

    /// Threads that lie below each other.
    fn down(self) -> u32 {
        self.threads / ACROSS
    }

    pub(super) fn pixels(self) -> usize {
        (self.rows * self.down()) as usize
    }

    pub(super) fn columns(self) -> usize {
        (4 * ACROSS * self.columns4) as usize
    }

    /// Vectors of inputs that each thread fetches of a tile.
    fn inputs(self) -> u32 {
        self.rows * self.down() * self.depth / 4 / self.threads
    }

    /// Vectors of the matrix that each thread fetches of a tile.
    fn weights(self) -> u32 {
        self.depth * self.columns4 * ACROSS / self.threads
    }

    /// Rows of a thread that belong to the same run of pixels.
    fn rows_of_run(self, run: u32) -> u32 {
        (run / self.down()).max(1)
    }

    /// Pairs of scale and shift that fit in the 16 KiB of workgroup memory that every adapter has, beside the tiles.
    pub(super) fn norms(self) -> usize {
        let inputs = 4 * self.depth * self.down() * (self.rows + 1);
        let matrix = 4 * ACROSS * self.matrix_rows() * (4 * self.columns4 + 1);
        let (inputs, matrix) = (inputs as usize, matrix as usize);
        16_384_usize.saturating_sub(inputs + matrix) / 8
    }

    /// Vectors of each four channels that a convolution's pixels need of an image so wide, for all taps.
    fn spots(self, width: u32) -> u32 {
        (width + 2) * (self.pixels() as u32 / width + 2)
    }

    /// The same as [`Self::norms`], beside what all taps of a convolution need of an image so wide.
    pub(super) fn halo_norms(self, width: usize) -> usize {
        let width = width as u32;
        let inputs = 4 * self.depth * (self.spots(width) / 4 * 4 + 6);
        let matrix = 4 * ACROSS * self.matrix_rows() * (4 * self.columns4 + 1);
        16_352_usize.saturating_sub((inputs + matrix) as usize) / 8
    }

    /// Rows of the matrix in workgroup memory, which at the end holds the sums of a run that moments are taken of.
    fn matrix_rows(self) -> u32 {
        self.depth.max(self.down())
    }

    /// A tile by its rows, vectors of columns, depth and threads, if there can be one.
    pub(super) fn of(numbers: [u32; 4]) -> Option<Self> {
        let [rows, columns4, depth, threads] = numbers;
        let tile = Self { rows, columns4, depth, threads };
        let fine = [64, 128, 256].contains(&threads)
            && [1, 2, 4, 8, 16].contains(&rows)
            && [1, 2, 4].contains(&columns4)
            && [8, 16, 32].contains(&depth)
            && tile.pixels() * depth as usize >= 4 * threads as usize
            && tile.columns() * depth as usize >= 4 * threads as usize
            && threads >= depth / 4
            && threads >= ACROSS * columns4
            && rows >= TILE_PIXELS / tile.down()
            && tile.norms() >= 128;
        fine.then_some(tile)
    }
}

/// What makes a variant of the kernel of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GemmVariant {
    pub(super) tile: Tile,
    /// Pixels whose moments are taken together; 0 where the uniform says it.
    pub(super) run: u32,
    /// Places for scales and shifts.
    pub(super) norms: u32,
    /// Whether all channels that are read come in fours.
    pub(super) vectors: bool,
    /// Whether the output's channels do.
    pub(super) lanes4: bool,
    pub(super) half_weights: bool,
    pub(super) scaling: ScalingKind,
    pub(super) activation: u32,
    /// Whether this adds slices up rather than multiplying.
    pub(super) reduce: bool,
    /// The width of the image whose taps are loaded together; 0 where each is loaded for itself.
    pub(super) halo: u32,
}

/// A kernel and what makes a variant of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kernel {
    Gemm(GemmVariant),
    Norm,
    Attention {
        head: u32,
        lanes4: bool,
        /// Queries of a workgroup; 0 for one a thread.
        queries: u32,
    },
    Pool {
        vectors: bool,
        scaling: ScalingKind,
        activation: u32,
    },
}

impl Kernel {
    /// The name of the function to run.
    pub(super) fn entry(self) -> &'static str {
        match self {
            Kernel::Gemm(GemmVariant { reduce: true, .. }) => "reduce",
            #[cfg(not(target_arch = "wasm32"))]
            Kernel::Gemm(GemmVariant { halo: 1.., .. }) => "halo",
            Kernel::Attention { queries: 0, .. } => "narrow",
            Kernel::Attention { .. } => "wide",
            _ => "main",
        }
    }

    /// What profiles call it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn label(self) -> String {
        match self {
            Kernel::Gemm(GemmVariant { reduce: true, .. }) => "sum of slices".to_owned(),
            Kernel::Gemm(GemmVariant { tile, halo, .. }) => {
                let what = if halo > 0 { "halo" } else { "product" };
                format!("{what} {}×{}×{} of {}", tile.pixels(), tile.columns(), tile.depth, tile.threads)
            }
            Kernel::Norm => "norm".to_owned(),
            Kernel::Attention { head, .. } => format!("attention, heads of {head}"),
            Kernel::Pool { .. } => "pool".to_owned(),
        }
    }

    /// The shader in WGSL. `f16` is whether the device has shader-f16.
    pub(super) fn source(self, f16: bool) -> String {
        let f16 = f16 && matches!(self, Kernel::Gemm(GemmVariant { half_weights: true, .. }));
        let dynamic = matches!(self, Kernel::Gemm(GemmVariant { scaling: ScalingKind::Dynamic, .. }));
        let threads = if let Kernel::Gemm(product) = self { product.tile.threads } else { FLAT_THREADS };
        let mut text = String::from(if f16 { "enable f16;\n" } else { "" }) + &declarations();
        let mut number = |name: &str, value: u32| {
            let _ = writeln!(text, "const {name} = {value}u;");
        };
        number("THREADS", threads);
        let (files, lanes4, vectors): (&[&str], bool, Option<bool>) = match self {
            Kernel::Gemm(GemmVariant {
                tile,
                run,
                norms,
                vectors,
                lanes4,
                half_weights,
                scaling,
                activation,
                reduce: _,
                halo: _,
            }) => {
                number("ROWS", tile.rows);
                number("COLUMNS4", tile.columns4);
                number("TILE_K", tile.depth);
                number("MATRIX_ROWS", tile.matrix_rows());
                number("INPUTS", tile.inputs());
                number("WEIGHTS", tile.weights());
                number("NORMS", norms);
                number("ACTIVATION", activation);
                number("SCALING", scaling as u32);
                if !dynamic {
                    number("RUN", run);
                    number("ACTIVE", u32::from(activation != NO_ACTIVATION));
                }
                let files: &[_] = match (half_weights, f16) {
                    (true, true) => &[WEIGHTS_16F, ACTIVATION, LOAD, GEMM],
                    (true, false) => &[WEIGHTS_16, ACTIVATION, LOAD, GEMM],
                    (false, _) => &[WEIGHTS_32, ACTIVATION, LOAD, GEMM],
                };
                (files, lanes4, Some(vectors))
            }
            Kernel::Norm => {
                for name in ["SCALING", "ACTIVATION", "ACTIVE"] {
                    number(name, 0);
                }
                number("NORMS", 1);
                (&[ACTIVATION, LOAD, NORM], false, None)
            }
            Kernel::Attention { head, lanes4, queries } => {
                number("HEAD", head);
                number("QUERIES", queries.max(1));
                (&[ATTENTION], lanes4, None)
            }
            Kernel::Pool { vectors, scaling, activation } => {
                number("SCALING", scaling as u32);
                number("ACTIVATION", activation);
                number("ACTIVE", u32::from(activation != NO_ACTIVATION));
                number("NORMS", 1);
                (&[ACTIVATION, LOAD, POOL], vectors, Some(vectors))
            }
        };
        if let Some(vectors) = vectors {
            let _ = writeln!(text, "const VECTORS = {vectors};");
        }
        for file in [if lanes4 { LANES_4 } else { LANES_1 }, BINDINGS].iter().chain(files) {
            text += file;
        }
        let Kernel::Gemm(GemmVariant { tile, run, halo, .. }) = self else { return text };
        let Tile { rows, columns4, .. } = tile;
        #[cfg(target_arch = "wasm32")]
        let _ = halo;
        #[cfg(not(target_arch = "wasm32"))]
        if halo > 0 {
            let patches = (tile.spots(halo) * tile.depth / 4).div_ceil(tile.threads);
            let at = "patch_of_image[k4][down + (r * DOWN / WIDTH) * SPAN + r * DOWN % WIDTH]";
            text = text.replace("inputs[k4][down][r]", at);
            text += &format!("const WIDTH = {halo}u;\nconst PATCHES = {patches}u;\n{HALO}");
            text = unroll(&text, &[("PATCHES", patches)]);
        }
        let sums =
            [("ROWS", rows), ("COLUMNS4", columns4), ("INPUTS", tile.inputs()), ("WEIGHTS", tile.weights())];
        if dynamic {
            let known_later = [
                ("ACTIVE", "p.load.activated"),
                ("RUN", "p.run"),
                ("const most", "let most"),
                ("const sharers", "let sharers"),
                ("const runs", "let runs"),
            ];
            let text = known_later.iter().fold(text, |text, (before, after)| replaced(&text, before, after));
            return unroll(&text, &sums);
        }
        let most = tile.rows_of_run(run);
        let ends = [("END_ROWS", rows), ("most", most), ("runs", rows / most)];
        unroll(&text, &[&sums[..], &ends].concat())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::engine::gpu::interface::{
        AttentionParams, CombineParams, EvaluationParams, GemmParams, Load, NormParams, PoolParams, SILU,
        Uniform,
    };

    #[test]
    fn comments_indentation_and_empty_lines_are_left_out() {
        let text = b"// one\n\n  let a = b / c; // two\n\n\n    }\n//\n";
        let mut stripped = [0; 64];
        let len = strip(text, &mut stripped);
        assert_eq!(str::from_utf8(&stripped[..len]).unwrap(), "let a = b / c; \n}\n");
        assert_eq!(len, strip(text, &mut []));
    }

    /// Every variant must be valid WGSL by naga's reading, need no feature but shader-f16, and that only where it says so; and
    /// its uniforms must be laid out as Rust writes them.
    #[test]
    fn every_variant_is_valid_and_reads_its_uniforms_as_rust_writes_them() {
        let mut kernels = vec![Kernel::Norm];
        for tile in [Tile::LARGE, Tile::MEDIUM, Tile::SMALL] {
            for (i, scaling) in [
                ScalingKind::None,
                ScalingKind::Constant,
                ScalingKind::Ready,
                ScalingKind::Inline,
                ScalingKind::Dynamic,
            ]
            .into_iter()
            .enumerate()
            {
                for bits in 0..16 {
                    let bit = |i: u32| bits >> i & 1 == 1;
                    kernels.push(Kernel::Gemm(GemmVariant {
                        tile,
                        run: if tile == Tile::LARGE { 32 } else { 1 << (bits % 5) },
                        norms: if matches!(scaling, ScalingKind::Inline | ScalingKind::Dynamic) {
                            tile.norms() as u32
                        } else {
                            1
                        },
                        vectors: bit(0),
                        lanes4: bit(1),
                        half_weights: bit(2),
                        scaling,
                        activation: (i as u32 + bits) % 5,
                        reduce: bit(3),
                        halo: 0,
                    }));
                }
            }
        }
        for tile in
            [Tile::LARGE, Tile { depth: 16, ..Tile::MEDIUM }, Tile { threads: 128, rows: 4, ..Tile::LARGE }]
        {
            for (halo, scaling) in
                [(8, ScalingKind::None), (16, ScalingKind::Ready), (32, ScalingKind::Inline)]
            {
                kernels.push(Kernel::Gemm(GemmVariant {
                    tile,
                    run: 32,
                    norms: if scaling == ScalingKind::Inline { tile.halo_norms(halo) as u32 } else { 1 },
                    vectors: true,
                    lanes4: halo > 8,
                    half_weights: halo > 16,
                    scaling,
                    activation: SILU,
                    reduce: false,
                    halo: halo as u32,
                }));
            }
        }
        for lanes4 in [false, true] {
            for activation in 0..5 {
                for scaling in [ScalingKind::None, ScalingKind::Constant, ScalingKind::Ready] {
                    kernels.push(Kernel::Pool { vectors: lanes4, scaling, activation });
                }
            }
            for (head, queries) in [(8, 0), (64, 8), (256, 8), (1024, 2)] {
                kernels.push(Kernel::Attention { head, lanes4, queries });
            }
        }
        for kernel in kernels {
            for f16 in [false, true] {
                let module = valid(&format!("{kernel:?}, {f16}"), &kernel.source(f16), kernel.entry());
                let params = match kernel {
                    Kernel::Gemm(_) => GemmParams::MEMBERS,
                    Kernel::Norm => NormParams::MEMBERS,
                    Kernel::Attention { .. } => AttentionParams::MEMBERS,
                    Kernel::Pool { .. } => PoolParams::MEMBERS,
                };
                compare(&module, "p", params);
                compare(&module, "now", EvaluationParams::MEMBERS);
            }
        }
        compare(&valid("combine", &combine(), "main"), "p", CombineParams::MEMBERS);
        for entry in ["multiply_add", "copy"] {
            valid("peak", &peak(2), entry);
        }
    }

    fn valid(kernel: &str, source: &str, entry: &str) -> naga::Module {
        let fail = |e: String| -> ! { panic!("{kernel}: {e}") };
        if let Some(mixed) = mixed_operators(source) {
            fail(format!("browsers want parentheses in `{mixed}`"));
        }
        let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| fail(e.emit_to_string(source)));
        let mut needed = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        needed.set(naga::valid::Capabilities::SHADER_FLOAT16, source.starts_with("enable f16;"));
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), needed)
            .validate(&module)
            .unwrap_or_else(|e| fail(e.emit_to_string(source)));
        assert!(module.entry_points.iter().any(|e| e.name == entry));
        module
    }

    /// The first expression that mixes a shift or a bitwise operator with another operator. WGSL's grammar forbids that, and
    /// browsers refuse it, but naga reads it.
    fn mixed_operators(source: &str) -> Option<&str> {
        let (mut from, mut at) = (0, 0);
        let mut operators = Vec::new();
        let mut outer = Vec::new();
        while at < source.len() {
            let rest = &source[at..];
            let mut token = &rest[..rest.chars().next().map_or(1, char::len_utf8)];
            for pair in ["<<", ">>", "&&", "||"] {
                if rest.starts_with(pair) {
                    token = pair;
                }
            }
            at += token.len();
            match token {
                "<<" | ">>" | "|" | "&" | "^" => operators.push(token),
                "+" | "-" | "*" | "/" | "%" => operators.push("+"),
                "(" | "[" => {
                    outer.push((from, operators));
                    (from, operators) = (at, Vec::new());
                }
                ")" | "]" | "," | ";" | "{" | "}" | "=" | "<" | ">" | "!" | "&&" | "||" => {
                    let bitwise = operators.iter().any(|o| *o != "+");
                    if bitwise && operators.iter().any(|o| *o != operators[0]) {
                        return Some(&source[from..at - token.len()]);
                    }
                    operators.clear();
                    if matches!(token, ")" | "]") {
                        (from, operators) = outer.pop()?;
                    } else {
                        from = at;
                    }
                }
                _ => {}
            }
        }
        None
    }

    #[test]
    fn what_only_naga_reads_is_noticed() {
        assert_eq!(mixed_operators("x |= 512u | (y & z) << 10u;"), Some(" 512u | (y & z) << 10u"));
        assert_eq!(mixed_operators("f(a + b & c)"), Some("a + b & c"));
        let fine = "x |= 512u | ((y & z) << 10u); a[b >> 2u][c + d] = (e & 3u) != 0u && g * h < -i;";
        assert_eq!(mixed_operators(fine), None);
    }

    /// The structure of a uniform, as naga lays it out, has these members at these offsets.
    fn compare(module: &naga::Module, uniform: &str, members: &[(&str, &str, usize)]) {
        let variable = module.global_variables.iter().find(|(_, v)| v.name.as_deref() == Some(uniform));
        let (_, variable) = variable.unwrap_or_else(|| panic!("no uniform {uniform}"));
        assert_eq!(variable.space, naga::AddressSpace::Uniform);
        compare_members(module, variable.ty, members);
    }

    fn compare_members(
        module: &naga::Module,
        ty: naga::Handle<naga::Type>,
        expected: &[(&str, &str, usize)],
    ) {
        let ty = &module.types[ty];
        let naga::TypeInner::Struct { members, .. } = &ty.inner else { panic!("{ty:?} is no structure") };
        let found: Vec<_> = members
            .iter()
            .map(|member| {
                let kind = match module.types[member.ty].inner {
                    naga::TypeInner::Scalar(naga::Scalar::U32) => "u32",
                    naga::TypeInner::Scalar(naga::Scalar::F32) => "f32",
                    _ => {
                        compare_members(module, member.ty, Load::MEMBERS);
                        "Load"
                    }
                };
                (member.name.as_deref().unwrap_or_default(), kind, member.offset as usize)
            })
            .collect();
        assert_eq!(found, expected, "{:?}", ty.name);
    }
}

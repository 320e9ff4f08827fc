//! The text of a shader: a kernel's file after the constants and files that make a variant of it.

use std::fmt::Write;

use super::unroll::unroll;

/// Invocations of every workgroup: a multiple of the widths in which GPUs run them, and of what tiles are cut for.
pub(super) const THREADS: u32 = 64;

/// A WGSL file without its comments, indentation and empty lines, which a page would download for nobody to read.
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
const NORM: &str = wgsl!("../kernels/norm.wgsl");
const ATTENTION: &str = wgsl!("../kernels/attention.wgsl");
/// The kernel that runs a sampler's programs, which has no variants.
pub(super) const COMBINE: &str = wgsl!("../kernels/combine.wgsl");
const POOL: &str = wgsl!("../kernels/pool.wgsl");
/// The kernels that measure what an adapter can do at most.
#[cfg(not(target_arch = "wasm32"))]
pub(super) const PEAK: &str = wgsl!("peak.wgsl");

/// How a load scales: `SCALING` in the shaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ScalingKind {
    None = 0,
    Constant = 1,
    Ready = 2,
    Inline = 3,
    /// Any of these, as the operation's uniform says, which then also says whether there is an activation and how long runs
    /// are.
    Dynamic = 4,
}

/// How many outputs a workgroup and a thread of a product work out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Rows of a thread; a workgroup has eight times as many.
    pub(super) rows: u32,
    /// Vectors of four columns of a thread; a workgroup has eight times as many.
    pub(super) columns4: u32,
    /// Inputs that go through workgroup memory at a time.
    pub(super) depth: u32,
    /// Invocations of a workgroup, eight across.
    pub(super) threads: u32,
}

impl Tile {
    /// 64 × 64 outputs, where there are workgroups enough for that.
    pub(super) const LARGE: Self = Self { rows: 8, columns4: 2, depth: 16, threads: 64 };
    /// 32 × 32 outputs.
    pub(super) const MEDIUM: Self = Self { rows: 4, columns4: 1, depth: 32, threads: 64 };
    /// 16 × 32 outputs, for images of few pixels.
    pub(super) const SMALL: Self = Self { rows: 2, columns4: 1, depth: 32, threads: 64 };

    pub(super) fn pixels(self) -> usize {
        (self.rows * self.threads) as usize / 8
    }

    pub(super) fn columns(self) -> usize {
        32 * self.columns4 as usize
    }

    /// Pairs of scale and shift that fit in the 16 KiB of workgroup memory that every adapter has, beside the tiles.
    pub(super) fn norms(self) -> usize {
        let inputs = 4 * self.depth * (self.threads / 8) * (self.rows + 1);
        let matrix = 32 * self.matrix_rows(32) * (4 * self.columns4 + 1);
        let (inputs, matrix) = (inputs as usize, matrix as usize);
        16_384_usize.saturating_sub(inputs + matrix) / 8
    }

    /// Rows of the matrix in workgroup memory, where the moments of runs need room too.
    pub(super) fn matrix_rows(self, run: u32) -> u32 {
        let down = self.threads / 8;
        let most = (run / down).max(1);
        self.depth.max(self.rows / most * down)
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
            && threads >= 8 * columns4
            && rows >= 32 / (threads / 8)
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
            Kernel::Gemm(GemmVariant { tile, .. }) => {
                format!("product {}×{}×{} of {}", tile.pixels(), tile.columns(), tile.depth, tile.threads)
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
        let threads = if let Kernel::Gemm(product) = self { product.tile.threads } else { THREADS };
        let mut text = format!("{}const THREADS = {threads}u;\n", if f16 { "enable f16;\n" } else { "" });
        let mut number = |name: &str, value: u32| {
            let _ = writeln!(text, "const {name} = {value}u;");
        };
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
            }) => {
                number("ROWS", tile.rows);
                number("COLUMNS4", tile.columns4);
                number("TILE_K", tile.depth);
                number("MATRIX_ROWS", if dynamic { tile.depth } else { tile.matrix_rows(run.max(1)) });
                number("NORMS", norms);
                number("ACTIVATION", activation);
                number("SCALING", scaling as u32);
                if !dynamic {
                    number("RUN", run);
                    number("ACTIVE", u32::from(activation != 0));
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
                number("ACTIVE", u32::from(activation != 0));
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
        let Kernel::Gemm(GemmVariant { tile, run, .. }) = self else { return text };
        let Tile { rows, columns4, depth, threads } = tile;
        let sums = [
            ("ROWS", rows),
            ("COLUMNS4", columns4),
            ("INPUTS", rows * depth / 32),
            ("WEIGHTS", depth * columns4 * 8 / threads),
        ];
        if dynamic {
            let known_later = [
                ("ACTIVE", "p.load.activated"),
                ("RUN", "p.run"),
                ("const most", "let most"),
                ("const sharers", "let sharers"),
                ("const runs", "let runs"),
            ];
            let text = known_later.iter().fold(text, |text, (before, after)| text.replace(before, after));
            return unroll(&text, &sums);
        }
        let most = (run / (threads / 8)).max(1);
        let ends = [("END_ROWS", rows), ("most", most), ("runs", rows / most)];
        unroll(&text, &[&sums[..], &ends].concat())
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    #[test]
    fn comments_indentation_and_empty_lines_are_left_out() {
        let text = b"// one\n\n  let a = b / c; // two\n\n\n    }\n//\n";
        let mut stripped = [0; 64];
        let len = strip(text, &mut stripped);
        assert_eq!(str::from_utf8(&stripped[..len]).unwrap(), "let a = b / c; \n}\n");
        assert_eq!(len, strip(text, &mut []));
    }

    /// Every variant must be valid WGSL by naga's reading, need no feature but shader-f16, and that only where it says so.
    #[test]
    fn every_variant_is_valid() {
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
                    }));
                }
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
        let sources = kernels
            .into_iter()
            .flat_map(|k| [false, true].map(|f16| (format!("{k:?}, {f16}"), k.source(f16), k.entry())));
        let others = [("combine", COMBINE, "main"), ("peak", PEAK, "multiply_add"), ("peak", PEAK, "copy")]
            .map(|(name, source, entry)| (name.to_owned(), source.to_owned(), entry));
        for (kernel, source, entry) in sources.chain(others) {
            let fail = |e: String| -> ! { panic!("{kernel}: {e}") };
            let module =
                naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| fail(e.emit_to_string(&source)));
            let mut needed = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
            needed.set(naga::valid::Capabilities::SHADER_FLOAT16, source.starts_with("enable f16;"));
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), needed)
                .validate(&module)
                .unwrap_or_else(|e| fail(e.emit_to_string(&source)));
            assert!(module.entry_points.iter().any(|e| e.name == entry));
        }
    }
}

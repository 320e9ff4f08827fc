//! `noiseball embed`: of any checkpoint what a post needs.

use std::path::{Path, PathBuf};

use noiseball::checkpoint::weights::Dtype;
use noiseball::model::{Info, ModelConfig};
use noiseball::{Checkpoint, Error, Model, Result, SampleOptions, SamplerKind, store, text};

use crate::output::{self, Grid};
use crate::sample::{DeviceName, device, progress_bar};

/// Pixels of the poster's longer side, about.
const SIDE: usize = 512;
/// Pixels of the film's.
const FILM_SIDE: usize = 256;
/// Frames of a film at most, beside the noise.
const FRAMES: usize = 24;
/// Milliseconds that the noise, a state on the way and the finished pictures stand.
const STANDS: [u16; 3] = [500, 120, 2000];
/// Steps where the sampler itself would take all of the model's timesteps: those of the element.
const STEPS: usize = 20;
/// Steps that the element takes at most.
const MOST_STEPS: usize = 1000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that diffusers saved, the address of one, or a hub id such as google/ddpm-cifar10-32
    checkpoint: String,
    /// The new folder; one that has files in it is left alone
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// One that `noiseball samplers` lists [default: what the checkpoint's scheduler stands for, and ddim for ddpm]
    #[arg(long, value_name = "NAME")]
    sampler: Option<SamplerKind>,
    /// Number of steps [default: the sampler's, or 20]
    #[arg(long, value_name = "N", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// 0 to 2^53 - 1
    #[arg(long, default_value_t = 0, value_parser = output::seed, allow_negative_numbers = true)]
    seed: u64,
    /// Number of pictures, 1 to 64 [default: 16 up to 32 pixels, else 4]
    #[arg(long, value_name = "B", value_parser = output::count::<usize>, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Classes of the pictures in turn, by name or number: 'cat,dog' [default: each class in turn]
    #[arg(long, value_delimiter = ',', value_name = "C,C,...")]
    classes: Option<Vec<String>>,
    /// What the pictures show, for those who do not see them
    #[arg(long, value_name = "TEXT")]
    alt: Option<String>,
    /// Address of the package's folder www/, of a copy beside the page or of one on the web
    #[arg(long, value_name = "ADDRESS", default_value = "./noiseball/")]
    package: String,
    /// Which of several weights: fp16 for diffusion_pytorch_model.fp16.safetensors
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// cpu, gpu, or gpu-f16, which multiplies in 16 bits [default: gpu where there is a real one]
    #[arg(long, value_name = "NAME")]
    device: Option<DeviceName>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let package = package(&arguments.package)?;
    if arguments.out.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        // Refused at the end too; before the work it costs nothing.
        return Err(refusal("out", arguments.out.display(), "a folder that does not exist yet, or is empty"));
    }
    let mut checkpoint =
        Checkpoint::open_with(&arguments.checkpoint, arguments.variant.as_deref(), &mut |_| Ok(()))?;
    let config = ModelConfig::read(&checkpoint)?;
    for name in checkpoint.weights.check(&config.inventory.parameters)? {
        // The network has no place for it, and neither has Python's.
        checkpoint.weights.take(&name);
    }
    checkpoint.weights.convert(Dtype::F16)?;
    let files = checkpoint.files();
    let model = Model::load_blocking(checkpoint, &device(arguments.device)?)?;
    let shown = Shown::new(arguments, &model)?;
    let (poster, film) = pictures(&model, &shown)?;
    let lines = shown.lines(&package);
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    store::make_whole(&arguments.out, |folder| {
        for (name, bytes) in &files {
            folder.write(Path::new("model").join(name), bytes)?;
        }
        folder.write("poster.png", &poster)?;
        folder.write("film.png", &film)?;
        folder.write("embed.html", lines.as_bytes())?;
        folder.write("index.html", shown.page(&package, &lines).as_bytes())?;
        folder.write("README.md", shown.readme(&package, &lines).as_bytes())
    })?;
    output::print(&format!(
        "{}: model/ ({:.1} MB), poster.png, film.png, embed.html, index.html, README.md\n\n{lines}",
        arguments.out.display(),
        bytes as f64 / 1e6,
    ))
}

fn refusal(option: &'static str, found: impl ToString, expected: &str) -> Error {
    Error::Option { option, found: found.to_string(), expected: expected.to_owned() }
}

/// The package's address with a slash at its end.
fn package(address: &str) -> Result<String> {
    let scheme = address.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| !scheme.contains('/'));
    let plain = !address.is_empty()
        && address.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '<' | '>' | ';' | ','));
    if !plain || scheme.is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(refusal(
            "package",
            text::name(address),
            "a path such as ./noiseball/, or an address that begins with https://",
        ));
    }
    Ok(if address.ends_with('/') { address.to_owned() } else { format!("{address}/") })
}

/// What is sampled, and how the element is told to do the same.
struct Shown {
    options: SampleOptions,
    steps: usize,
    sampler: SamplerKind,
    /// The element's `label`.
    label: Option<String>,
    alt: String,
}

impl Shown {
    fn new(arguments: &Arguments, model: &Model) -> Result<Self> {
        let info = model.info();
        let batch = arguments.batch.unwrap_or(if info.width.max(info.height) <= 32 { 16 } else { 4 });
        if batch > 64 {
            return Err(refusal("batch", batch, "1 to 64, as elements have it"));
        }
        let usual = model.config().sampler;
        let usual = if usual == SamplerKind::Ddpm { SamplerKind::Ddim } else { usual };
        let mut options = SampleOptions::default()
            .sampler(arguments.sampler.unwrap_or(usual))
            .steps(arguments.steps)
            .seed(arguments.seed)
            .batch(batch);
        let (sampler, steps) = model.steps_of(&options);
        let few = STEPS.min(info.train_timesteps);
        let steps = if arguments.steps.is_none() && steps == info.train_timesteps { few } else { steps };
        if steps > MOST_STEPS {
            return Err(refusal("steps", steps, "1 to 1000, as elements have it"));
        }
        options.steps = Some(steps);
        let (labels, label) = labels(info, arguments.classes.as_deref(), batch)?;
        options.labels = labels;
        let alt = arguments.alt.clone().unwrap_or_else(|| "Pictures that a diffusion model drew".to_owned());
        Ok(Self { options, steps, sampler, label, alt })
    }

    /// The two lines.
    fn lines(&self, package: &str) -> String {
        let Self { options, steps, sampler, label, alt } = self;
        let mut attributes =
            format!(r#"src="./model/" batch="{}" seed="{}" steps="{steps}""#, options.batch, options.seed);
        if *sampler != SamplerKind::Ddim {
            attributes += &format!(r#" sampler="{sampler}""#);
        }
        if let Some(label) = label {
            attributes += &format!(r#" label="{}""#, escaped(label));
        }
        let alt = escaped(alt);
        format!(
            r#"<script type="module" src="{package}elements.js"></script>
<diffusion-sampler {attributes} alt="{alt}"><img slot="poster" src="./poster.png" alt="{alt}"></diffusion-sampler>
"#
        )
    }

    fn page(&self, package: &str, lines: &str) -> String {
        let (script, element) = lines.split_once('\n').unwrap_or_default();
        let policy = policy(package);
        format!(
            r#"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <meta http-equiv="Content-Security-Policy" content="{policy}">
    <title>{}</title>
    <link rel="icon" href="data:,">
    {script}
  </head>
  <body>
    {element}  </body>
</html>
"#,
            escaped(&self.alt)
        )
    }

    fn readme(&self, package: &str, lines: &str) -> String {
        let copy = if package.contains("://") {
            format!("The script comes from {package}, as you asked.")
        } else {
            format!(
                "Copy the folder `www/` of the npm package `noiseball` here as `{}`: `npm pack noiseball` downloads it.",
                package.trim_start_matches("./")
            )
        };
        format!(
            r#"# A model for a web page

Put this folder on any web server that serves files. {copy}
Open `index.html` there to look at it: browsers run nothing from a page that was opened as a file.

In a post, these two lines show the model (`embed.html` has them to copy). `./` is where this folder is, as the post sees it:

```html
{lines}```

- `model/`: the checkpoint in diffusers' format, weights in float16. Python opens it with `DDPMPipeline.from_pretrained` or the pipeline that `model_index.json` names.
- `poster.png`: what the model drew with these settings; it is seen until a reader presses *Run*.
- `film.png`: noise becoming those pictures, an animated PNG, for where no script runs.
"#
        )
    }
}

/// What the page may load, and from where.
fn policy(package: &str) -> String {
    let origin = package.split_once("://").map(|(scheme, rest)| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        format!(" {scheme}://{host}")
    });
    let worker = if origin.is_some() { "blob:" } else { "'self'" };
    let origin = origin.unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'{origin} 'wasm-unsafe-eval'; worker-src {worker}{origin}; connect-src 'self'{origin}; img-src 'self' data: blob:"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// Each picture's label, and the element's word for them.
fn labels(
    info: &Info,
    wanted: Option<&[String]>,
    batch: usize,
) -> Result<(Option<Vec<f32>>, Option<String>)> {
    let Some(count) = info.classes else {
        return match wanted {
            Some(names) => {
                Err(refusal("classes", text::name(&names.join(",")), "left out: this model has none"))
            }
            None => Ok((None, None)),
        };
    };
    let name = |label: usize| info.labels.as_ref().and_then(|names| names.get(label));
    let known: Vec<usize> = (0..count).filter(|label| Some(*label) != info.null_label).collect();
    let find = |text: &String| {
        let number = text.trim().parse::<usize>().ok().filter(|label| *label < count);
        let named = known.iter().copied().find(|label| name(*label).is_some_and(|name| name == text.trim()));
        named.or(number).ok_or_else(|| {
            let names: Vec<String> = known
                .iter()
                .map(|label| {
                    name(*label).map_or_else(|| label.to_string(), |name| format!("{label} ({name})"))
                })
                .collect();
            refusal("classes", text::name(text), &format!("of {}", output::first(names.iter()).join(", ")))
        })
    };
    let chosen = wanted.map(|names| names.iter().map(find).collect::<Result<Vec<_>>>()).transpose()?;
    let label = match chosen.as_deref() {
        Some([one]) => one.to_string(),
        _ => "each".to_owned(),
    };
    let turn = chosen.unwrap_or(known);
    if turn.is_empty() {
        return Ok((None, None));
    }
    Ok((Some(turn.iter().cycle().take(batch).map(|label| *label as f32).collect()), Some(label)))
}

/// The poster and the film.
fn pictures(model: &Model, shown: &Shown) -> Result<(Vec<u8>, Vec<u8>)> {
    let bar = progress_bar();
    bar.set_message("sampling");
    bar.set_length(shown.steps as u64);
    let range = model.config().schedule.range();
    // Of a long run every so-many-eth state is enough, and the last.
    let each = shown.steps.div_ceil(FRAMES);
    let mut run = model.sample(&shown.options.clone().every(each))?;
    let start = run.start();
    let mut frames: Vec<(Grid, u16)> = Vec::new();
    let mut poster = Vec::new();
    while let Some(step) = run.step_blocking()? {
        bar.set_position(step.index as u64 + 1);
        let grid =
            |x: &[f32], side| output::grid(&output::signed(range, x), step.shape, 1, scale(step.shape, side));
        let film = |x: &[f32], stands: u16| (grid(x, FILM_SIDE), stands);
        if frames.is_empty() {
            frames.push(film(&start, STANDS[0]));
        }
        if step.index + 1 == step.total {
            frames.push(film(step.x, STANDS[2]));
            poster = output::film(&[(grid(step.x, SIDE), 0)])?;
        } else if !step.x.is_empty() {
            frames.push(film(step.x, STANDS[1]));
        }
    }
    bar.finish_and_clear();
    Ok((poster, output::film(&frames)?))
}

/// How often each pixel of such pictures stands in a row, so that the longer side has about this many.
fn scale([batch, _, height, width]: [usize; 4], side: usize) -> usize {
    let columns = (1..=batch).find(|c| c * c >= batch).unwrap_or(1);
    (side / (columns * width.max(height))).max(1)
}

//! Runs a pipeline: one part after the other, each loaded when it is needed and freed when it is not.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use super::attention::{Watch, WordMaps};
use super::description::Description;
use super::noise::{MASKED, Noises, PICTURE};
use super::options::{Given, Request, refuse};
use super::part::{Loader, Names, Part, Pending, Ready};
use super::tensors::{Arrived, Arriving, Room, Updates, names_in_file};
use super::tiles::Tiling;
use super::{Autoencoder, Batch, Draw, Kind, Task, inpainting_channels, latent_mask, posterior, time_ids};
use crate::checkpoint::lora::Lora;
use crate::checkpoint::weights::{Sink, Weights};
use crate::error::{Error, Result};
use crate::network::architecture::Network as _;
use crate::network::array::Array;
use crate::prompt::{Prompt, Unicode};
use crate::rng::Normals;
use crate::sampler::{
    Edit, Evaluate, Guidance, HostRun, Options, Program, SamplerKind, Settings, Step, check_finite,
};
use crate::text;

/// Where the weights of parts are.
pub trait Source {
    /// Reads the weights of a part, of which these are needed and no others: `sink` gets one tensor after the other, so that the file is never
    /// held. `observer` is told how many bytes of how many have been read.
    fn read<'a>(
        &'a self,
        part: &'a str,
        asked: Names,
        sink: Box<dyn Sink>,
        observer: &'a mut dyn FnMut(u64, Option<u64>) -> Result<()>,
    ) -> Pending<'a, ()>;
}

#[cfg(not(target_arch = "wasm32"))]
impl Source for crate::checkpoint::Folder {
    fn read<'a>(
        &'a self,
        part: &'a str,
        asked: Names,
        sink: Box<dyn Sink>,
        observer: &'a mut dyn FnMut(u64, Option<u64>) -> Result<()>,
    ) -> Pending<'a, ()> {
        use crate::checkpoint::Progress as Read;
        let read = self.read(part, asked, sink, &mut |progress| match progress {
            Read::Weights { received, total } => observer(received, total),
            Read::Config(_) => Ok(()),
        });
        Box::pin(std::future::ready(read))
    }
}

/// What a run is at. Whoever is told may end it by an error.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// What will be loaded, in this order: names as [`PartInfo::name`](super::PartInfo::name), and how many parameters each has.
    Parts(&'a [(String, u64)]),
    /// Weights of a part are read.
    Loading {
        /// The part's name.
        part: &'a str,
        /// Bytes so far.
        received: u64,
        /// Bytes of the file, where they are known.
        total: Option<u64>,
    },
    /// The sampler begins.
    Noise {
        /// Its noise, of deviation 1.
        x: &'a [f32],
        /// The latents' shape, `[batch, channels, height, width]`.
        shape: [usize; 4],
    },
    /// The sampler has taken a step: its images are latents, `[batch, channels, height, width]`.
    Step(Step<'a>),
    /// Where the words of each picture's prompt acted in the step that is told next, where that was asked for.
    Attention(&'a [WordMaps]),
    /// A picture has been decoded.
    Decoded {
        /// How many there are now.
        pictures: usize,
        /// Of how many.
        total: usize,
    },
}

/// What a run has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// What the decoder made, `[batch, 3, height, width]`, in [-1, 1] but for what goes beyond.
    pub pictures: Array,
    /// What it was given, `[batch, channels, height, width]`.
    pub latents: Array,
    /// What a reader should know, for instance how much of a prompt was left out.
    pub notes: Vec<String>,
}

/// A pipeline that can be run.
pub struct Runner {
    description: Description,
    source: Box<dyn Source>,
    loader: Box<dyn Loader>,
    lora: Updates,
    /// The most bytes that a part may take.
    memory: Option<u64>,
    /// Whether parts stay loaded after they were used.
    keeps: bool,
    loaded: Vec<Loaded>,
}

/// A run whose request has been checked.
struct Prepared {
    task: Task,
    stages: Vec<Draw>,
    /// Of the latents.
    shape: [usize; 4],
    guided: bool,
    scale: f64,
    texts: Vec<Batch>,
    given: Option<Given>,
    /// A latent mask, `[height, width]`.
    mask: Option<Vec<f32>>,
    noises: Noises,
}

/// A part that is loaded, with the frequencies of its time embedding, where those are random.
struct Loaded {
    name: String,
    part: Part,
    ready: Box<dyn Ready>,
    frequencies: Vec<f32>,
    /// Whether all weights are of 32 bits.
    exact: bool,
    /// Bytes of the weights.
    weights: u64,
}

impl Runner {
    /// A pipeline with its weights from `source` and its networks where `loader` has them. Nothing is loaded yet.
    #[must_use]
    pub fn new(description: Description, source: Box<dyn Source>, loader: Box<dyn Loader>) -> Self {
        Self { description, source, loader, lora: None, memory: None, keeps: false, loaded: Vec::new() }
    }

    /// Opens a folder on a disk, an address or a hub id.
    ///
    /// # Errors
    /// Those of [`Folder::open`](crate::checkpoint::Folder::open) and of [`Description::read`]; [`Error::Unsupported`] for a folder of one network.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(source: &str, variant: Option<&str>, loader: Box<dyn Loader>) -> Result<Self> {
        let Some(folder) = crate::checkpoint::Folder::open(source, variant)? else {
            let why = "it has one network alone, which is a `Model`".to_owned();
            return Err(Error::Unsupported { what: source.to_owned(), why });
        };
        Ok(Self::new(Description::read(&folder.parts)?, Box::new(folder), loader))
    }

    /// What the folder says.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Refuses to load what takes more than so many bytes with its activations.
    pub fn limit_memory(&mut self, bytes: u64) {
        self.memory = Some(bytes);
    }

    /// Makes sure that each part fits by itself, for one picture of the size that the pipeline is for: with a byte for each weight, and in the
    /// smallest tiles.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], with the first part that does not; [`Error::Limit`].
    pub fn check_memory(&self) -> Result<()> {
        self.coming(false, 1, [self.description.pipeline.sample_size; 2]).map(|_| ())
    }

    /// Leaves parts loaded once they are, for the next run, in place of one at a time.
    pub fn keep_loaded(&mut self) {
        self.keeps = true;
    }

    /// Loads what a run without a picture needs, and keeps it.
    ///
    /// # Errors
    /// Those of [`Self::sample`] for weights and memory.
    pub async fn load(&mut self, observer: &mut dyn FnMut(Progress<'_>) -> Result<()>) -> Result<()> {
        self.keeps = true;
        let latents = [self.description.pipeline.sample_size; 2];
        self.announce(false, 1, latents, observer)?;
        for encoder in self.description.text.clone() {
            self.part(encoder.name, encoder.part, 1, [self.description.tokens(), 1], observer).await?;
        }
        let name = self.description.pipeline.kind.network();
        self.part(name, self.description.network.clone(), 1, latents, observer).await?;
        self.coder_part(false, latents, observer).await?;
        Ok(())
    }

    /// Tells what a run will load, for so many rows of latents of this size.
    fn announce(
        &self,
        encodes: bool,
        rows: usize,
        latents: [usize; 2],
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<()> {
        let parts = self.coming(encodes, rows, latents)?;
        if parts.is_empty() { Ok(()) } else { observer(Progress::Parts(&parts)) }
    }

    /// The parts that a run loads, each with its parameters. One that cannot fit is an error before anything is read.
    fn coming(&self, encodes: bool, rows: usize, latents: [usize; 2]) -> Result<Vec<(String, u64)>> {
        let Description { text, network, pipeline, .. } = &self.description;
        let tokens = [self.description.tokens(), 1];
        let mut parts: Vec<_> =
            text.iter().map(|text| (text.name.to_owned(), text.part.clone(), 1, tokens)).collect();
        let mut coder = |encodes: bool, size| {
            let (name, part) = self.coder(encodes);
            let size = self.smallest(&part, size);
            parts.push((name, part, 1, size));
        };
        if encodes {
            coder(true, latents.map(|side| side * pipeline.scale_factor));
        }
        coder(false, latents);
        // The network comes before the decoder.
        parts.insert(parts.len() - 1, (pipeline.kind.network().to_owned(), network.clone(), rows, latents));
        parts.retain(|(name, ..)| self.loaded.iter().all(|loaded| loaded.name != *name));
        let room = |(name, part, batch, size): (String, Part, usize, [usize; 2])| {
            let room = self.room(&name, &part, batch, size, 1)?;
            Ok((name, room.weights))
        };
        parts.into_iter().map(room).collect()
    }

    /// What a part takes with weights of so many bytes each.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where there is less; [`Error::Limit`].
    fn room(&self, name: &str, part: &Part, batch: usize, size: [usize; 2], bytes: u64) -> Result<Room> {
        let tokens = self.description.tokens();
        let needs = part.describe(batch, size, tokens);
        let (activations, weights) =
            (needs.peak_activation_bytes, needs.parameter_count().saturating_mul(bytes));
        let room = Room { name: name.to_owned(), batch, activations, weights, limit: self.memory };
        room.check()?;
        self.loader.check_activations(part, batch, size, tokens)?;
        Ok(room)
    }

    /// Merges low-rank updates into the weights of each part as it is loaded, `scale` times.
    ///
    /// # Errors
    /// Those of [`Lora::read`], and [`Error::Lora`] where it updates a part that this pipeline does not have.
    pub fn add_lora(&mut self, weights: Weights, scale: f64) -> Result<()> {
        let layers = match &self.description.network {
            Part::UNet(net) => net.down.first().map_or(2, |level| level.resnets),
            _ => 2,
        };
        let lora = Lora::read(weights, layers)?;
        for part in ["unet", "text_encoder", "text_encoder_2"] {
            let is_text = self.description.text.iter().any(|encoder| encoder.name == part);
            if lora.has(part) && !is_text && self.description.pipeline.kind.network() != part {
                let problem = format!("{} has no such part", text::name(&self.description.class));
                return Err(Error::Lora { part: part.to_owned(), problem });
            }
        }
        self.loaded.clear();
        self.lora = Some(Rc::new((lora, scale)));
        Ok(())
    }

    /// A prompt as each text encoder takes it.
    #[must_use]
    pub fn tokenise(&self, prompt: &str, unicode: Unicode<'_>) -> Vec<Prompt> {
        self.description.text.iter().map(|encoder| encoder.tokenizer.encode(prompt, unicode)).collect()
    }

    /// The sampler, the number of steps and the scale of guidance of a run, the defaults filled in.
    #[must_use]
    pub fn defaults(&self, request: &Request) -> (SamplerKind, usize, f64) {
        let (steps, guidance) = self.description.defaults();
        let steps = request.steps.or(request.settings.steps_listed()).unwrap_or(steps);
        (request.sampler.unwrap_or(self.description.sampler), steps, request.guidance.unwrap_or(guidance))
    }

    /// Makes pictures.
    ///
    /// # Errors
    /// [`Error::Option`] for what is out of range or has no use, before anything is loaded; those of [`Checkpoint::open`] for the weights of a
    /// part; [`Error::OutOfMemory`] for a part that is too large; [`Error::NotFiniteOutput`].
    ///
    /// [`Checkpoint::open`]: crate::Checkpoint::open
    pub async fn sample(
        &mut self,
        request: &Request,
        unicode: Unicode<'_>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Made> {
        let mut run = self.prepare(request)?;
        let watch = request.attention.then(|| self.watch(&run.texts, unicode));
        let mut notes = self.description.notes.clone();
        let rows = run.shape[0] * (1 + usize::from(run.guided));
        self.announce(run.given.is_some(), rows, [run.shape[2], run.shape[3]], observer)?;
        let conditions = self.encode_texts(&run.texts, unicode, &mut notes, observer).await?;
        let (init, beside) = self.encode_pictures(&mut run, &mut notes, observer).await?;

        let Prepared { shape, guided, scale, .. } = run;
        let edit = self.edit(run.task, init, run.mask.as_deref(), request.strength);
        let program = self.program(request, guided, edit)?;
        let steps = program.steps();
        let (name, part) = (self.description.pipeline.kind.network(), self.description.network.clone());
        let rest = self.rest(&part, request, conditions, scale, shape)?;
        let latent_size = [shape[2], shape[3]];
        self.part(name, part, rows, latent_size, observer).await?;
        let (network, mut decoder) = self.with_decoder(name, latent_size)?;
        let mut asked = Asked { network, rest, beside, pictures: shape[0], watch };
        let mut noise = vec![0.0; shape.iter().product()];
        run.noises.clone().normals(0, shape[0], &mut noise);
        observer(Progress::Noise { x: &noise, shape })?;
        let mut run = HostRun::new(program, shape, run.noises)?;
        let mut latents = Vec::new();
        for left in (0..steps).rev() {
            let coming = run.step(&mut asked);
            let step = match decoder.take_if(|_| left == 0) {
                // What goes wrong here does so again when the decoder is asked, which then knows what helps.
                Some(decoder) => both(coming, decoder.ready.prepare(latent_size)).await.0,
                None => coming.await,
            };
            let Some(step) = step? else { break };
            if let Some(watch) = &mut asked.watch {
                observer(Progress::Attention(watch.step()))?;
            }
            observer(Progress::Step(step))?;
            if step.index + 1 == step.total {
                latents = step.x.to_vec();
            }
        }
        self.free();
        self.description.pipeline.unscale_latents(&mut latents, shape[2] * shape[3]);
        let pictures = self.decode(&latents, shape, &mut notes, observer).await?;
        self.free();
        Ok(Made { pictures, latents: Array { shape: shape.to_vec(), values: latents }, notes })
    }

    /// Makes sure that a request can be met, as far as that is known before anything is loaded.
    fn prepare(&self, request: &Request) -> Result<Prepared> {
        let pipeline = &self.description.pipeline;
        let (kind, task, factor) = (pipeline.kind, request.task(), pipeline.scale_factor);
        request.check(kind, pipeline.inpaints)?;
        let stages = pipeline.stages(task)?;
        let latents = pipeline.latent_size(request.size[0], request.size[1])?;
        let given = request.given(latents.map(|side| side * factor), factor)?;
        let latents = given.as_ref().map_or(latents, |given| given.size.map(|side| side / factor));
        self.check_size(latents)?;
        let (_, _, scale) = self.defaults(request);
        let guided = pipeline.is_guided(scale);
        let texts = self.texts(request, guided)?;
        if let (Part::UNet(net), true) = (&self.description.network, request.attention)
            && !net.attends()
        {
            return refuse("attention", "given", "left out: this network does not look at its text");
        }
        let pictures = match (&texts[..], kind) {
            ([first, ..], _) => first.pictures,
            (_, Kind::Dit) => labelled(request)?,
            _ => request.batch.unwrap_or(1),
        };
        if pictures == 0 {
            return refuse("batch", 0, "1 or more");
        }
        if !matches!(request.seeds.len(), 0 | 1) && request.seeds.len() != pictures {
            let expected = format!("one, or one for each of {pictures} pictures");
            return refuse("seed", format!("{} seeds", request.seeds.len()), expected);
        }
        if let Some(given) = &given
            && !pictures.is_multiple_of(given.pictures)
        {
            let expected = format!("as many as divide the {pictures} that are made");
            return refuse("init", format!("{} pictures", given.pictures), expected);
        }
        let shape = [pictures, pipeline.latent_channels, latents[0], latents[1]];
        let noises = Noises::new(request.rng, &request.seeds)?;
        let mask = given.as_ref().and_then(|given| {
            let mask = given.mask.as_ref()?;
            Some(latent_mask(mask, given.size[1], factor))
        });
        // With a picture that is none.
        let edit = self.edit(task, vec![0.0; shape[1..].iter().product()], mask.as_deref(), request.strength);
        HostRun::new(self.program(request, guided, edit)?, shape, noises.clone())?;
        Ok(Prepared { task, stages, shape, guided, scale, texts, given, mask, noises })
    }

    /// The latents that a run begins with, and what a network that inpaints is given beside them; empty and none for a run that begins with noise.
    async fn encode_pictures(
        &mut self,
        run: &mut Prepared,
        notes: &mut Vec<String>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let (mut init, mut beside) = (Vec::new(), None);
        let Some(given) = run.given.take() else { return Ok((init, beside)) };
        let [pictures, channels, height, width] = run.shape;
        let each = channels * height * width;
        for stage in std::mem::take(&mut run.stages) {
            match stage {
                Draw::Picture => {
                    init = self.encode(run, &given, &given.values, PICTURE, notes, observer).await?;
                }
                Draw::Noise => run.noises.draw_first(pictures, each),
                Draw::Masked if self.description.pipeline.inpaints => {
                    let masked = given.masked().unwrap_or_default();
                    let latents = self.encode(run, &given, &masked, MASKED, notes, observer).await?;
                    let mask = run.mask.as_deref().unwrap_or_default();
                    beside = Some(inpainting_channels(mask, &latents, channels, pictures));
                }
                // Python encodes and draws it, and has no use for it.
                Draw::Masked => {
                    if self.description.pipeline.autoencoder == Autoencoder::Kl {
                        run.noises.draw(MASKED, run.noises.count(given.pictures, pictures), each);
                    }
                }
            }
        }
        self.free();
        Ok((init, beside))
    }

    /// [`Self::sample`] for programs that are not asynchronous.
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sample_blocking(
        &mut self,
        request: &Request,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Made> {
        pollster::block_on(self.sample(request, Unicode::native(), observer))
    }

    fn check_size(&self, [height, width]: [usize; 2]) -> Result<()> {
        match &self.description.network {
            Part::UNet(net) => net.check_size(height, width),
            Part::Dit(net) => net.check_size(height, width),
            Part::UNet2D(net) => net.check_size(height, width),
            _ => Ok(()),
        }
    }

    /// The texts of each encoder in the order of the batch.
    fn texts(&self, request: &Request, guided: bool) -> Result<Vec<Batch>> {
        let zeros = self.description.pipeline.zeros_for_no_prompt;
        if !matches!(request.prompts_2.len(), 0) && request.prompts_2.len() != request.prompts.len() {
            let expected = format!("given {} times, as the prompt is", request.prompts.len());
            return refuse("prompt_2", format!("given {} times", request.prompts_2.len()), expected);
        }
        let of = |at: usize| {
            let second = at == 1 && !request.prompts_2.is_empty();
            let prompts = if second { &request.prompts_2 } else { &request.prompts };
            Batch::of(prompts, &request.negative_prompts, request.batch.unwrap_or(1), guided, zeros)
        };
        (0..self.description.text.len()).map(of).collect()
    }

    /// What collects where the words of the pictures act, as the first encoder's tokenizer parts them.
    fn watch(&self, texts: &[Batch], unicode: Unicode<'_>) -> Watch {
        let [batch, ..] = texts else { return Watch::new(&[]) };
        let prompts: Vec<Prompt> =
            batch.texts.iter().flat_map(|text| self.tokenise(text, unicode).into_iter().next()).collect();
        let wanted = &batch.sequences[batch.sequences.len() - batch.pictures..];
        let words = |text: &Option<usize>| text.map_or(&[][..], |text| &prompts[text].words);
        Watch::new(&wanted.iter().map(words).collect::<Vec<_>>())
    }

    fn edit(&self, task: Task, init: Vec<f32>, mask: Option<&[f32]>, strength: Option<f64>) -> Option<Edit> {
        let pipeline = &self.description.pipeline;
        let mut edit = Edit { strength, as_pipelines: true, ..Edit::new(init) };
        match task {
            Task::Noise => return None,
            Task::Picture => {}
            // The network itself sees to what is kept.
            Task::Inpaint { strength } if pipeline.inpaints => {
                if strength >= 1.0 {
                    return None;
                }
            }
            Task::Inpaint { .. } => {
                edit.mask = mask.map(|mask| mask.repeat(pipeline.latent_channels).into());
            }
        }
        Some(edit)
    }

    fn program(&self, request: &Request, guided: bool, edit: Option<Edit>) -> Result<Program> {
        let (sampler, steps, scale) = self.defaults(request);
        let guidance = if guided { Guidance { scale, ..request.guided } } else { Guidance::default() };
        let mut options =
            Options { settings: request.settings.clone(), guidance, edit, ..Options::steps(steps) };
        if let (Some(edit), Kind::LatentConsistency) = (&mut options.edit, self.description.pipeline.kind)
            && sampler == SamplerKind::Lcm
        {
            let strength = edit.strength.replace(1.0).unwrap_or(0.8);
            options.settings = self.distilled(options.settings, steps, strength)?;
        }
        sampler.program(&self.description.schedule, &options)
    }

    /// The timesteps of a latent consistency model that begins with a picture: all steps are made, in that share of those that it was distilled at.
    fn distilled(&self, settings: Settings, steps: usize, strength: f64) -> Result<Settings> {
        let total = self.description.schedule.train_timesteps();
        let original = settings.number("original_inference_steps").unwrap_or(50.0) as usize;
        let (share, part) = ((original as f64 * strength) as usize, total / original.clamp(1, total));
        if !(1..=share).contains(&steps) {
            return refuse(
                "steps",
                steps,
                format!("from 1 to {share}: that share of the steps it was distilled for"),
            );
        }
        let place = |i: usize| share - (i as f64 * (share as f64 / steps as f64)).floor() as usize;
        let list: Vec<f64> = (0..steps).map(|i| (place(i) * part - 1) as f64).collect();
        Ok(settings.with("timesteps", list))
    }

    /// What the network is told of the texts: `[sequences, width, tokens, 1]`, and one vector each with SDXL's. What is not wanted comes first.
    async fn encode_texts(
        &mut self,
        texts: &[Batch],
        unicode: Unicode<'_>,
        notes: &mut Vec<String>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Option<(Array, Option<Array>)>> {
        let mut states: Vec<Vec<Vec<f32>>> = Vec::new();
        let mut pooled = None;
        let (mut width, mut tokens) = (0, 0);
        for (at, batch) in texts.iter().enumerate() {
            let encoder = self.description.text[at].clone();
            let prompts: Vec<Prompt> =
                batch.texts.iter().map(|text| encoder.tokenizer.encode(text, unicode)).collect();
            for prompt in prompts.iter().filter(|prompt| !prompt.cut.is_empty()) {
                let note = format!(
                    "a prompt is longer than {} tokens: {} is left out, as in Python",
                    prompt.ids.len(),
                    text::name(format!("\"{}\"", prompt.cut))
                );
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
            prompts.iter().try_for_each(|prompt| encoder.config.check_tokens(&prompt.ids))?;
            let length = prompts[0].ids.len();
            let rows =
                |values: Vec<f32>| Array { shape: vec![prompts.len(), values.len() / prompts.len()], values };
            let ids = prompts.iter().flat_map(|prompt| prompt.ids.iter().map(|id| *id as f32));
            let mut inputs = vec![rows(ids.collect())];
            if matches!(encoder.part, Part::Text { pooled: true, .. }) {
                let places = prompts.iter().map(|prompt| encoder.config.pooled_at(&prompt.ids) as f32);
                inputs.push(rows(places.collect()));
            }
            let loaded =
                self.part(encoder.name, encoder.part.clone(), prompts.len(), [length, 1], observer).await?;
            let results = loaded.ready.ask(&inputs, false).await?;
            self.free();
            let of_sequences = |array: &Array| -> Vec<Vec<f32>> {
                let each = array.values.len() / prompts.len();
                let one = |text: &Option<usize>| {
                    text.map_or_else(|| vec![0.0; each], |at| array.values[at * each..][..each].to_vec())
                };
                batch.sequences.iter().map(one).collect()
            };
            states.push(of_sequences(&results[0]));
            (width, tokens) = (width + encoder.config.hidden_size, length);
            if let Some(found) = results.get(1) {
                let values = of_sequences(found).concat();
                pooled = Some(Array {
                    shape: vec![batch.sequences.len(), values.len() / batch.sequences.len()],
                    values,
                });
            }
        }
        let Some(sequences) = states.first().map(Vec::len) else { return Ok(None) };
        let values =
            (0..sequences).flat_map(|s| states.iter().flat_map(move |states| states[s].iter().copied()));
        let values = values.collect();
        Ok(Some((Array { shape: vec![sequences, width, tokens, 1], values }, pooled)))
    }

    /// What the network is given beside latents and timestep: for what is wanted, and then for what is not.
    fn rest(
        &self,
        part: &Part,
        request: &Request,
        conditions: Option<(Array, Option<Array>)>,
        scale: f64,
        [pictures, _, height, width]: [usize; 4],
    ) -> Result<Vec<Array>> {
        let guided = self.description.pipeline.is_guided(scale);
        let rows = pictures * (1 + usize::from(guided));
        let vectors = |values: Vec<f32>| Array { shape: vec![rows, values.len() / rows], values };
        let mut rest = Vec::new();
        match part {
            Part::UNet(net) => {
                let Some((text, pooled)) = conditions else { return Ok(rest) };
                rest.push(wanted_first(text, rows - pictures));
                if let Some(pooled) = pooled {
                    let factor = self.description.pipeline.scale_factor;
                    let ids = time_ids(height * factor, width * factor);
                    let pooled = wanted_first(pooled, rows - pictures);
                    let each = pooled.values.chunks_exact(pooled.shape[1]);
                    let added = each.map(|pooled| net.added_features(pooled, &ids));
                    rest.push(vectors(added.collect::<Result<Vec<_>>>()?.concat()));
                }
                rest.extend(net.guidance_features(scale).map(|features| vectors(features.repeat(rows))));
            }
            Part::Dit(net) => {
                let mut labels: Vec<f32> = request.labels.iter().map(|label| *label as f32).collect();
                labels = labels.into_iter().cycle().take(pictures).collect();
                if let Some(label) = request.labels.iter().find(|label| **label > LAST_CLASS) {
                    return refuse("labels", label, format!("from 0 to {LAST_CLASS}"));
                }
                labels.resize(rows, NO_CLASS);
                net.check_labels(&labels)?;
                rest.push(vectors(labels));
                let side = height / net.patch_size;
                let positions = net.positions(height).repeat(rows);
                rest.push(Array { shape: vec![rows, net.width(), side, side], values: positions });
            }
            _ => {}
        }
        Ok(rest)
    }

    /// Loads a part, unless it is. Where parts are not kept, all others are freed first.
    async fn part(
        &mut self,
        name: &str,
        part: Part,
        batch: usize,
        size: [usize; 2],
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<&mut Loaded> {
        let known = self.loaded.iter().position(|loaded| loaded.name == name);
        let at = match known {
            Some(at) => at,
            None => {
                if !self.keeps {
                    self.loaded.clear();
                }
                let loaded = self.load_as(name, part, batch, size, false, observer).await?;
                self.loaded.push(loaded);
                self.loaded.len() - 1
            }
        };
        Ok(&mut self.loaded[at])
    }

    /// The network, which is loaded, and the decoder, where that is loaded, too, and has room for latents of this size in one piece.
    fn with_decoder(&mut self, name: &str, size: [usize; 2]) -> Result<(&mut Loaded, Option<&mut Loaded>)> {
        let (decoder, part) = self.coder(false);
        let fits = self.loaded.iter().any(|loaded| loaded.name == decoder)
            && self.room(&decoder, &part, 1, size, 4).is_ok();
        let (mut network, mut ahead) = (None, None);
        for loaded in &mut self.loaded {
            if loaded.name == name {
                network = Some(loaded);
            } else if loaded.name == decoder && fits {
                ahead = Some(loaded);
            }
        }
        Ok((network.ok_or(Error::Disposed)?, ahead))
    }

    /// Loads a part, with its weights in f32 where they are to be `exact` and otherwise as the file has them.
    async fn load_as(
        &mut self,
        name: &str,
        part: Part,
        batch: usize,
        size: [usize; 2],
        exact: bool,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Loaded> {
        // Weights that are not to be widened count when the file's header says what they are.
        let room = self.room(name, &part, batch, size, if exact { 4 } else { 1 })?;
        let room = Room { weights: if exact { room.weights } else { 0 }, ..room };

        let frequencies = match &part {
            Part::UNet2D(net) => net.frequencies(),
            _ => None,
        };
        let folder = name.split('.').next().unwrap_or(name);
        let mut asked = names_in_file(&part);
        if let Some(updates) = &self.lora {
            updates.0.check(folder, &asked)?;
        }
        asked.extend(frequencies.map(|(key, length)| (key.to_owned(), vec![length])));
        let loading = self.loader.begin(part.clone(), exact)?;
        let key = frequencies.map(|(key, _)| key);
        let arriving = Arriving::new(folder, part.clone(), loading, self.lora.clone(), key, room);
        let mut told = |received, total| observer(Progress::Loading { part: folder, received, total });
        self.source.read(folder, asked, Box::new(arriving.clone()), &mut told).await?;
        let Arrived { loading, frequencies, exact: alike, weights } =
            arriving.finish().ok_or(Error::Disposed)?;
        let ready = loading.finish().await?;
        Ok(Loaded { name: name.to_owned(), part, ready, frequencies, exact: exact || alike, weights })
    }

    /// Frees what is loaded, unless it is kept.
    fn free(&mut self) {
        if !self.keeps {
            self.loaded.clear();
        }
    }

    /// The autoencoder's first half or second, for images that are given to it of this size: where these have to be cut, for tiles.
    async fn coder_part(
        &mut self,
        encodes: bool,
        size: [usize; 2],
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<&mut Loaded> {
        let (name, part) = self.coder(encodes);
        let size = self.smallest(&part, size);
        self.part(&name, part, 1, size, observer).await
    }

    /// The least that a half of the autoencoder is given at once of an image of this size.
    fn smallest(&self, part: &Part, size: [usize; 2]) -> [usize; 2] {
        Tiling::least(part, size, self.description.pipeline.scale_factor)
    }

    /// What the autoencoder's first half or second makes of an image: in one piece, or where there is no room for that, in tiles.
    async fn convert(
        &mut self,
        encodes: bool,
        image: &Array,
        notes: &mut Vec<String>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Array> {
        let size = [image.shape[2], image.shape[3]];
        let (limit, factor) = (self.memory, self.description.pipeline.scale_factor);
        let Loaded { name, part, ready, weights, .. } = self.coder_part(encodes, size, observer).await?;
        let ways = Tiling::ways(part, size, factor);
        let mut refused = Error::Disposed;
        for way in [None].into_iter().chain(ways.into_iter().map(Some)) {
            let size = way.map_or(size, |way| size.map(|side| side.min(way.given())));
            let activations = limit.map_or(0, |_| part.describe(1, size, 1).peak_activation_bytes);
            let room = Room { name: name.clone(), batch: 1, activations, weights: *weights, limit };
            let found = match (room.check(), way) {
                (Err(error), _) => Err(error),
                (_, None) => {
                    ready.ask(std::slice::from_ref(image), false).await.map(|mut found| found.swap_remove(0))
                }
                (_, Some(way)) => way.run(&mut **ready, image).await,
            };
            match found {
                Err(error @ (Error::OutOfMemory { .. } | Error::Limit { .. })) => refused = error,
                Err(error) => return Err(error),
                Ok(found) => {
                    let note = way.map(|way| {
                        let side = if encodes { way.given() } else { way.given() * factor };
                        format!(
                            "{name} was run in tiles of {side}×{side} pixels, as by Python's enable_tiling, for want of memory: seams may show"
                        )
                    });
                    notes.extend(note.filter(|note| !notes.contains(note)));
                    return Ok(found);
                }
            }
        }
        Err(refused)
    }

    fn coder(&self, encodes: bool) -> (String, Part) {
        let (name, coder) = (self.description.pipeline.kind.autoencoder(), self.description.coder.clone());
        if encodes {
            (format!("{name}.encoder"), Part::Encoder(coder))
        } else {
            (format!("{name}.decoder"), Part::Decoder(coder))
        }
    }

    /// Latents of pictures as the network takes them: of each, or with a generator for each picture that is made, of all those.
    async fn encode(
        &mut self,
        run: &mut Prepared,
        given: &Given,
        values: &[f32],
        draw: u32,
        notes: &mut Vec<String>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let [high, wide] = given.size;
        let mut latents = Vec::new();
        for picture in values.chunks_exact(3 * high * wide) {
            let input = Array { shape: vec![1, 3, high, wide], values: picture.to_vec() };
            latents.append(&mut self.convert(true, &input, notes, observer).await?.values);
        }
        let [pictures, channels, height, width] = run.shape;
        let each = channels * height * width;
        if latents.len() == 2 * each * given.pictures {
            let count = run.noises.count(given.pictures, pictures);
            let repeated = latents.repeat(count / given.pictures);
            latents = posterior(&repeated, &run.noises.draw(draw, count, each), count);
        }
        self.description.pipeline.scale_latents(&mut latents);
        check_finite(&latents, END)?;
        Ok(latents)
    }

    /// Pictures of latents, one after the other.
    async fn decode(
        &mut self,
        latents: &[f32],
        [pictures, channels, height, width]: [usize; 4],
        notes: &mut Vec<String>,
        observer: &mut dyn FnMut(Progress<'_>) -> Result<()>,
    ) -> Result<Array> {
        let (mut values, mut shape) = (Vec::new(), vec![pictures]);
        for (at, latent) in latents.chunks_exact(channels * height * width).enumerate() {
            let input = Array { shape: vec![1, channels, height, width], values: latent.to_vec() };
            let mut found = self.convert(false, &input, notes, observer).await?;
            let (name, part) = self.coder(false);
            let again = |loaded: &Loaded| loaded.name == name && !loaded.exact;
            if check_finite(&found.values, END).is_err() && self.loaded.iter().any(again) {
                self.loaded.retain(|loaded| loaded.name != name);
                let size = self.smallest(&part, [height, width]);
                let decoder = self.load_as(&name, part, 1, size, true, observer).await?;
                notes.push(format!("{name} overflows in half precision: it was run in f32"));
                self.loaded.push(decoder);
                found = self.convert(false, &input, notes, observer).await?;
            }
            check_finite(&found.values, END)?;
            shape.truncate(1);
            shape.extend_from_slice(&found.shape[1..]);
            values.append(&mut found.values);
            observer(Progress::Decoded { pictures: at + 1, total: pictures })?;
        }
        Ok(Array { shape, values })
    }
}

/// DiT's classes are ImageNet's, and the row after them stands for none, whatever its config says.
const LAST_CLASS: u32 = 999;
const NO_CLASS: f32 = 1000.0;

/// How many pictures there are of these classes.
fn labelled(request: &Request) -> Result<usize> {
    let labels = request.labels.len();
    match request.batch {
        None => Ok(labels),
        Some(batch) if labels == 1 || labels == batch => Ok(batch),
        Some(batch) => {
            refuse("labels", format!("{labels} classes"), format!("one, or one for each of {batch} pictures"))
        }
    }
}

/// What came first last: `count` rows of it.
fn wanted_first(mut array: Array, count: usize) -> Array {
    let rows = array.shape[0].max(1);
    let each = array.values.len() / rows;
    array.values.rotate_left(count * each);
    array
}

/// Goes on with one while the other waits, until both are done.
async fn both<A, B>(first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut a, mut b) = (None, None);
    poll_fn(move |context| {
        if a.is_none()
            && let Poll::Ready(done) = first.as_mut().poll(context)
        {
            a = Some(done);
        }
        if b.is_none()
            && let Poll::Ready(done) = second.as_mut().poll(context)
        {
            b = Some(done);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (done, also) => {
                (a, b) = (done, also);
                Poll::Pending
            }
        }
    })
    .await
}

/// The autoencoder is told no timestep: its images are at the end of the run.
const END: f64 = 0.0;

/// The network of a run.
struct Asked<'a> {
    network: &'a mut Loaded,
    /// What it is given beside latents and timestep: for what is wanted, and then for what is not.
    rest: Vec<Array>,
    /// The channels beside the latents of a network that inpaints.
    beside: Option<Vec<f32>>,
    pictures: usize,
    watch: Option<Watch>,
}

impl Asked<'_> {
    async fn ask(
        &mut self,
        x: &[f32],
        [rows, channels, height, width]: [usize; 4],
        timestep: f64,
    ) -> Result<Vec<f32>> {
        let mut noisy = Array { shape: vec![rows, channels, height, width], values: x.to_vec() };
        if let Some(beside) = &self.beside {
            let pixels = height * width;
            let each = beside.len() / self.pictures;
            noisy.shape[1] += each / pixels;
            noisy.values.clear();
            for (at, latents) in x.chunks_exact(channels * pixels).enumerate() {
                noisy.values.extend_from_slice(latents);
                noisy.values.extend_from_slice(&beside[at % self.pictures * each..][..each]);
            }
        }
        let timesteps = vec![timestep as f32; rows];
        let vectors = |values: Vec<f32>| Array { shape: vec![rows, values.len() / rows], values };
        let mut inputs = vec![noisy];
        match &self.network.part {
            Part::UNet(net) => inputs.push(vectors(net.time_features(&timesteps)?)),
            Part::Dit(net) => inputs.push(vectors(net.time_features(&timesteps)?)),
            Part::UNet2D(net) => {
                let features = net.features(&timesteps, None, &self.network.frequencies)?;
                inputs.extend(features.into_iter().map(vectors));
            }
            _ => {}
        }
        for given in &self.rest {
            let mut given = given.clone();
            given.values.truncate(given.values.len() / given.shape[0] * rows);
            given.shape[0] = rows;
            inputs.push(given);
        }
        let mut results = self.network.ready.ask(&inputs, self.watch.is_some()).await?;
        if let (Some(watch), Some(map)) = (&mut self.watch, results.get(1)) {
            watch.take(map);
        }
        Ok(results.swap_remove(0).values)
    }
}

impl Evaluate for Asked<'_> {
    async fn evaluate(&mut self, x: &[f32], shape: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        self.ask(x, shape, timestep).await
    }

    async fn evaluate_both(&mut self, x: &[f32], mut shape: [usize; 4], timestep: f64) -> Result<Vec<f32>> {
        shape[0] *= 2;
        self.ask(&x.repeat(2), shape, timestep).await
    }
}

//! Low-rank updates of weights (Hu et al. 2021): `W + s · α/r · B·A`, merged when a model is loaded.
//!
//! A file names its updates as diffusers and PEFT do (`unet.….to_q.lora_A.weight`), as diffusers did at first
//! (`unet.….processor.to_q_lora.down.weight`), or as kohya's trainer does (`lora_unet_…_to_q.lora_down.weight`), the last for SDXL
//! with the names of its own code. All are brought to one form, with `_` for each dot, in which the model's own names are looked up.

use half::f16;
use serde_json::{Map, Value};

use super::json::parse_object;
use super::weights::{Dtype, Tensor, Weights};
use crate::error::{Error, Result};
use crate::text;

/// One update of one weight.
#[derive(Clone, Debug, Default)]
struct Update {
    /// The part of the pipeline.
    part: &'static str,
    /// The weight's name within it, flattened and without `.weight`.
    module: String,
    /// A, `[r, in]` or `[r, in, height, width]`.
    down: Option<Tensor>,
    /// B, `[out, r]` or `[out, r, 1, 1]`.
    up: Option<Tensor>,
    /// α; r where nobody says.
    alpha: Option<f64>,
}

/// The updates of a file.
#[derive(Clone, Debug)]
pub struct Lora {
    updates: Vec<Update>,
    /// What PEFT writes beside them.
    adapter: Map<String, Value>,
}

/// How a name begins, by the part that it belongs to. The first that fits counts.
const PARTS: [(&str, &str); 8] = [
    ("unet.", "unet"),
    ("text_encoder.", "text_encoder"),
    ("text_encoder_2.", "text_encoder_2"),
    ("lora_unet_", "unet"),
    ("lora_te_", "text_encoder"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    // The first files held attention of the U-Net alone.
    ("", "unet"),
];

/// What a tensor of an update is.
#[derive(Clone, Copy)]
enum Factor {
    Down,
    Up,
    Alpha,
}

/// How a name ends.
const ENDS: [(&str, Factor); 11] = [
    (".lora_A.weight", Factor::Down),
    (".lora_B.weight", Factor::Up),
    (".lora_down.weight", Factor::Down),
    (".lora_up.weight", Factor::Up),
    (".lora.down.weight", Factor::Down),
    (".lora.up.weight", Factor::Up),
    (".lora_linear_layer.down.weight", Factor::Down),
    (".lora_linear_layer.up.weight", Factor::Up),
    ("_lora.down.weight", Factor::Down),
    ("_lora.up.weight", Factor::Up),
    (".alpha", Factor::Alpha),
];

impl Lora {
    /// Sorts the tensors of a file by the weights that they update. `layers_per_block` is the U-Net's, by which names of SDXL's own
    /// code are counted.
    ///
    /// # Errors
    /// [`Error::Lora`] for a tensor that is no factor of an update, and where one of the two is missing; [`Error::Unsupported`] for
    /// DoRA; [`Error::Dtype`] and [`Error::NotFiniteWeight`] for an α that is no number.
    pub fn read(mut weights: Weights, layers_per_block: usize) -> Result<Self> {
        let adapter = weights.metadata().get("lora_adapter_metadata").and_then(Value::as_str);
        let adapter = adapter
            .map_or_else(|| Ok(Map::new()), |json| parse_object("lora_adapter_metadata", json.as_bytes()))?;
        let dora =
            |name: &&str| name.ends_with("dora_scale") || text::contains(name, "lora_magnitude_vector");
        if let Some(name) = weights.names().find(dora) {
            let why = "DoRA's updates also scale the weights, which is not done here. Fuse it into the model in Python".to_owned();
            return Err(Error::Unsupported { what: name.to_owned(), why });
        }
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        let mut updates: Vec<Update> = Vec::new();
        // Each update's place by its part and module; files list thousands.
        let mut places = Map::new();
        for name in names {
            let Some((part, module, factor)) = parse(&name, layers_per_block) else {
                let problem = format!("`{}` is no factor of an update", text::name(&name));
                return Err(Error::Lora { part: "the model".to_owned(), problem });
            };
            let Some(tensor) = weights.take(&name) else { continue };
            let key = format!("{part}/{module}");
            let place = places.get(&key).and_then(Value::as_u64).map(|place| place as usize);
            let place = place.unwrap_or_else(|| {
                places.insert(key, updates.len().into());
                updates.push(Update { part, module, ..Update::default() });
                updates.len() - 1
            });
            let update = &mut updates[place];
            match factor {
                Factor::Down => update.down = Some(tensor),
                Factor::Up => update.up = Some(tensor),
                Factor::Alpha => update.alpha = tensor.to_f32(&name)?.first().map(|alpha| f64::from(*alpha)),
            }
        }
        if let Some(half) = updates.iter().find(|update| update.down.is_none() || update.up.is_none()) {
            let problem = format!("one of both factors of `{}` is missing", text::name(&half.module));
            return Err(Error::Lora { part: half.part.to_owned(), problem });
        }
        if updates.is_empty() {
            return Err(Error::Lora {
                part: "the model".to_owned(),
                problem: "it has no updates".to_owned(),
            });
        }
        Ok(Self { updates, adapter })
    }

    /// Whether it updates this part: `unet`, `text_encoder`, `text_encoder_2`.
    #[must_use]
    pub fn has(&self, part: &str) -> bool {
        self.updates.iter().any(|update| update.part == part)
    }

    /// Adds the updates of a part to its weights, `scale` times, and returns how many there are. Weights that are F16 stay so; all others
    /// become F32. In case of an error the weights are as they were.
    ///
    /// # Errors
    /// [`Error::Lora`] where a weight is not there or has another shape, [`Error::Unsupported`] for DoRA, [`Error::Dtype`],
    /// [`Error::NotFiniteWeight`].
    pub fn merge(&self, part: &str, weights: &mut Weights, scale: f64) -> Result<usize> {
        let shape = |name: &str| weights.get(name).map(|weight| weight.shape.clone()).unwrap_or_default();
        let shapes: Vec<_> = weights.names().map(|name| (name.to_owned(), shape(name))).collect();
        self.check(part, &shapes)?;
        let mut merged = Vec::new();
        for (name, _) in shapes {
            if let Some(weight) = weights.get(&name)
                && let Some(updated) = self.updated(part, &name, weight, scale)?
            {
                merged.push((name, updated));
            }
        }
        let count = self.updates.iter().filter(|update| update.part == part).count();
        for (name, tensor) in merged {
            weights.insert(name, tensor);
        }
        Ok(count)
    }

    /// Makes sure that a part with weights of these names and shapes has what is updated.
    ///
    /// # Errors
    /// As [`Self::merge`].
    pub fn check(&self, part: &str, weights: &[(String, Vec<usize>)]) -> Result<()> {
        let mut targets = Map::new();
        for (at, (name, _)) in weights.iter().enumerate() {
            targets.extend(module(name).map(|module| (module, at.into())));
        }
        for update in self.updates.iter().filter(|update| update.part == part) {
            let refused = |problem: String| Error::Lora { part: part.to_owned(), problem };
            let Some(at) = targets.get(&update.module).and_then(Value::as_u64) else {
                return Err(refused(format!("there is no weight `{}`", text::name(&update.module))));
            };
            let (name, weight) = &weights[at as usize];
            let (Some(down), Some(up)) = (&update.down, &update.up) else { continue };
            let rank = down.shape.first().copied().unwrap_or(0);
            let size = |shape: &[usize]| shape.iter().product::<usize>();
            let fits = weight.len() >= 2
                && rank > 0
                && down.shape.len() >= 2
                && size(&down.shape[1..]) == size(&weight[1..])
                && up.shape.first() == weight.first()
                && size(&up.shape[1..]) == rank;
            if !fits {
                return Err(refused(format!(
                    "`{}` has shape {weight:?}, and its update is {:?} times {:?}",
                    text::name(name),
                    up.shape,
                    down.shape
                )));
            }
            self.factor(update, rank, name)?;
        }
        Ok(())
    }

    /// A weight with its updates, as [`Self::merge`] has it; none where there are none. They have been [checked](Self::check).
    ///
    /// # Errors
    /// As [`Self::merge`].
    pub fn updated(&self, part: &str, name: &str, weight: &Tensor, scale: f64) -> Result<Option<Tensor>> {
        let mut found = None;
        for update in self.updates_of(part, name) {
            let (Some(down), Some(up)) = (&update.down, &update.up) else { continue };
            let rank = down.shape.first().copied().unwrap_or(0);
            let factor = scale * self.factor(update, rank, name)?;
            let weight = found.as_ref().unwrap_or(weight);
            found = Some(add(name, weight, &up.to_f32(name)?, &down.to_f32(name)?, factor)?);
        }
        Ok(found)
    }

    fn updates_of<'a>(&'a self, part: &'a str, name: &str) -> impl Iterator<Item = &'a Update> + use<'a> {
        let module = module(name);
        let of = move |update: &&Update| update.part == part && module.as_ref() == Some(&update.module);
        self.updates.iter().filter(of)
    }

    /// α/r, or α/√r where PEFT says so.
    fn factor(&self, update: &Update, rank: usize, name: &str) -> Result<f64> {
        let rank = rank as f64;
        if let Some(alpha) = update.alpha {
            return Ok(alpha / rank);
        }
        let field = |field: &str| self.adapter.get(&format!("{}.{field}", update.part));
        let is = |name: &str| field(name).and_then(Value::as_bool) == Some(true);
        if is("use_dora") {
            let why = "DoRA's updates also scale the weights, which is not done here".to_owned();
            return Err(Error::Unsupported { what: "use_dora".to_owned(), why });
        }
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let patterns = field("alpha_pattern").and_then(Value::as_object);
        let of_module = patterns.and_then(|patterns| {
            let ends = |pattern: &str| {
                module.strip_suffix(pattern).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            patterns.iter().find(|(pattern, _)| ends(pattern)).and_then(|(_, alpha)| alpha.as_f64())
        });
        let Some(alpha) = of_module.or_else(|| field("lora_alpha")?.as_f64()) else { return Ok(1.0) };
        Ok(alpha / if is("use_rslora") { rank.sqrt() } else { rank })
    }
}

/// A weight `[out, in …]` plus `factor` times `[out, r] · [r, in …]`.
fn add(name: &str, weight: &Tensor, up: &[f32], down: &[f32], factor: f64) -> Result<Tensor> {
    let mut values = weight.to_f32(name)?;
    let row: usize = weight.shape[1..].iter().product();
    let rank = down.len() / row.max(1);
    for (values, up) in values.chunks_exact_mut(row.max(1)).zip(up.chunks_exact(rank.max(1))) {
        for (down, up) in down.chunks_exact(row).zip(up) {
            let up = (f64::from(*up) * factor) as f32;
            values.iter_mut().zip(down).for_each(|(value, down)| *value += up * down);
        }
    }
    if weight.dtype == Dtype::F16 {
        let bytes = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        return Ok(Tensor { dtype: Dtype::F16, shape: weight.shape.clone(), bytes });
    }
    Ok(Tensor::from_f32(&weight.shape, &values))
}

/// A weight's name as updates have it. Text encoders are saved with a prefix and without.
fn module(name: &str) -> Option<String> {
    let module = name.strip_suffix(".weight")?;
    Some(module.strip_prefix("text_model.").unwrap_or(module).replace('.', "_"))
}

/// The part, the flattened module and the factor that a name stands for.
fn parse(name: &str, layers_per_block: usize) -> Option<(&'static str, String, Factor)> {
    let (start, part) = PARTS.iter().find(|(start, _)| name.starts_with(start))?;
    let name = &name[start.len()..];
    let (end, factor) = ENDS.iter().find(|(end, _)| name.ends_with(end))?;
    let name = &name[..name.len() - end.len()];
    let without = text::split_once(name, ".processor.").map(|(before, after)| format!("{before}.{after}"));
    let mut module = without.as_deref().unwrap_or(name).replace('.', "_");
    if *part != "unet" {
        module = module.strip_prefix("text_model_").unwrap_or(&module).to_owned();
    }
    if end.starts_with("_lora") {
        // These ends stand for one projection, whatever the network calls it.
        const OLD: [(&str, &str, &str); 4] = [
            ("to_q", "to_q", "q_proj"),
            ("to_k", "to_k", "k_proj"),
            ("to_v", "to_v", "v_proj"),
            ("to_out", "to_out_0", "out_proj"),
        ];
        let (old, of_unet, of_text) = OLD.iter().find(|(old, ..)| module.ends_with(old))?;
        module.truncate(module.len() - old.len());
        module += if *part == "unet" { of_unet } else { of_text };
    }
    if *part == "unet" && *start == "lora_unet_" {
        module = of_sgm(&module, layers_per_block).unwrap_or(module);
    }
    Some((part, module, *factor))
}

/// diffusers' name for one that SDXL's own code has, both flattened.
fn of_sgm(module: &str, layers_per_block: usize) -> Option<String> {
    const WHOLE: [(&str, &str); 6] = [
        ("input_blocks_0_0", "conv_in"),
        ("out_2", "conv_out"),
        ("time_embed_0", "time_embedding_linear_1"),
        ("time_embed_2", "time_embedding_linear_2"),
        ("label_emb_0_0", "add_embedding_linear_1"),
        ("label_emb_0_2", "add_embedding_linear_2"),
    ];
    const RESNET: [(&str, &str); 4] = [
        ("in_layers_2", "conv1"),
        ("out_layers_3", "conv2"),
        ("emb_layers_1", "time_emb_proj"),
        ("skip_connection", "conv_shortcut"),
    ];
    let renamed = |list: &[(&str, &str)], name: &str| {
        list.iter().find(|(old, _)| *old == name).map(|(_, new)| (*new).to_owned())
    };
    if let Some(whole) = renamed(&WHOLE, module) {
        return Some(whole);
    }
    let each = layers_per_block.checked_add(1)?;
    let number = |text: &str| text.parse::<usize>().ok();
    let (way, rest) = ["input_blocks_", "middle_block_", "output_blocks_"]
        .iter()
        .enumerate()
        .find_map(|(way, start)| Some((way, module.strip_prefix(start)?)))?;
    let (place, rest) = rest.split_once('_')?;
    let place = number(place)?;
    if way == 1 {
        let resnet = |layer| Some(format!("mid_block_resnets_{layer}_{}", renamed(&RESNET, rest)?));
        return match place {
            0 => resnet(0),
            1 => Some(format!("mid_block_attentions_0_{rest}")),
            2 => resnet(1),
            _ => None,
        };
    }
    let (inner, rest) = rest.split_once('_')?;
    let counted = if way == 0 { place.checked_sub(1)? } else { place };
    let (block, layer) = (counted / each, counted % each);
    let blocks = if way == 0 { "down_blocks" } else { "up_blocks" };
    match (number(inner)?, rest) {
        (_, "op") => Some(format!("down_blocks_{block}_downsamplers_0_conv")),
        (_, "conv") if way == 2 => Some(format!("up_blocks_{block}_upsamplers_0_conv")),
        (0, _) => Some(format!("{blocks}_{block}_resnets_{layer}_{}", renamed(&RESNET, rest)?)),
        (1, _) => Some(format!("{blocks}_{block}_attentions_{layer}_{rest}")),
        _ => None,
    }
}

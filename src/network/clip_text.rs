//! transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`: what makes a prompt's tokens into vectors.

use serde_json::{Map, Value, json};

use super::fields;
use super::ops::{Activation, Attend, Pass, TransformerOps};
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::text::number;

/// The classes in transformers: without and with a projection of the pooled vector.
pub const CLASSES: [&str; 2] = ["CLIPTextModel", "CLIPTextModelWithProjection"];

/// Which token's vector stands for the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooled {
    /// The first with the largest id. Files older than transformers 4.31 say `eos_token_id: 2` and mean this.
    Largest,
    /// The first with this id; the first of all, where none has it.
    First(usize),
}

/// The fields of a CLIP text encoder's config that shape the network, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipTextConfig {
    /// Rows of the table of tokens.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Units between the linear maps of a layer.
    pub intermediate_size: usize,
    /// Layers one after the other.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// The most tokens of a text.
    pub max_position_embeddings: usize,
    /// The nonlinearity.
    pub hidden_act: Activation,
    /// Added to the variance in every normalisation.
    pub layer_norm_eps: f64,
    /// Width of the pooled vector's projection, where there is one.
    pub projection_dim: Option<usize>,
    /// Which token's vector stands for the whole text.
    pub pooled: Pooled,
}

impl ClipTextConfig {
    /// Reads and checks the config of a text encoder of `class`, which the folder's `model_index.json` tells; also returns
    /// the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`] on a value that no network can have, [`Error::Unsupported`] on another class.
    pub fn parse(file: &str, class: &str, object: &Map<String, Value>) -> Result<(Self, Vec<String>)> {
        if !CLASSES.contains(&class) {
            let why = format!("expected {}", CLASSES.join(" or "));
            return Err(Error::Unsupported { what: class.to_owned(), why });
        }
        let f = Fields::new(file, object);
        let width = |field: &str, default| fields::within(&f, field, default, 1, fields::MAX_CHANNELS);
        let hidden_size = width("hidden_size", 512)?;
        let num_attention_heads = width("num_attention_heads", 8)?;
        if !hidden_size.is_multiple_of(num_attention_heads) {
            let expected = format!("a divisor of hidden_size, {hidden_size}");
            return Err(f.error("num_attention_heads", num_attention_heads, expected));
        }
        // It is there in files of both classes.
        let projection = width("projection_dim", 512);
        let projection_dim = if class == CLASSES[1] { Some(projection?) } else { None };
        let why = "Python gives it no mask either, unless this is set";
        fields::only(&f, "use_attention_mask", &json!(false), why)?;
        fields::ignore(&f, &FOREIGN);
        let pooled = match f.usize("eos_token_id", 49407)? {
            2 => Pooled::Largest,
            id => Pooled::First(id),
        };
        let config = Self {
            vocab_size: fields::within(&f, "vocab_size", 49408, 1, 1 << 20)?,
            hidden_size,
            intermediate_size: fields::within(&f, "intermediate_size", 2048, 1, 1 << 16)?,
            num_hidden_layers: fields::within(&f, "num_hidden_layers", 12, 1, 256)?,
            num_attention_heads,
            max_position_embeddings: width("max_position_embeddings", 77)?,
            hidden_act: hidden_act(&f)?,
            layer_norm_eps: fields::epsilon(&f, "layer_norm_eps", 1e-5)?,
            projection_dim,
            pooled,
        };
        Ok((config, f.unknown()))
    }

    /// Whether a text of these tokens can be encoded.
    ///
    /// # Errors
    /// [`Error::Option`] where there are none, more than [`Self::max_position_embeddings`], or one that has no row.
    pub fn check_tokens(&self, ids: &[u32]) -> Result<()> {
        let wrong = |found: String, expected: String| {
            Err(Error::Option {
                option: "prompt",
                found,
                expected: format!("{expected}. The tokenizer of another model?"),
            })
        };
        if !(1..=self.max_position_embeddings).contains(&ids.len()) {
            let expected = format!("1 to {} tokens", self.max_position_embeddings);
            return wrong(format!("{} tokens", ids.len()), expected);
        }
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            Some(id) => wrong(number(f64::from(*id)), format!("ids from 0 to {}", self.vocab_size - 1)),
            None => Ok(()),
        }
    }

    /// The place of the token whose vector stands for the whole text.
    #[must_use]
    pub fn pooled_at(&self, ids: &[u32]) -> usize {
        let sought = match self.pooled {
            Pooled::Largest => ids.iter().max().copied(),
            Pooled::First(id) => u32::try_from(id).ok(),
        };
        ids.iter().position(|id| Some(*id) == sought).unwrap_or(0)
    }
}

/// What transformers writes into a config and no forward pass of diffusers' pipelines asks for.
const FOREIGN: [&str; 15] = [
    "architectures",
    "model_type",
    "attention_dropout",
    "dropout",
    "initializer_factor",
    "initializer_range",
    "bos_token_id",
    "pad_token_id",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "gradient_checkpointing",
    "output_hidden_states",
    "return_dict",
    "tie_word_embeddings",
];

fn hidden_act(f: &Fields) -> Result<Activation> {
    let name = f.string("hidden_act", "quick_gelu")?;
    match name.as_str() {
        "quick_gelu" => Ok(Activation::QuickGelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "silu" | "swish" => Ok(Activation::Silu),
        "relu" => Ok(Activation::Relu),
        "mish" => Ok(Activation::Mish),
        _ => Err(f.error("hidden_act", name, "one of quick_gelu, gelu, gelu_new, silu, relu, mish")),
    }
}

/// A text encoder and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct ClipText<'a> {
    /// The network.
    pub config: &'a ClipTextConfig,
    /// How many of the last layers the tokens' vectors miss, at most all: `hidden_states[-1 - skip]`, and `last_hidden_state` at 0.
    pub skip: usize,
    /// Whether the last normalisation is applied to them: SDXL's are taken without.
    pub normalise: bool,
    /// Whether the pooled vector is wanted too, of all layers and normalised whatever the tokens' vectors are. It is
    /// projected where the config has a projection.
    pub pooled: bool,
}

/// The same from the tokens' rows of the table on, `[batch, hidden_size, tokens, 1]` in the place of ids: who looks them up needs no
/// more of the table than these rows.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedText<'a>(pub ClipText<'a>);

impl Pass for EmbeddedText<'_> {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        encode(ops, &self.0, &inputs[0], inputs.get(1))
    }
}

impl ClipTextConfig {
    /// The key of the table of tokens, `[vocab_size, hidden_size]`.
    pub const TOKENS: &str = "embeddings.token_embedding.weight";
}

/// The inputs are ids `[batch, tokens]` and, for a pooled vector, the places `[batch, 1]` of
/// [`ClipTextConfig::pooled_at`]. The results are the tokens' vectors `[batch, hidden_size, tokens, 1]` and the pooled one.
/// Layers that nothing depends on are left out.
impl Pass for ClipText<'_> {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        let (rows, width) = (self.config.vocab_size, self.config.hidden_size);
        let tokens = ops.token_embedding(&inputs[0], "embeddings.token_embedding", rows, width);
        encode(ops, self, &tokens, inputs.get(1))
    }
}

fn encode<O: TransformerOps + ?Sized>(
    ops: &mut O,
    text: &ClipText,
    tokens: &O::Tensor,
    places: Option<&O::Tensor>,
) -> Vec<O::Tensor> {
    let net = text.config;
    let norm = |ops: &mut O, x: &O::Tensor| ops.layer_norm(x, Some("final_layer_norm"), net.layer_norm_eps);
    let wanted = net.num_hidden_layers.saturating_sub(text.skip);
    let places = places.filter(|_| text.pooled);
    let layers = if places.is_some() { net.num_hidden_layers } else { wanted };
    let mut h = ops.add_positions(tokens, "embeddings.position_embedding", net.max_position_embeddings);
    let mut states = h.clone();
    for i in 0..layers {
        h = layer(ops, net, &format!("encoder.layers.{i}"), &h);
        if i + 1 == wanted {
            states = h.clone();
        }
    }
    if text.normalise {
        states = norm(ops, &states);
    }
    let mut results = vec![states];
    if let Some(places) = places {
        let whole = text.normalise && wanted == layers;
        let last = if whole { results[0].clone() } else { norm(ops, &h) };
        let pooled = ops.token_at(&last, places);
        results.push(match net.projection_dim {
            Some(width) => ops.unbiased(&pooled, "text_projection", width),
            None => pooled,
        });
    }
    results
}

fn layer<O: TransformerOps + ?Sized>(
    ops: &mut O,
    net: &ClipTextConfig,
    path: &str,
    x: &O::Tensor,
) -> O::Tensor {
    let width = net.hidden_size;
    let h = ops.layer_norm(x, Some(&format!("{path}.layer_norm1")), net.layer_norm_eps);
    let q = ops.pointwise(&h, &format!("{path}.self_attn.q_proj"), width);
    let k = ops.pointwise(&h, &format!("{path}.self_attn.k_proj"), width);
    let v = ops.pointwise(&h, &format!("{path}.self_attn.v_proj"), width);
    let y = ops.attend(&q, &k, &v, Attend { heads: net.num_attention_heads, causal: true });
    let y = ops.pointwise(&y, &format!("{path}.self_attn.out_proj"), width);
    let x = ops.add(x, &y);

    let h = ops.layer_norm(&x, Some(&format!("{path}.layer_norm2")), net.layer_norm_eps);
    let h = ops.pointwise(&h, &format!("{path}.mlp.fc1"), net.intermediate_size);
    let h = ops.activation(&h, net.hidden_act);
    let y = ops.pointwise(&h, &format!("{path}.mlp.fc2"), width);
    ops.add(&x, &y)
}

/// A parameter's key as [`ClipText`] asks for it, from the file's: transformers 4 and every encoder with a projection have
/// the network under `text_model.`.
#[must_use]
pub fn todays_key(key: &str) -> &str {
    key.strip_prefix("text_model.").unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &Value) -> ClipTextConfig {
        ClipTextConfig::parse("config.json", CLASSES[0], json.as_object().unwrap()).unwrap().0
    }

    #[test]
    fn the_pooled_token_is_the_first_end() {
        let today = config(&json!({"eos_token_id": 7}));
        assert_eq!(today.pooled_at(&[9, 3, 7, 8, 7]), 2);
        assert_eq!(today.pooled_at(&[9, 3]), 0);
        let old = config(&json!({"eos_token_id": 2}));
        assert_eq!(old.pooled_at(&[2, 3, 9, 8, 9]), 2);
        assert_eq!(config(&json!({})).pooled, Pooled::First(49407));
    }

    #[test]
    fn tokens_have_rows_and_places() {
        let net = config(&json!({"vocab_size": 10, "max_position_embeddings": 4}));
        net.check_tokens(&[9, 0, 0, 0]).unwrap();
        for (ids, says) in [(&[][..], "1 to 4"), (&[0; 5], "5 tokens"), (&[1, 10], "0 to 9")] {
            let told = net.check_tokens(ids).unwrap_err().to_string();
            assert!(told.contains(says), "{told}");
        }
    }
}

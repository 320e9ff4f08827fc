//! A model card: what was trained on what, and how.

use std::fmt::Write as _;

use super::trainer::{Loss, Trainer};
use crate::network::unet::ClassEmbedding;

/// The mean of the losses of the last `MEAN_OF` steps is what a card tells.
const MEAN_OF: usize = 100;

/// A model card in Markdown, `README.md` in the checkpoint's folder. `data` says what the images are and where they came
/// from; `losses` are those of the last steps.
#[must_use]
pub fn card(trainer: &Trainer, data: &str, losses: &[Loss]) -> String {
    let set = trainer.data();
    let recipe = trainer.recipe();
    let [channels, height, width] = set.shape;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |l: &str| _ = writeln!(text, "{l}");
    let diffusers = "library_name: diffusers\npipeline_tag: unconditional-image-generation\n";
    let (library, opens) = match recipe.check_export() {
        Ok(()) if trainer.network().class_embedding() != ClassEmbedding::None => (diffusers, ""),
        Ok(()) => (
            diffusers,
            "Opens in Python: `DDPMPipeline.from_pretrained(\"this folder\")`. The weights are the averaged ones.\n",
        ),
        Err(_) => (
            "",
            "This is not a diffusers folder, as diffusers has no such network. `weights.safetensors` holds the averaged \
             weights, by the names that Noiseball's `src/network/mlp.rs` gives them.\n",
        ),
    };
    line(&format!("---\n{library}tags: [diffusion, noiseball]\n---\n"));
    line("# A diffusion model trained with Noiseball\n");
    line(&if opens.is_empty() { loop_with_labels(trainer) } else { opens.to_owned() });
    line("## Data\n");
    line(&format!("{data}\n"));
    line(&match (height, width) {
        (1, 1) => format!("{} items of {channels} numbers.", set.len()),
        _ => format!("{} images of {width}×{height} pixels, {channels} channels.", set.len()),
    });
    if set.classes() > 0 {
        let names: Vec<String> = set.names.iter().enumerate().map(|(i, n)| format!("{i} {n:?}")).collect();
        line(&format!("Classes: {}. Label {} stands for any of them.", names.join(", "), set.classes()));
    }
    line("\n## Training\n");
    line(&format!(
        "- {} of {} steps, {} examples a step, {} parameters",
        trainer.step_number(),
        recipe.steps,
        recipe.batch,
        trainer.parameter_count()
    ));
    let last = &losses[losses.len().saturating_sub(MEAN_OF)..];
    if let (Some(first), Some(end)) = (last.first(), last.last()) {
        let mean = last.iter().map(|l| f64::from(l.mean)).sum::<f64>() / last.len() as f64;
        line(&format!("- mean loss of steps {} to {}: {mean:.4}", first.step + 1, end.step + 1));
    }
    line("\nThe recipe, with which the same data give the same run:\n\n```json");
    line(&serde_json::to_string_pretty(recipe).unwrap_or_default());
    line("```");
    text
}

/// How to sample from classes in Python: diffusers' pipelines for such networks give them no label, and fail.
fn loop_with_labels(trainer: &Trainer) -> String {
    let [channels, height, width] = trainer.data().shape;
    let steps = trainer.schedule().train_timesteps().min(50);
    // What a network learned of the variance, DDIM does not use.
    let learned = trainer.network().out_channels() > channels;
    let prediction = if learned { format!("[:, :{channels}]") } else { String::new() };
    format!(
        r#"Opens in Python. The weights are the averaged ones. diffusers' pipelines know no labels, so that a loop samples it:

```python
import torch
from diffusers import DDIMScheduler, UNet2DModel

folder = "this folder"
unet = UNet2DModel.from_pretrained(folder, subfolder="unet")
scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
scheduler.set_timesteps({steps})
labels = torch.arange({classes})  # one picture of each class
x = torch.randn(len(labels), {channels}, {height}, {width}, generator=torch.manual_seed(0))
for t in scheduler.timesteps:
    with torch.no_grad():
        output = unet(x, t, class_labels=labels).sample{prediction}
    x = scheduler.step(output, t, x).prev_sample
pictures = (x / 2 + 0.5).clamp(0, 1)  # [pictures, channels, height, width]
```
"#,
        classes = trainer.data().classes(),
    )
}

//! A checkpoint's JSON files become the plan of a network, or are refused. The input is the network's config, the scheduler's,
//! the labels, the pipeline's index and an index of shards, with zero bytes between them.
#![no_main]

use noiseball::Checkpoint;
use noiseball::checkpoint::json::parse_object;
use noiseball::checkpoint::labels::Labels;
use noiseball::checkpoint::weights::Weights;
use noiseball::checkpoint::{Opening, Wanted};
use noiseball::engine::Plan;
use noiseball::model::ModelConfig;

const NAMES: [&str; 5] =
    ["unet/config.json", "scheduler_config.json", "labels.json", "model_index.json", "index.json"];

/// Opens a folder of these files and no weights: it never becomes a checkpoint.
fn open(files: &[&[u8]]) -> noiseball::Result<()> {
    let mut opening = Opening::unlisted("fuzz", None)?;
    while let Some(Wanted { path, .. }) = opening.wanted().first() {
        match NAMES.iter().position(|name| path.ends_with(name)).and_then(|at| files.get(at)) {
            Some(bytes) if !bytes.is_empty() => opening.give(path, bytes)?,
            _ => opening.absent(path)?,
        }
    }
    Ok(())
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let files: Vec<&[u8]> = input.split(|byte| *byte == 0).collect();
    assert!(open(&files).is_err());
    let mut files = files.into_iter();
    let mut next = || files.next().filter(|file| !file.is_empty());
    let Some(Ok(unet_config)) = next().map(|file| parse_object("config.json", file)) else { return };
    let scheduler_config = next().and_then(|file| parse_object("scheduler_config.json", file).ok());
    let labels = next().and_then(|file| Labels::parse("labels.json", file).ok());
    let model_index = next().and_then(|file| parse_object("model_index.json", file).ok());
    let checkpoint =
        Checkpoint { model_index, unet_config, scheduler_config, labels, weights: Weights::default() };
    let Ok(config) = ModelConfig::read(&checkpoint) else { return };
    let _ = config.schedule.timesteps(10);
    let [height, width] = config.size;
    for batch in [1, 3] {
        let _ = Plan::new(&*config.network, batch, height, width).map(|plan| plan.to_string());
    }
});

//! `noiseball pack`.

use std::fs;
use std::path::{Path, PathBuf};

use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::save::{PackingError, safetensors};
use noiseball::read::{open_regular, read_regular};
use noiseball::{Error, Result, store, text};

use crate::output;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder that diffusers saved, of one network or of a whole pipeline
    checkpoint: PathBuf,
    /// The new folder; one that has files in it is left alone
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// More bytes than the weights that are packed here have: a file is packed as a whole.
const MAX_WEIGHTS: u64 = 16 << 30;
/// More than any other file of a checkpoint: a tokenizer's vocabulary.
const MAX_SMALL: u64 = 16 << 20;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut files = Vec::new();
    list(&arguments.checkpoint, "", &mut files)?;
    let (weights, small): (Vec<&String>, Vec<&String>) =
        files.iter().partition(|name| name.ends_with(".safetensors"));
    if let Some(bin) = files.iter().find(|name| name.ends_with(".bin")) {
        return Err(Error::Unsupported {
            what: bin.clone(),
            why: "weights are packed from safetensors. Write the checkpoint anew with `noiseball convert` or in Python".to_owned(),
        });
    }
    if weights.is_empty() {
        let found = if files.is_empty() { "nothing".to_owned() } else { files.join(", ") };
        return Err(Error::MissingFile { wanted: "*.safetensors".to_owned(), found });
    }
    let mut report = String::new();
    let (mut total, mut all) = ([0, 0], PackingError::default());
    store::make_whole(&arguments.out, |folder| {
        for name in &small {
            folder.write(name, &read_regular(&arguments.checkpoint.join(name), MAX_SMALL)?)?;
        }
        for name in &weights {
            let bytes = read_regular(&arguments.checkpoint.join(name), MAX_WEIGHTS)?;
            let mut reader = WeightsReader::new(name.as_str());
            reader.push(&bytes)?;
            let (before, mut tensors) = (bytes.len(), reader.finish()?);
            drop(bytes);
            let cost = tensors.pack()?;
            let packed = safetensors(&tensors);
            folder.write(name, &packed)?;
            report += &format!(
                "{}: {} of {} tensors packed, {} → {} MB, error {:.2} %{}\n",
                text::name(name),
                cost.packed,
                tensors.len(),
                megabytes(before),
                megabytes(packed.len()),
                100.0 * cost.relative(),
                worst(&cost),
            );
            total = [total[0] + before, total[1] + packed.len()];
            (all.squares, all.error) = (all.squares + cost.squares, all.error + cost.error);
        }
        Ok(())
    })?;
    report += &format!(
        "{}: {} → {} MB of weights, error {:.2} %\n",
        arguments.out.display(),
        megabytes(total[0]),
        megabytes(total[1]),
        100.0 * all.relative()
    );
    output::print(&report)
}

fn worst(cost: &PackingError) -> String {
    let (name, error) = &cost.worst;
    if name.is_empty() {
        String::new()
    } else {
        format!(", at most {:.2} % in {}", 100.0 * error, text::name(name))
    }
}

fn megabytes(bytes: usize) -> String {
    format!("{:.2}", bytes as f64 / 1e6)
}

/// The names of all files in a folder and one level below it, as a pipeline has them; hidden ones are left out.
fn list(root: &Path, within: &str, files: &mut Vec<String>) -> Result<()> {
    let folder = root.join(within);
    let entries = fs::read_dir(&folder).map_err(Error::io(&folder))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(&folder))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') {
            names.push((name, entry.path()));
        }
    }
    names.sort();
    for (name, path) in names {
        if path.is_dir() {
            if within.is_empty() {
                list(root, &format!("{name}/"), files)?;
            }
        } else {
            open_regular(&path)?;
            files.push(format!("{within}{name}"));
        }
    }
    Ok(())
}

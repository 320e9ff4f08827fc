//! A run that outgrows one device, as a script for Hugging Face's accelerate.

use super::dataset::Pixels;
use super::objective::Objective;
use super::trainer::Trainer;
use crate::checkpoint::save::File;
use crate::error::{Error, Result};
use crate::npy;

impl Trainer {
    /// The files of a folder from which `accelerate launch train.py` does this run in Python, on as many devices as there
    /// are: the script and what it needs installed, the recipe, the data, and the model as it is now (its averaged
    /// weights, which for a run that has not begun are the initial ones). Its random numbers are PyTorch's.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an objective that the script does not know, [`Error::DeviceLost`].
    pub async fn accelerate(&self) -> Result<Vec<File>> {
        if self.recipe().objective == Objective::Hybrid {
            return Err(Error::Unsupported {
                what: "the hybrid objective in an accelerate script".to_owned(),
                why:
                    "diffusers' own training script does not know it either; train it here, or with `simple`"
                        .to_owned(),
            });
        }
        let checkpoint = self.checkpoint().await?;
        let recipe = serde_json::to_vec_pretty(self.recipe()).unwrap_or_default();
        let mut files = vec![
            ("train.py".to_owned(), include_bytes!("train.py").to_vec()),
            ("requirements.txt".to_owned(), include_bytes!("requirements.txt").to_vec()),
            ("recipe.json".to_owned(), recipe),
            ("data.npz".to_owned(), self.arrays()?),
        ];
        files.extend(checkpoint.files().into_iter().map(|(path, bytes)| (format!("model/{path}"), bytes)));
        Ok(files)
    }

    /// The data as NumPy's archive: `images`, `[count, channels, height, width]`, and `labels`.
    fn arrays(&self) -> Result<Vec<u8>> {
        let data = self.data();
        let [channels, height, width] = data.shape;
        let images = match &data.pixels {
            Pixels::Bytes(bytes) => ("|u1", bytes.clone()),
            Pixels::Floats(floats) => ("<f4", floats.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        let shape = [data.len(), channels, height, width];
        let mut entries = vec![("images.npy".to_owned(), npy::encode(images.0, &shape, &images.1))];
        if let Some(labels) = &data.labels {
            let bytes: Vec<u8> = labels.iter().flat_map(|l| l.to_le_bytes()).collect();
            entries.push(("labels.npy".to_owned(), npy::encode("<u4", &[labels.len()], &bytes)));
        }
        zip(&entries)
    }
}

/// A ZIP archive of stored files.
///
/// # Errors
/// [`Error::Io`] where a name is too long for the format.
pub fn zip(files: &[File]) -> Result<Vec<u8>> {
    use std::io::{Error as IoError, Write};
    let write = || -> std::io::Result<Vec<u8>> {
        let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
        for (name, bytes) in files {
            let (mut entry, config) = archive.new_file(name.as_str()).start().map_err(IoError::other)?;
            let mut writer = config.wrap(&mut entry);
            writer.write_all(bytes)?;
            let (_, descriptor) = writer.finish().map_err(IoError::other)?;
            entry.finish(descriptor).map_err(IoError::other)?;
        }
        archive.finish().map_err(IoError::other)
    };
    write().map_err(|source| Error::Io { path: "archive".to_owned(), source })
}

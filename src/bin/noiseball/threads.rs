//! `--threads`.

use noiseball::{Error, Result};

#[derive(clap::Args)]
pub(crate) struct Threads {
    /// Threads that compute where the CPU does; results are the same for any number [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// Has so many threads from here on; to be called once, before anything is computed.
    pub(crate) fn start(&self) -> Result<()> {
        let Some(threads) = self.threads else { return Ok(()) };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads));
        pool.build_global().map_err(|problem| Error::Option {
            option: "threads",
            found: format!("{threads}, which this machine refuses ({problem})"),
            expected: "fewer".to_owned(),
        })
    }
}

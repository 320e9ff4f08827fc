//! Checkpoints from an address, natively. Files cannot be listed there, so the two layouts are tried in turn.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;

use super::folder::layouts;
use super::open::{Observer, Source, pump, read_labels, read_object, read_small};
use super::safetensors::WeightsReader;
use super::weights::Weights;
use super::{Checkpoint, labels::Labels};
use crate::error::{Error, Result};

/// Silence that counts as a broken connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the second and last try.
const PAUSE: Duration = Duration::from_millis(500);

/// Opens the checkpoint at an address: that of its folder.
pub(super) fn open_address(
    address: &str,
    variant: Option<&str>,
    observer: Observer<'_>,
) -> Result<Checkpoint> {
    open_site(&Site::new(address, PATIENCE), variant, observer)
}

fn open_site(site: &Site, variant: Option<&str>, observer: Observer<'_>) -> Result<Checkpoint> {
    let layouts = layouts(variant)?;
    for layout in &layouts {
        let Some(unet_config) = read_object(site, layout.unet_config)? else { continue };
        let mut scheduler_config = None;
        for name in layout.scheduler_config {
            if scheduler_config.is_none() {
                scheduler_config = read_object(site, name)?;
            }
        }
        let labels: Option<Labels> = read_labels(site, layout.labels)?;
        let model_index = read_object(site, layout.model_index)?;
        let checkpoint =
            Checkpoint { model_index, unet_config, scheduler_config, labels, weights: Weights::default() };
        return checkpoint.with_weights(site, &layout.weights, observer);
    }
    Err(site
        .failed("", format!("neither {} nor {} is there", layouts[0].unet_config, layouts[1].unet_config)))
}

/// A folder on a server.
struct Site {
    /// Up to and with the last slash.
    base: String,
    /// What follows a file's name: `?download=true` or a signature.
    query: String,
    agent: Agent,
}

impl Site {
    fn new(address: &str, patience: Duration) -> Self {
        let address = address.split('#').next().unwrap_or(address);
        let (base, query) = address.find('?').map_or((address, ""), |at| address.split_at(at));
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("noiseball/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience));
        // As in a browser: what runs on this very machine is not asked for through a proxy.
        let host = base.split("://").nth(1).unwrap_or("");
        if host.starts_with("127.0.0.1") || host.starts_with("localhost") || host.starts_with("[::1]") {
            config = config.proxy(None);
        }
        Self {
            base: format!("{}/", base.trim_end_matches('/')),
            query: query.to_owned(),
            agent: config.build().new_agent(),
        }
    }

    fn url(&self, name: &str) -> String {
        format!("{}{name}{}", self.base, self.query)
    }

    fn failed(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::Fetch { url: self.url(name), problem: problem.into() }
    }

    /// Asks for a file, twice if the connection or the server fails, and hands its bytes and their announced number to
    /// `read`, whose outer error asks for the second try. None where there is no such file.
    fn get<T>(
        &self,
        name: &str,
        mut read: impl FnMut(&mut dyn Read, Option<u64>) -> std::io::Result<Result<T>>,
    ) -> Result<Option<T>> {
        let mut problem = String::new();
        for attempt in 0..2 {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let mut response = match self.agent.get(self.url(name)).call() {
                Ok(response) => response,
                Err(e @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                    return Err(self.failed(name, format!("{e}. Check the address")));
                }
                Err(e) => {
                    problem = format!("{e}. Check the connection and the address");
                    continue;
                }
            };
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
                status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                    return Err(self.failed(
                        name,
                        format!("HTTP {}: there is no such model, or it is not public", status.as_u16()),
                    ));
                }
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                    problem = format!("HTTP {}. Try again later", status.as_u16());
                    continue;
                }
                status => {
                    return Err(self.failed(name, format!("HTTP {}. Check the address", status.as_u16())));
                }
            }
            // Many servers answer with their start page for a file that they do not have.
            if response.body().mime_type() == Some("text/html") {
                return Ok(None);
            }
            let len = response.body().content_length();
            match read(&mut response.body_mut().as_reader(), len) {
                Ok(result) => return result.map(Some),
                Err(e) => problem = format!("the connection broke ({e}). Try again"),
            }
        }
        Err(self.failed(name, problem))
    }
}

impl Source for Site {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.get(name, |body, _| read_small(name, body))
    }

    fn stream(&self, name: &str, reader: &mut WeightsReader, observer: Observer<'_>) -> Result<bool> {
        let found = self.get(name, |body, len| {
            reader.restart();
            if let Some(len) = len {
                reader.expect_len(len);
            }
            let pumped = pump(body, reader, &mut *observer)?;
            // Without an announced length a broken connection looks like the end.
            if pumped.is_ok() && reader.total().is_some_and(|total| reader.received() < total) {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok(pumped)
        })?;
        Ok(found.is_some())
    }
}

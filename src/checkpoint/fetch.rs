//! Checkpoints from an address, natively.

use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::http::StatusCode;

use super::Checkpoint;
use super::address::Address;
use super::opening::Opening;
use super::pump::{self, Got, Observer, Source, push_all, read_small};
use crate::error::{Error, Result};

/// Silence that counts as a broken connection.
const PATIENCE: Duration = Duration::from_secs(30);
/// Before the second and last try.
const PAUSE: Duration = Duration::from_millis(500);

/// Opens the checkpoint at an address.
pub(super) fn open(address: &Address, variant: Option<&str>, observer: Observer<'_>) -> Result<Checkpoint> {
    open_site(&Site::new(address.clone(), PATIENCE), variant, observer)
}

/// The folder at an address.
#[cfg(feature = "text")]
pub(super) fn source(address: &Address) -> Box<dyn Source> {
    Box::new(Site::new(address.clone(), PATIENCE))
}

fn open_site(site: &Site, variant: Option<&str>, observer: Observer<'_>) -> Result<Checkpoint> {
    pump::open(Opening::unlisted(&site.address.file(""), variant)?, site, observer)
}

/// A folder on a server.
struct Site {
    address: Address,
    agent: Agent,
}

impl Site {
    fn new(address: Address, patience: Duration) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("noiseball/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience));
        // As in a browser: what runs on this very machine is not asked for through a proxy.
        let host = address.folder.split("://").nth(1).unwrap_or("");
        if host.starts_with("127.0.0.1") || host.starts_with("localhost") || host.starts_with("[::1]") {
            config = config.proxy(None);
        }
        Self { address, agent: config.build().new_agent() }
    }

    fn failed(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::Fetch { url: self.address.file(name), problem: problem.into() }
    }

    /// Asks for a file, twice if the connection or the server fails, and hands its bytes and their announced number to
    /// `read`, whose outer error asks for the second try.
    fn get<T>(
        &self,
        name: &str,
        mut read: impl FnMut(&mut dyn Read, Option<u64>) -> std::io::Result<Result<T>>,
    ) -> Result<Got<T>> {
        let mut problem = String::new();
        for attempt in 0..2 {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let mut response = match self.agent.get(self.address.file(name)).call() {
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
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Got::Absent),
                StatusCode::FORBIDDEN => return Ok(Got::Refused),
                StatusCode::UNAUTHORIZED => {
                    return Err(self.failed(name, "HTTP 401: there is no such model, or it is not public"));
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
                return Ok(Got::Absent);
            }
            let len = response.body().content_length();
            match read(&mut response.body_mut().as_reader(), len) {
                Ok(result) => return result.map(Got::Here),
                Err(e) => problem = format!("the connection broke ({e}). Try again"),
            }
        }
        Err(self.failed(name, problem))
    }
}

impl Source for Site {
    fn read(&self, path: &str) -> Result<Got<Vec<u8>>> {
        self.get(path, |body, _| read_small(body).map(Ok))
    }

    fn stream(&self, path: &str, opening: &mut Opening, observer: Observer<'_>) -> Result<Got<()>> {
        self.get(path, |body, len| {
            if let Err(error) = opening.begin(path, len) {
                return Ok(Err(error));
            }
            let pushed = push_all(body, opening, &mut *observer)?;
            // Without an announced length a broken connection looks like the end.
            let (received, total) = opening.progress();
            if pushed.is_ok() && total.is_some_and(|total| received < total) {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            Ok(pushed)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_falls_silent_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        // Accepts, answers in part or not at all, and never closes.
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for (i, stream) in listener.incoming().flatten().enumerate() {
                let mut stream = stream;
                if i % 2 == 0 {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
                }
                open.push(stream);
            }
        });
        let started = std::time::Instant::now();
        let address = Address { folder: format!("{address}/"), query: String::new() };
        let site = Site::new(address, Duration::from_millis(200));
        let result = open_site(&site, None, &mut |_| Ok(()));
        assert!(matches!(result, Err(Error::Fetch { .. })), "{result:?}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}

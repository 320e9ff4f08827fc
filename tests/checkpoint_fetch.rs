//! Checkpoints from a server: a small one on this machine that answers as told.
#![cfg(all(feature = "fetch", not(target_arch = "wasm32")))]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::{fs, thread};

use noiseball::Error;
use noiseball::checkpoint::{Checkpoint, Progress};

const CONFIG: &str = "/unet/config.json";
const WEIGHTS: &str = "/unet/diffusion_pytorch_model.safetensors";

enum Reply {
    Ok(Vec<u8>),
    /// With this status line and these headers, and then the body.
    With(&'static str, &'static str, Vec<u8>),
    /// Announces all bytes and sends half of them.
    Cut(Vec<u8>),
    /// Sends half of the bytes and announces nothing.
    CutUnannounced(Vec<u8>),
    Missing,
}

/// What the fixture of this name answers to a path.
fn fixture(name: &'static str) -> impl Fn(&str) -> Reply {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name);
    move |path| fs::read(folder.join(&path[1..])).map_or(Reply::Missing, Reply::Ok)
}

fn local(name: &str) -> Checkpoint {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name);
    Checkpoint::open(folder.to_str().unwrap()).unwrap()
}

fn bytes(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Ok(bytes) => bytes,
        _ => panic!("no such fixture"),
    }
}

fn answer(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    let mut send = |status: &str, headers: &str, len: Option<usize>, body: &[u8]| {
        let len = len.map_or(String::new(), |len| format!("Content-Length: {len}\r\n"));
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}{len}\r\n")?;
        stream.write_all(body)
    };
    match reply {
        Reply::Ok(body) => send("200 OK", "", Some(body.len()), &body),
        Reply::With(status, headers, body) => send(status, headers, Some(body.len()), &body),
        Reply::Cut(body) => send("200 OK", "", Some(body.len()), &body[..body.len() / 2]),
        Reply::CutUnannounced(body) => send("200 OK", "", None, &body[..body.len() / 2]),
        Reply::Missing => send("404 Not Found", "", Some(9), b"not found"),
    }
}

/// Serves until the test ends. The site is told the path and how often that was asked for before. Returns the address
/// and the paths asked for.
fn serve(site: impl Fn(&str, usize) -> Reply + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::<String>::new()));
    let asked = Arc::clone(&log);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let Some(path) = lines.next().and_then(|l| l.split(' ').nth(1).map(str::to_owned)) else {
                continue;
            };
            for line in lines {
                if line.is_empty() {
                    break;
                }
                assert!(
                    !line.to_lowercase().starts_with("accept-encoding"),
                    "a compressed length is no file's"
                );
            }
            let before = asked.lock().unwrap().iter().filter(|p| **p == path).count();
            asked.lock().unwrap().push(path.clone());
            // The client may have hung up: its affair.
            let _ = answer(stream, site(&path, before));
        }
    });
    (address, log)
}

fn problem(result: Result<Checkpoint, Error>, at: &str) -> String {
    match result {
        Err(Error::Fetch { url, problem }) => {
            assert!(url.ends_with(at), "{url}");
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_served_folder_is_as_on_disk() {
    let site = fixture("class-conditional");
    let (address, log) = serve(move |path, _| site(path));
    assert_eq!(Checkpoint::open(&address).unwrap(), local("class-conditional"));
    // Nothing but the checkpoint's own files is asked for, each once.
    let expected = [CONFIG, "/scheduler/scheduler_config.json", "/labels.json", "/model_index.json", WEIGHTS];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[test]
fn the_flat_layout_is_tried_second() {
    for (missing, html) in [
        ("404 Not Found", "Content-Type: text/plain\r\n"),
        ("200 OK", "Content-Type: text/html; charset=utf-8\r\n"),
    ] {
        let site = fixture("layout-b");
        let (address, log) = serve(move |path, _| match site(path) {
            // Some servers answer with their start page.
            Reply::Missing => Reply::With(missing, html, b"<!DOCTYPE html>".to_vec()),
            found => found,
        });
        assert_eq!(Checkpoint::open(&format!("{address}/")).unwrap(), local("layout-b"));
        assert_eq!(log.lock().unwrap()[..2], [CONFIG, "/config.json"]);
    }
}

#[test]
fn a_query_stays_with_every_file() {
    let site = fixture("layout-a");
    let (address, _) = serve(move |path, _| match path.strip_suffix("?token=a/b") {
        Some(path) => site(path.strip_prefix("/models/cats").unwrap()),
        None => Reply::With("403 Forbidden", "", vec![]),
    });
    assert_eq!(
        Checkpoint::open(&format!("{address}/models/cats/?token=a/b#top")).unwrap(),
        local("layout-a")
    );
}

#[test]
fn a_variant_is_asked_for_by_name() {
    let site = fixture("f16-variant");
    let (address, log) = serve(move |path, _| site(path));
    assert_eq!(Checkpoint::open_with(&address, Some("fp16"), &mut |_| Ok(())).unwrap(), local("f16-variant"));
    assert!(log.lock().unwrap().iter().any(|p| p.ends_with(".fp16.safetensors")));
    assert!(
        matches!(Checkpoint::open(&address), Err(Error::MissingFile { wanted, .. }) if wanted.contains("index"))
    );
}

#[test]
fn a_redirection_is_followed() {
    let site = fixture("layout-a");
    let (address, _) = serve(move |path, _| match path.strip_prefix("/moved") {
        Some(path) => site(path),
        None if path == WEIGHTS => {
            Reply::With("302 Found", "Location: /moved/unet/diffusion_pytorch_model.safetensors\r\n", vec![])
        }
        None => site(path),
    });
    assert_eq!(Checkpoint::open(&address).unwrap(), local("layout-a"));
}

#[test]
fn a_broken_connection_is_tried_once_more() {
    type Break = fn(Vec<u8>) -> Reply;
    let broken: [Break; 3] =
        [Reply::Cut, Reply::CutUnannounced, |_| Reply::With("503 Service Unavailable", "", vec![])];
    for (broken, says) in broken.into_iter().zip(["broke", "broke", "HTTP 503"]) {
        for path in [CONFIG, WEIGHTS] {
            // A small file that ends early without an announced length is simply another file.
            if path == CONFIG && matches!(broken(vec![]), Reply::CutUnannounced(_)) {
                continue;
            }
            let site = fixture("layout-a");
            let (address, log) = serve(move |asked, before| match site(asked) {
                Reply::Ok(bytes) if asked == path && before == 0 => broken(bytes),
                reply => reply,
            });
            let mut highest = 0;
            let opened = Checkpoint::open_with(&address, None, &mut |progress| {
                if let Progress::Weights { received, .. } = progress {
                    highest = received.max(highest);
                }
                Ok(())
            });
            assert_eq!(opened.unwrap(), local("layout-a"));
            assert_eq!(highest, bytes(fixture("layout-a")(WEIGHTS)).len() as u64);
            assert_eq!(log.lock().unwrap().iter().filter(|p| *p == path).count(), 2);

            let site = fixture("layout-a");
            let (address, log) = serve(move |asked, _| match site(asked) {
                Reply::Ok(bytes) if asked == path => broken(bytes),
                reply => reply,
            });
            let found = problem(Checkpoint::open(&address), path);
            assert!(found.contains(says), "{found}");
            assert_eq!(log.lock().unwrap().iter().filter(|p| *p == path).count(), 2);
        }
    }
}

#[test]
fn a_refusal_is_final() {
    for (status, says) in [
        ("401 Unauthorized", "HTTP 401: there is no such model, or it is not public"),
        ("403 Forbidden", "HTTP 403"),
        ("400 Bad Request", "HTTP 400"),
        ("204 No Content", "HTTP 204"),
    ] {
        let (address, log) = serve(move |_, _| Reply::With(status, "", vec![]));
        let found = problem(Checkpoint::open(&address), CONFIG);
        assert!(found.contains(says), "{found}");
        assert_eq!(log.lock().unwrap().len(), 1);
    }
    let (address, log) = serve(|_, _| Reply::Missing);
    let found = problem(Checkpoint::open(&address), "/");
    assert!(found.contains("unet/config.json") && found.contains("nor config.json"), "{found}");
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[test]
fn bad_files_are_bad_from_a_server_too() {
    for (path, reply) in [
        (CONFIG, (|_| Reply::Ok(b"[1]".to_vec())) as fn(Vec<u8>) -> Reply),
        (CONFIG, |_| Reply::Ok(vec![b' '; 5 << 20])),
        (WEIGHTS, |_| Reply::Ok(b"<html>no content type".to_vec())),
        (WEIGHTS, |bytes| Reply::Ok(bytes[..bytes.len() - 1].to_vec())),
        (WEIGHTS, |bytes| Reply::Ok([bytes, vec![0]].concat())),
        (WEIGHTS, |_| Reply::Ok(vec![])),
    ] {
        let site = fixture("layout-a");
        let (address, log) = serve(move |asked, _| match site(asked) {
            Reply::Ok(bytes) if asked == path => reply(bytes),
            other => other,
        });
        let e = Checkpoint::open(&address).unwrap_err();
        assert!(matches!(e, Error::Json { .. } | Error::Safetensors { .. }), "{e}");
        assert_eq!(log.lock().unwrap().iter().filter(|p| *p == path).count(), 1);
    }
}

#[test]
fn shards_are_fetched_by_their_index() {
    let whole = bytes(fixture("layout-a")(WEIGHTS));
    let map: serde_json::Map<_, _> =
        local("layout-a").weights.names().map(|n| (n.to_owned(), "one.safetensors".into())).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    let site = fixture("layout-a");
    let (address, log) = serve(move |path, _| match path {
        WEIGHTS => Reply::Missing,
        "/unet/diffusion_pytorch_model.safetensors.index.json" => Reply::Ok(index.clone().into_bytes()),
        "/unet/one.safetensors" => Reply::Ok(whole.clone()),
        path => site(path),
    });
    assert_eq!(Checkpoint::open(&address).unwrap(), local("layout-a"));
    assert_eq!(log.lock().unwrap().last().unwrap(), "/unet/one.safetensors");
}

#[test]
fn an_observer_stops_a_download() {
    let site = fixture("layout-a");
    let (address, log) = serve(move |path, _| site(path));
    let stopped = Checkpoint::open_with(&address, None, &mut |p| match p {
        Progress::Config(_) => Err(Error::Aborted),
        _ => Ok(()),
    });
    assert!(matches!(stopped, Err(Error::Aborted)));
    assert!(!log.lock().unwrap().iter().any(|p| p == WEIGHTS));
}

#[test]
fn nobody_there() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let found = problem(Checkpoint::open(&format!("http://127.0.0.1:{port}")), CONFIG);
    assert!(found.contains("Check the connection"), "{found}");
    for address in ["http://", "https://a b/c", "http://[::1/x", "http:///x"] {
        assert!(matches!(Checkpoint::open(address), Err(Error::Fetch { .. })), "{address}");
    }
}

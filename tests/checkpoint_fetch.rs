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
    let expected = [CONFIG, "/model_index.json", "/scheduler/scheduler_config.json", "/labels.json", WEIGHTS];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[test]
fn the_flat_layout_is_tried_second() {
    for (missing, html) in [
        ("404 Not Found", "Content-Type: text/plain\r\n"),
        // What S3 says of a file that it does not have.
        ("403 Forbidden", "Content-Type: application/xml\r\n"),
        ("200 OK", "Content-Type: text/html; charset=utf-8\r\n"),
    ] {
        let site = fixture("layout-b");
        let (address, log) = serve(move |path, _| match site(path) {
            // Some servers answer with their start page.
            Reply::Missing => Reply::With(missing, html, b"<!DOCTYPE html>".to_vec()),
            found => found,
        });
        assert_eq!(Checkpoint::open(&format!("{address}/")).unwrap(), local("layout-b"));
        let expected = [CONFIG, "/model_index.json", "/config.json", "/scheduler_config.json"];
        assert_eq!(log.lock().unwrap()[..4], expected);
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
    // Where there are no plain weights, it is tried unasked.
    assert_eq!(Checkpoint::open(&address).unwrap(), local("f16-variant"));
    let other = Checkpoint::open_with(&address, Some("ema"), &mut |_| Ok(()));
    assert!(matches!(other, Err(Error::MissingFile { wanted, .. }) if wanted.contains("ema.safetensors")));
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
        ("400 Bad Request", "HTTP 400"),
        ("204 No Content", "HTTP 204"),
    ] {
        let (address, log) = serve(move |_, _| Reply::With(status, "", vec![]));
        let found = problem(Checkpoint::open(&address), CONFIG);
        assert!(found.contains(says), "{found}");
        assert_eq!(log.lock().unwrap().len(), 1);
    }
    for (status, says) in [
        ("404 Not Found", "neither unet/config.json nor config.json"),
        ("403 Forbidden", "HTTP 403: there is no such model, or it is not public"),
    ] {
        let (address, log) = serve(move |_, _| Reply::With(status, "", vec![]));
        let found = problem(Checkpoint::open(&address), "/");
        assert!(found.contains(says), "{found}");
        assert_eq!(*log.lock().unwrap(), [CONFIG, "/model_index.json", "/config.json"]);
    }
    // The weights alone are forbidden.
    let site = fixture("layout-a");
    let (address, _) = serve(move |path, _| match path {
        WEIGHTS => Reply::With("403 Forbidden", "", vec![]),
        path => site(path),
    });
    match Checkpoint::open(&address) {
        Err(Error::MissingFile { wanted, found }) => {
            assert!(WEIGHTS.ends_with(&wanted) && found.contains("HTTP 403"), "{wanted}, {found}");
        }
        other => panic!("{other:?}"),
    }
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

/// tests/fixtures/opening.json: what is in a folder, and what becomes of it. The page is held to the same table by
/// tests/js/opening.test.mjs.
mod table {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use noiseball::{Device, Model};
    use serde_json::{Map, Value, json};

    use super::*;

    const CHECKPOINTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints");

    /// Name, dtype, shape and bytes.
    type Tensor = (String, Value, Value, Vec<u8>);

    fn layout_a() -> Vec<Tensor> {
        let file = fs::read(format!("{CHECKPOINTS}/layout-a{WEIGHTS}")).unwrap();
        let start = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: Map<String, Value> = serde_json::from_slice(&file[8..start]).unwrap();
        let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
        tensors
            .map(|(name, t)| {
                let at = |i: usize| start + t["data_offsets"][i].as_u64().unwrap() as usize;
                (name, t["dtype"].clone(), t["shape"].clone(), file[at(0)..at(1)].to_vec())
            })
            .collect()
    }

    fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
        let (mut header, mut data) = (Map::new(), Vec::new());
        for (name, dtype, shape, bytes) in tensors {
            let end = data.len() + bytes.len();
            header.insert(
                name.clone(),
                json!({ "dtype": dtype, "shape": shape, "data_offsets": [data.len(), end] }),
            );
            data.extend(bytes);
        }
        let header = serde_json::to_vec(&header).unwrap();
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }

    fn content(spec: &Value) -> Vec<u8> {
        if let Some(path) = spec["copy"].as_str() {
            let bytes = fs::read(format!("{CHECKPOINTS}/{path}")).unwrap();
            let Some(changes) = spec["with"].as_object() else { return bytes };
            let mut object: Map<String, Value> = serde_json::from_slice(&bytes).unwrap();
            object.extend(changes.clone());
            serde_json::to_vec(&object).unwrap()
        } else if let Some(text) = spec["text"].as_str() {
            text.as_bytes().to_vec()
        } else if let Some(count) = spec["spaces"].as_u64() {
            vec![b' '; count as usize]
        } else if let Some(shapes) = spec["tensors"].as_object() {
            let tensors: Vec<Tensor> = shapes
                .iter()
                .map(|(name, shape)| {
                    let count: u64 = shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product();
                    (name.clone(), json!("F32"), shape.clone(), vec![0; 4 * count as usize])
                })
                .collect();
            safetensors(&tensors)
        } else if let Some(marker) = spec["weights"].as_str() {
            // The marker is a tensor that nobody asks for, by which the file is known again.
            let mut tensors = layout_a();
            tensors.retain(|(name, ..)| spec["drop"] != **name);
            tensors.push((format!("marker.{marker}"), json!("F32"), json!([0]), Vec::new()));
            let behind = |prefix: &Value| {
                let prefix = prefix.as_str().unwrap_or_default().to_owned();
                tensors
                    .iter()
                    .map(move |(name, d, s, b)| (format!("{prefix}{name}"), d.clone(), s.clone(), b.clone()))
            };
            let mut all: Vec<Tensor> = behind(&spec["prefix"]).collect();
            if !spec["again"].is_null() {
                all.extend(behind(&spec["again"]));
            }
            safetensors(&all)
        } else {
            let mut value = spec["json"].clone();
            // `*` is every name of layout A.
            if let Some(map) = value.get_mut("weight_map").and_then(Value::as_object_mut)
                && let Some(file) = map.remove("*")
            {
                for (name, ..) in layout_a() {
                    map.entry(name).or_insert_with(|| file.clone());
                }
            }
            serde_json::to_vec(&value).unwrap()
        }
    }

    fn outcome(source: &str, variant: Option<&str>) -> Result<Value, Error> {
        let checkpoint = Checkpoint::open_with(source, variant, &mut |_| Ok(()))?;
        let model = Model::load_blocking(checkpoint, &Device::cpu())?;
        Ok(serde_json::to_value(model.info()).unwrap())
    }

    fn check(name: &str, expected: &Value, found: Result<Value, Error>) {
        match (expected["error"].as_str(), found) {
            (None, Ok(info)) => {
                for (key, value) in expected["info"].as_object().unwrap() {
                    assert_eq!(info[key], *value, "{name}: {key}");
                }
            }
            (Some(kind), Err(error)) => {
                assert_eq!(error.kind(), kind, "{name}: {error}");
                for part in expected["says"].as_array().unwrap() {
                    assert!(error.to_string().contains(part.as_str().unwrap()), "{name}: {part} in {error}");
                }
            }
            (_, other) => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn every_folder_is_opened_or_refused_alike_from_disk_and_from_a_server() {
        let cases: Value = serde_json::from_str(include_str!("fixtures/opening.json")).unwrap();
        for (i, case) in cases.as_array().unwrap().iter().enumerate() {
            let name = case["name"].as_str().unwrap();
            let files: BTreeMap<String, Vec<u8>> = case["files"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(path, spec)| (path.clone(), content(spec)))
                .collect();
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("table/{i}"));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            for (path, bytes) in &files {
                fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
                fs::write(folder.join(path), bytes).unwrap();
            }
            let variant = case["variant"].as_str();
            check(&format!("{name}, listed"), &case["expect"], outcome(folder.to_str().unwrap(), variant));

            let absent = match case["absent"].as_u64() {
                Some(401) => "401 Unauthorized",
                Some(403) => "403 Forbidden",
                _ => "404 Not Found",
            };
            let (address, _) = serve(move |path, _| match files.get(&path[1..]) {
                Some(bytes) => Reply::Ok(bytes.clone()),
                None => Reply::With(absent, "", b"no".to_vec()),
            });
            let expected = if case["unlisted"].is_null() { &case["expect"] } else { &case["unlisted"] };
            check(&format!("{name}, by address"), expected, outcome(&address, variant));
        }
    }
}

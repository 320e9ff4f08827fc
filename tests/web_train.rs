//! Training in real browsers, on the CPU and on WebGPU, through the surface that JavaScript sees. `npm test -- web` runs it in
//! Chromium and in Firefox.

#![cfg(all(target_arch = "wasm32", feature = "burn"))]

mod bombs;
mod data_cases;
mod requests;

use data_cases::{Case, Outcome, cases};
use js_sys::{Array, Float32Array, Function, JSON, Reflect, Uint8Array, WebAssembly};
use noiseball::train::dataset::Pixels;
use noiseball::web::pictures::Pictures;
use noiseball::web::{self, train};
use wasm_bindgen::convert::TryFromJsValue;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// Bytes that training may take: more than any of these runs does.
const BUDGET: f64 = 1e9;

const COUNT: usize = 40;

/// Squares of 8×8: a bright one on the left is class 0, on the right class 1.
fn data() -> train::Data {
    web::start();
    let image = |i: usize| {
        (0..64).map(move |p| if (p % 8 < 4) == i.is_multiple_of(2) { 200 + (i % 50) as u8 } else { 20 })
    };
    let pixels = (0..COUNT).flat_map(image).collect();
    let labels = (0..COUNT as u32).map(|i| i % 2).collect();
    let names = ["left", "right"].map(str::to_owned).to_vec();
    train::Data::new(vec![1, 8, 8], pixels, Some(labels), names).unwrap()
}

/// The recipe of a preset with these changes.
fn preset(name: &str, data: &train::Data, changes: &str) -> Result<String, JsValue> {
    train::recipe(Some(name.to_owned()), None, JSON::parse(changes).unwrap(), data)
}

/// The tiny preset with eight pictures a step.
fn recipe(data: &train::Data, steps: u32) -> String {
    let text = preset("tiny", data, &format!("{{\"steps\": {steps}}}")).unwrap();
    let mut recipe: serde_json::Value = serde_json::from_str(&text).unwrap();
    recipe["batch"] = 8.into();
    recipe["optimiser"]["warmup"] = 0.into();
    recipe["unet"]["block_out_channels"] = serde_json::json!([8, 16]);
    recipe.to_string()
}

fn numbers(object: &JsValue, field: &str) -> Vec<f32> {
    Reflect::get(object, &field.into()).unwrap().unchecked_into::<Float32Array>().to_vec()
}

fn field(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap()
}

/// The error's `type`, if it is an `Error` with a message.
fn kind<T>(result: Result<T, JsValue>) -> String {
    let Err(error) = result else { return "no error".to_owned() };
    let error: js_sys::Error = error.dyn_into().unwrap();
    assert!(String::from(error.message()).len() > 20);
    field(&error, "type").as_string().unwrap()
}

async fn create(recipe: &str, data: &train::Data, device: &str) -> train::Training {
    train::Training::create(recipe.to_owned(), data, true, device.to_owned(), BUDGET).await.unwrap()
}

async fn resume(state: &[u8], data: &train::Data, film: Option<f64>) -> Result<train::Training, JsValue> {
    train::Training::resume("state".to_owned(), state.to_vec(), data, film, "cpu".to_owned()).await
}

/// The next event of a kind, a step at a time, after saving where that is due before it; none where the run ends first.
async fn event(training: &mut train::Training, kind: &str) -> Option<JsValue> {
    loop {
        let single = Function::new_with_args("work", "return work !== 'step'");
        let event = training.next(single).await.unwrap();
        if event.is_undefined() || field(&event, "type") == kind {
            return Some(event).filter(|event| !event.is_undefined());
        }
        if field(&event, "type") == "save-due" {
            training.save().await.unwrap();
        }
    }
}

/// The mean losses up to a step.
async fn means(training: &mut train::Training, until: f64) -> Vec<f32> {
    let mut means = Vec::new();
    while field(&training.facts().unwrap(), "step").as_f64().unwrap() < until {
        let steps = event(training, "steps").await.unwrap();
        let news = numbers(&steps, "means");
        let levels = numbers(&steps, "levels");
        assert_eq!((levels.len(), numbers(&steps, "losses").len()), (8 * news.len(), 8 * news.len()));
        assert!(levels.iter().all(|l| (0.0..1.0).contains(l)));
        means.extend(news);
    }
    means
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

#[wasm_bindgen_test]
async fn on_the_cpu_the_loss_falls_and_a_resumed_run_is_the_same() {
    let data = data();
    let mut training = create(&recipe(&data, 40), &data, "cpu").await;
    let losses = means(&mut training, 30.0).await;
    console_log!("loss {:?}", [&losses[..3], &losses[27..]]);
    assert!(mean(&losses[25..]) < 0.6 * mean(&losses[..5]));

    let state = training.save().await.unwrap().to_vec();
    assert!(training.is_saved());
    means(&mut training, 34.0).await;
    let copy = train::Data::load(&data.save()).unwrap();
    let mut resumed = resume(&state, &copy, Some(30.0)).await.unwrap();
    assert_eq!(field(&resumed.facts().unwrap(), "step"), 30);
    means(&mut resumed, 34.0).await;
    assert!(training.save().await.unwrap().to_vec() == resumed.save().await.unwrap().to_vec());

    // A rate that was set is kept, and a run can be longer.
    resumed.set_learning_rate(0.003).unwrap();
    resumed.set_steps(50.0).unwrap();
    assert!(!resumed.is_saved() && kind(resumed.set_steps(33.0)) == "invalid-option");
    let kept = resumed.save().await.unwrap().to_vec();
    let facts = resume(&kept, &data, None).await.unwrap().facts().unwrap();
    assert!(field(&facts, "recipe").as_string().unwrap().contains("\"learning_rate\": 0.003"));
    assert_eq!(field(&facts, "steps"), 50);

    let mut damaged = state.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [damaged, state[..state.len() / 2].to_vec(), Vec::new()] {
        assert_eq!(kind(resume(&bad, &data, None).await), "resume");
    }
    let other = train::Data::new(vec![1, 8, 8], vec![7; 64], Some(vec![0]), vec!["a".to_owned()]).unwrap();
    assert_eq!(kind(resume(&state, &other, None).await), "resume");
}

/// The same table goes through the crate in tests/train_loop.rs, and through the command in tests/cli_train.rs.
#[wasm_bindgen_test]
async fn a_request_makes_the_recipe_and_the_losses_that_it_makes_natively() {
    web::start();
    let (pixels, labels) = requests::pictures();
    let names = requests::CLASSES.map(str::to_owned).to_vec();
    let side = requests::SIDE as u32;
    let data = train::Data::new(vec![1, side, side], pixels, Some(labels), names).unwrap();
    for case in requests::cases() {
        let changes = JSON::parse(&serde_json::to_string(&case.changes()).unwrap()).unwrap();
        let recipe = train::recipe(case.preset(), None, changes, &data).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&recipe).unwrap(), case.recipe);
        if case.losses.is_empty() {
            continue;
        }
        let mut training = create(&recipe, &data, "cpu").await;
        assert_eq!(field(&training.facts().unwrap(), "heldOut"), 12);
        let mut losses = Vec::new();
        while losses.len() < case.losses.len() {
            losses.extend(numbers(&event(&mut training, "steps").await.unwrap(), "means"));
        }
        console_log!("{:?}: {:?}", case.request, &losses[..3]);
        case.agrees(&losses);
    }
}

/// Lets a computation go on to its end.
fn yes() -> Function {
    Function::new_no_args("return true")
}

fn given_up<T>(result: Result<T, JsValue>) -> bool {
    result.is_err_and(|error| field(&error, "type") == "aborted")
}

/// A lineage recipe of a few steps and a small network.
fn short(name: &str, data: &train::Data, steps: u32) -> String {
    let text = preset(name, data, &format!("{{\"steps\": {steps}}}")).unwrap();
    let mut recipe: serde_json::Value = serde_json::from_str(&text).unwrap();
    recipe["batch"] = 64.into();
    recipe["unet"]["width"] = 32.into();
    recipe["unet"]["layers"] = 2.into();
    recipe.to_string()
}

#[wasm_bindgen_test]
async fn points_are_diffused_learned_sampled_and_resumed() {
    web::start();
    let data = train::Data::toy("swiss-roll", 2000).unwrap();
    assert_eq!(field(&data.info().unwrap(), "kind"), "points");
    let recipe = short("swiss-roll-bound", &data, 1200).replace("\"warmup\":60", "\"warmup\":0");
    assert!(field(&train::plan(&recipe, &data).unwrap(), "parameters").as_f64().unwrap() > 1000.0);
    let clean = data.noised("", &[0, 1], None, 0, false).unwrap();
    let noisy = data.noised(&recipe, &[0, 1], Some(39), 0, false).unwrap();
    assert_eq!((numbers(&clean, "values").len(), field(&clean, "sigma")), (4, 0.0.into()));
    assert!(field(&noisy, "alpha").as_f64().unwrap() < 0.3);
    assert_ne!(numbers(&clean, "values"), numbers(&noisy, "values"));

    let mut training = create(&recipe, &data, "cpu").await;
    let frame = event(&mut training, "frame").await.unwrap();
    assert_eq!((numbers(&frame, "values").len(), field(&frame, "channels")), (800, 2.into()));
    let bits = async |training: &mut train::Training| {
        let bound = field(&event(training, "held-out").await.unwrap(), "bound");
        assert!(field(&bound, "error").as_f64().unwrap() > 0.0);
        field(&bound, "bits").as_f64().unwrap()
    };
    let before = bits(&mut training).await;
    let mut after = before;
    while field(&training.facts().unwrap(), "step").as_f64().unwrap() < 100.0 {
        after = bits(&mut training).await;
    }
    console_log!("K {before} to {after} bits");
    assert!(after > before);

    let points = training.sample(50, 7, yes()).await.unwrap().to_vec();
    let promised = Function::new_no_args("return Promise.resolve(true)");
    assert_eq!(points, training.sample(50, 7, promised).await.unwrap().to_vec());
    for no in ["", "return Promise.resolve(false)", "throw new Error()"] {
        assert!(given_up(training.sample(50, 7, Function::new_no_args(no)).await));
    }
    assert!(points.len() == 100 && points.iter().all(|v| v.abs() < 10.0));
    assert_eq!(numbers(&training.examples(3).unwrap(), "values").len(), 6);
    let state = training.save().await.unwrap().to_vec();
    let film = field(&training.facts().unwrap(), "step").as_f64();
    let mut resumed = resume(&state, &data, film).await.unwrap();
    for run in [&mut training, &mut resumed] {
        event(run, "steps").await.unwrap();
    }
    assert!(training.save().await.unwrap().to_vec() == resumed.save().await.unwrap().to_vec());

    // It is no model of diffusers, and says so.
    let files = training.files().await.unwrap();
    assert_eq!(Array::from(&files.get(0)).get(0), "weights.safetensors");
    assert!(training.card("Points.", 0.0, vec![0.5]).contains("not a diffusers folder"));
}

#[wasm_bindgen_test]
async fn bits_are_learned_and_sampled() {
    web::start();
    let data = train::Data::toy("heartbeat", 500).unwrap();
    assert_eq!(field(&data.info().unwrap(), "kind"), "bits");
    let recipe = short("heartbeat-binomial", &data, 10)
        .replace("\"num_train_timesteps\":2000", "\"num_train_timesteps\":40");
    let mut training = create(&recipe, &data, "cpu").await;
    training.step().unwrap();
    training.wait().await.unwrap();
    let bits = training.sample(3, 7, yes()).await.unwrap().to_vec();
    assert!(bits.len() == 60 && bits.iter().all(|b| b.abs() == 1.0));
    let measured = event(&mut training, "held-out").await.unwrap();
    assert!(field(&field(&measured, "bound"), "bits").as_f64().unwrap() < -2.0);
    let flipped = numbers(&data.noised(&recipe, &[0, 1, 2], Some(39), 0, false).unwrap(), "values");
    assert!(flipped.iter().all(|b| b.abs() == 1.0));
    assert_eq!(kind(train::Data::toy("spiral", 500)), "invalid-option");
    assert_eq!(kind(preset("ring-binomial", &data, "{}")), "invalid-option");
    // Points have no chances of bits.
    let points = train::Data::toy("ring", 500).unwrap();
    let wrong = short("ring-ddpm", &points, 10).replace("\"simple\"", "\"binomial\"");
    assert_eq!(kind(train::plan(&wrong, &points)), "invalid-option");
}

#[wasm_bindgen_test]
async fn on_webgpu_the_steps_are_the_cpus() {
    let data = data();
    let mut losses = Vec::new();
    for device in ["cpu", "gpu"] {
        losses.push(means(&mut create(&recipe(&data, 10), &data, device).await, 3.0).await);
    }
    console_log!("losses {losses:?}");
    for (cpu, gpu) in losses[0].iter().zip(&losses[1]) {
        assert!((cpu - gpu).abs() <= 1e-3 * cpu.abs());
    }
}

#[wasm_bindgen_test]
async fn what_is_trained_can_be_sampled_and_taken_away() {
    let data = data();
    let mut training = create(&recipe(&data, 10), &data, "cpu").await;
    means(&mut training, 2.0).await;
    training.stop();
    let frame = event(&mut training, "frame").await.unwrap();
    assert_eq!((field(&frame, "step"), field(&frame, "width")), (2.into(), 8.into()));
    let pixels = field(&frame, "pictures").unchecked_into::<Uint8Array>().to_vec();
    assert!(pixels.len() == 10 * 256 && pixels[..256].iter().any(|p| *p != 255));
    assert_eq!(Array::from(&field(&frame, "labels")).get(1), 1);
    assert!(event(&mut training, "steps").await.is_none(), "stopped");

    let files = training.files().await.unwrap();
    let paths: Vec<String> = files.iter().map(|f| Array::from(&f).get(0).as_string().unwrap()).collect();
    assert!(paths.contains(&"unet/config.json".to_owned()) && paths.contains(&"labels.json".to_owned()));
    let archive = train::zip(files).unwrap().to_vec();
    assert!(archive.starts_with(b"PK\x03\x04"));
    assert!(archive.windows(16).any(|w| w == b"unet/config.json"));
    assert!(training.card("Squares.", 0.0, vec![0.5; 2]).contains("2 of 10 steps"));
}

#[wasm_bindgen_test]
async fn what_cannot_be_trained_on_is_refused() {
    web::start();
    let none = || train::Data::new(vec![1, 8, 8], Vec::new(), None, Vec::new());
    assert_eq!(kind(none()), "dataset");
    assert_eq!(kind(Pictures::new(None, false, true).unwrap().finish(false)), "dataset");
    assert_eq!(kind(Pictures::new(Some(100_000), false, true)), "invalid-option");
    let data = data();
    assert_eq!(kind(preset("gigantic", &data, "{}")), "invalid-option");
    for wrong in
        ["{\"steps\": 1.5}", "{\"steps\": -1}", "{\"step\": 5}", "{\"learningRate\": 2}", "{\"seed\": \"a\"}"]
    {
        assert_eq!(kind(preset("tiny", &data, wrong)), "invalid-option", "{wrong}");
    }
    assert_eq!(kind(train::plan("{", &data)), "checkpoint");
    let wrong = recipe(&data, 10).replace("\"in_channels\":1", "\"in_channels\":3");
    assert_eq!(kind(train::plan(&wrong, &data)), "invalid-option");
    assert_eq!(
        kind(train::Training::create(recipe(&data, 10), &data, true, "quantum".to_owned(), BUDGET).await),
        "invalid-option"
    );
    assert!(field(&train::plan(&recipe(&data, 10), &data).unwrap(), "memory").as_f64().unwrap() > 1e5);
}

#[wasm_bindgen_test]
fn pictures_become_grey_and_noise_is_shown() {
    web::start();
    let mut pictures = Pictures::new(Some(8), false, true).unwrap();
    pictures.add("a", 8, 8, [255, 0, 0, 255].repeat(64)).unwrap();
    pictures.push("bad.npy".to_owned(), blob(b"\x93NUMPY\x01\x00")).unwrap();
    while !pictures.read_next().unwrap().is_undefined() {}
    let parts = pictures.finish(true).unwrap();
    let told = parts.get(1);
    assert_eq!((field(&told, "skippedCount"), Array::from(&field(&told, "skipped")).length()), (1.into(), 1));
    let data = train::Data::try_from_js_value(parts.get(0)).unwrap();
    let shown =
        |timestep| data.noised(&preset("tiny", &data, "{}").unwrap(), &[0], timestep, 1, false).unwrap();
    let pixels = |shown: &JsValue| field(shown, "pictures").unchecked_into::<Uint8Array>().to_vec();
    assert_eq!(pixels(&shown(None))[..4], [76, 76, 76, 255]);
    assert_eq!((field(&shown(None), "alpha"), field(&shown(None), "sigma")), (1.0.into(), 0.0.into()));
    assert!(field(&shown(Some(999)), "sigma").as_f64().unwrap() > 0.95);
    assert_ne!(pixels(&shown(Some(500))), pixels(&shown(None)));
}

fn blob(bytes: &[u8]) -> web_sys::Blob {
    web_sys::Blob::new_with_u8_array_sequence(&Array::of1(&Uint8Array::from(bytes).into())).unwrap()
}

/// What the page makes of files, or its error's message.
fn read(files: &[(String, Vec<u8>)], size: Option<u32>, classes: bool) -> Result<Outcome, String> {
    let message = |error: JsValue| String::from(error.unchecked_into::<js_sys::Error>().message());
    let mut pictures = Pictures::new(size, false, classes).map_err(message)?;
    for (name, bytes) in files {
        pictures.push(name.clone(), blob(bytes)).map_err(message)?;
    }
    while !pictures.read_next().map_err(message)?.is_undefined() {}
    let reading = pictures.into_reading().map_err(|e| e.to_string())?;
    let Pixels::Bytes(pixels) = reading.data.pixels else { return Err("no bytes".to_owned()) };
    Ok(Outcome {
        shape: reading.data.shape,
        pixels,
        names: reading.data.names,
        labels: reading.data.labels,
        left_out: reading.skipped.into_iter().map(|s| (s.name, s.why)).collect(),
        notes: reading.notes,
    })
}

#[wasm_bindgen_test]
fn the_table_of_cases_is_read_as_on_a_terminal() {
    web::start();
    let compare = |case: Case| {
        let outcome = read(&case.files, None, case.classes);
        case.compare(outcome).err().map(|problem| format!("{}: {problem}", case.name))
    };
    let wrong: Vec<String> = cases().into_iter().filter_map(compare).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A module's memory never shrinks, so that what it has afterwards is the most that it had.
#[wasm_bindgen_test]
fn nothing_takes_more_memory_than_it_is_worth() {
    web::start();
    let memory = || {
        let buffer = wasm_bindgen::memory().unchecked_into::<WebAssembly::Memory>().buffer();
        f64::from(buffer.unchecked_into::<js_sys::ArrayBuffer>().byte_length())
    };
    let bombs = bombs::bombs();
    let before = memory();
    for (name, bytes, size) in bombs {
        let given = bytes.len() as f64;
        let files = [(name.to_owned(), bytes)];
        assert!(read(&files, size.map(|s| s as u32), true).is_err(), "{name} is accepted");
        let grown = memory() - before;
        console_log!("{name}: {given} bytes, {grown} more in all so far");
        assert!(grown <= 256e6 + 4.0 * given, "{name}: {grown} bytes more for {given} given");
    }
}

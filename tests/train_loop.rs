//! The one training loop: what it tells and when, and that a run is the same however it is pumped.
#![cfg(all(feature = "burn", not(target_arch = "wasm32")))]

mod requests;

use std::sync::Arc;

use burn::tensor;
use noiseball::train::dataset::Pixels;
use noiseball::train::{
    Average, Changes, Dataset, Event, Loop, Places, Preset, Recipe, SavedRun, Trainer, Work, inspect,
    usual_memory,
};
use noiseball::{Checkpoint, Device, Error};
use pollster::block_on;
use requests::{CLASSES, SIDE, pictures};
use serde_json::{Value, json};

fn places() -> Places {
    Places::new(tensor::Device::flex(), Device::cpu())
}

/// Pictures of two classes, of which some are held out.
fn data() -> Arc<Dataset> {
    let (pixels, labels) = pictures();
    Arc::new(Dataset {
        shape: [1, SIDE, SIDE],
        pixels: Pixels::Bytes(pixels),
        labels: Some(labels),
        names: CLASSES.map(str::to_owned).to_vec(),
    })
}

/// A network that trains in a moment.
fn recipe(steps: u64) -> Recipe {
    let mut recipe = Recipe::preset(Preset::Tiny, &data()).unwrap();
    recipe.change(&Changes::default().steps(steps).batch(4));
    recipe.unet.insert("block_out_channels".to_owned(), json!([8, 16]));
    recipe
}

fn new(steps: u64) -> Loop {
    Loop::new(recipe(steps), &data(), true, places()).unwrap()
}

fn resumed(state: Vec<u8>, film: Option<u64>) -> Loop {
    Loop::resume(SavedRun::read("state", &state).unwrap(), state, &data(), film, places()).unwrap()
}

/// What an event is, with its step where that is not the run's.
fn name(event: &Event) -> String {
    match event {
        Event::Steps(losses) => format!("steps {} to {}", losses[0].step, losses[losses.len() - 1].step),
        Event::Frame(frame) => format!("frame {}", frame.step),
        Event::FrameFailed { step, .. } => format!("no frame {step}"),
        Event::HeldOut(measured) => format!("held out {}", measured.step),
        Event::SaveDue => "save".to_owned(),
        Event::GivenUp => "given up".to_owned(),
    }
}

/// One function for all tests: each way to pump is compiled with the whole loop.
fn try_next(run: &mut Loop, go_on: &mut dyn FnMut(Work) -> bool) -> Result<Option<Event>, Error> {
    block_on(run.next(async |work| go_on(work)))
}

fn next(run: &mut Loop) -> Option<Event> {
    try_next(run, &mut |_| true).unwrap()
}

/// A step at a time.
fn next_single(run: &mut Loop) -> Option<Event> {
    try_next(run, &mut |work| work != Work::Step).unwrap()
}

/// Pumps to the end, saving when asked to; what happened.
fn pump(run: &mut Loop, go_on: &mut dyn FnMut(Work) -> bool) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(event) = try_next(run, go_on).unwrap() {
        told.push(name(&event));
        if matches!(event, Event::SaveDue) {
            block_on(run.save()).unwrap();
        }
    }
    told
}

fn state(run: &mut Loop) -> Vec<u8> {
    block_on(run.save()).unwrap().to_vec()
}

#[test]
fn a_run_tells_its_losses_samples_its_film_and_says_when_to_save() {
    let mut run = new(30);
    assert_eq!((run.trainer().data().len(), run.held_out_count()), (228, 12));
    let told = pump(&mut run, &mut |_| true);
    let mut expected = vec!["frame 0".to_owned(), "save".to_owned()];
    for step in [10, 20, 30] {
        expected.extend([
            format!("steps {} to {}", step - 10, step - 1),
            format!("frame {step}"),
            format!("held out {step}"),
        ]);
    }
    expected.push("save".to_owned());
    assert_eq!(told, expected);
    assert!(next(&mut run).is_none(), "it has ended");
}

#[test]
fn saves_are_due_where_the_caller_wants_them() {
    let mut run = Loop::new(recipe(700), &data(), false, places()).unwrap().saving_every(4);
    let mut told = Vec::new();
    while run.trainer().step_number() < 9 {
        told.extend(next(&mut run).as_ref().map(name));
        if told.last().is_some_and(|t| t == "save") {
            block_on(run.save()).unwrap();
        }
    }
    assert_eq!(told, ["frame 0", "save", "steps 0 to 3", "save", "steps 4 to 7", "save", "steps 8 to 11"]);
}

#[test]
fn a_frame_is_of_the_same_noise_and_the_classes_in_turn() {
    let mut run = new(30);
    let mut frames = Vec::new();
    while let Some(event) = next(&mut run) {
        if let Event::Frame(frame) = event {
            frames.push(frame);
        }
    }
    assert_eq!(frames.len(), 4);
    assert!(frames.iter().all(|f| f.shape == [10, 1, SIDE, SIDE] && f.values.len() == 640));
    assert_eq!(frames[0].labels, Some((0..10).map(|i| i % 2).collect()));
    assert_ne!(frames[1].values, frames[3].values);
}

#[test]
fn however_it_is_pumped_a_run_is_the_same() {
    let mut whole = new(30);
    pump(&mut whole, &mut |_| true);
    let whole = state(&mut whole);

    // A step at a time.
    let mut single = new(30);
    let told = pump(&mut single, &mut |work| work != Work::Step);
    assert!(told.contains(&"steps 4 to 4".to_owned()) && told.contains(&"frame 10".to_owned()), "{told:?}");
    assert!(state(&mut single) == whole);

    // Disturbed in its frames, which come later, but for the first and the last.
    let mut asked = 0;
    let mut disturbed = new(30);
    let told = pump(&mut disturbed, &mut |work| {
        asked += usize::from(work == Work::Part);
        work == Work::Step || asked % 45 != 0
    });
    assert!(told.contains(&"given up".to_owned()) && told.contains(&"frame 0".to_owned()), "{told:?}");
    assert!(told.contains(&"frame 30".to_owned()), "{told:?}");
    assert!(state(&mut disturbed) == whole);

    // Resumed, with the film that there was.
    for stop in [0, 7, 20, 30] {
        let mut run = new(30);
        while run.trainer().step_number() < stop {
            next_single(&mut run);
        }
        // The frame of step 20 was not taken yet; the last one was.
        let film = (stop > 0).then_some(if stop == 30 { 30 } else { (stop - 1) / 10 * 10 });
        let mut run = resumed(state(&mut run), film);
        assert_eq!(run.held_out_count(), 12);
        let told = pump(&mut run, &mut |_| true);
        assert!(state(&mut run) == whole, "stopped at {stop}: {told:?}");
        assert_eq!(told.is_empty(), stop == 30, "{told:?}");
        let frames: Vec<&String> = told.iter().filter(|t| t.starts_with("frame")).collect();
        let expected: &[&str] = match stop {
            0 => &["frame 0", "frame 10", "frame 20", "frame 30"],
            7 => &["frame 10", "frame 20", "frame 30"],
            20 => &["frame 20", "frame 30"],
            _ => &[],
        };
        assert_eq!(frames, expected);
    }
}

#[test]
fn what_a_state_was_trained_on_is_found() {
    // Without data held out, as the command line did before.
    let mut all = Trainer::new(recipe(4), data(), &tensor::Device::flex()).unwrap();
    all.step().unwrap();
    let run = resumed(block_on(all.save()).unwrap(), None);
    assert_eq!((run.trainer().data().len(), run.held_out_count()), (240, 0));
    let saved = SavedRun::read("state", &block_on(all.save()).unwrap()).unwrap();
    assert_eq!((saved.step(), saved.picture_size()), (1, Some(SIDE)));
    // Data too few for that.
    let few = Arc::new(Dataset {
        labels: None,
        names: Vec::new(),
        pixels: Pixels::Bytes(vec![7; 199 * 64]),
        ..Dataset::clone(&data())
    });
    let (trained, held_out) = few.hold_out();
    assert!(Arc::ptr_eq(&few, &trained) && held_out.is_none());
}

#[test]
fn a_diverged_run_goes_back_to_its_last_save() {
    let mut whole = new(30);
    pump(&mut whole, &mut |_| true);
    let whole = state(&mut whole);

    let mut run = new(30);
    while run.trainer().step_number() < 8 {
        next_single(&mut run);
    }
    state(&mut run);
    let mut batch = run.trainer_mut().batch(8);
    batch.images[0] = f32::NAN;
    run.trainer_mut().step_on(&batch).unwrap();
    let told = loop {
        match try_next(&mut run, &mut |_| true) {
            Err(error) => break error,
            Ok(event) => assert!(event.is_some()),
        }
    };
    assert!(matches!(told, Error::Diverged { step: 8, .. }), "{told}");
    assert!(run.go_back().unwrap());
    assert_eq!(run.trainer().step_number(), 8);
    pump(&mut run, &mut |_| true);
    assert!(state(&mut run) == whole);
    assert!(!new(30).go_back().unwrap(), "nothing was saved");
}

#[test]
fn a_learning_rate_is_kept_where_it_is_set() {
    let mut run = new(30);
    while run.trainer().step_number() < 4 {
        next_single(&mut run);
    }
    state(&mut run);
    assert!(run.is_saved());
    // A number of seventeen digits is saved as it is, too.
    run.set_learning_rate(1.0 / 426.3).unwrap();
    assert!(!run.is_saved());
    assert_eq!(next(&mut run).as_ref().map(name), Some("save".to_owned()));
    let saved = state(&mut run);
    assert!(run.is_saved());
    let rate = inspect("state", &saved).unwrap().0.optimiser.learning_rate;
    assert!((rate - 1.0 / 426.3).abs() < 1e-15);
    let mut again = resumed(saved, Some(4));
    for run in [&mut run, &mut again] {
        pump(run, &mut |_| true);
    }
    assert!(state(&mut run) == state(&mut again));
}

#[test]
fn a_run_is_made_longer_and_not_shorter_than_it_is() {
    let mut run = new(40);
    pump(&mut run, &mut |_| true);
    let ended = state(&mut run);
    assert!(matches!(run.set_steps(39), Err(Error::Option { option: "steps", .. })));
    assert_eq!(*run.trainer().recipe(), recipe(40));
    run.set_steps(80).unwrap();
    // As a run of that length has them.
    assert_eq!(*run.trainer().recipe(), recipe(80));
    let told = pump(&mut run, &mut |_| true);
    assert_eq!(told[0], "save");
    assert_eq!(told[told.len() - 2..], ["held out 80", "save"]);
    // The rate goes on along the longer cosine: half of its way at half of the steps.
    let rate = |step| recipe(80).optimiser.rate(step, 80) / recipe(80).optimiser.learning_rate;
    assert!(rate(40) > 0.45 && rate(40) < 0.6 && rate(79) < 0.01);
    assert_ne!(inspect("state", &ended).unwrap().0, recipe(80));
    let mut again = resumed(ended, Some(40));
    again.go_on_by("state", recipe(80)).unwrap();
    pump(&mut again, &mut |_| true);
    assert!(state(&mut run) == state(&mut again));
}

#[test]
fn what_else_is_asked_of_a_run_is_refused_by_name() {
    let mut run = new(20);
    let refused = |run: &mut Loop, change: fn(&mut Recipe)| {
        let mut asked = recipe(20);
        change(&mut asked);
        let error = run.go_on_by("the state", asked).unwrap_err();
        assert_eq!((error.kind(), run.trainer().recipe()), ("resume", &recipe(20)));
        error.to_string()
    };
    let told = refused(&mut run, |r| r.batch = 8);
    assert!(told.contains("`batch` is 4, but 8 was asked for"), "{told}");
    let told = refused(&mut run, |r| r.seed = 3);
    assert!(told.contains("`seed` is 0, but 3"), "{told}");
    let told = refused(&mut run, |r| _ = r.unet.insert("layers_per_block".to_owned(), 2.into()));
    assert!(told.contains("`unet.layers_per_block` is 1, but 2"), "{told}");
    let told = refused(&mut run, |r| {
        r.stretch(30);
        r.average = Average::Diffusers { power: 0.75, max_decay: 0.9999 };
    });
    assert!(told.contains("`average."), "{told}");
    // What memory decided, and who wrote it, is no difference.
    let mut asked = recipe(20);
    asked.accumulate = 2;
    asked.unet.insert("_diffusers_version".to_owned(), "0.1.0".into());
    asked.optimiser.learning_rate = 0.5;
    run.go_on_by("the state", asked).unwrap();
    assert_eq!(run.trainer().recipe().optimiser.learning_rate, 0.5);
}

#[test]
fn a_frame_that_fails_ends_no_run() {
    let mut bad = recipe(4);
    // It can be trained, but who samples it has to know the size.
    bad.unet.insert("sample_size".to_owned(), Value::Null);
    let mut run = Loop::new(bad, &data(), true, places()).unwrap();
    let told = pump(&mut run, &mut |_| true);
    assert_eq!(told[..2], ["no frame 0", "save"]);
    assert_eq!(told[told.len() - 3..], ["no frame 4", "held out 4", "save"]);
    assert_eq!(run.trainer().step_number(), 4);
}

#[test]
fn a_stopped_run_takes_its_last_frame_and_can_go_on() {
    let mut run = new(100);
    while run.trainer().step_number() < 3 {
        next_single(&mut run);
    }
    run.stop();
    assert_eq!(pump(&mut run, &mut |_| true), ["frame 3", "held out 3", "save"]);
    run.set_steps(100).unwrap();
    let next = next(&mut run);
    assert_eq!(next.as_ref().map(name), Some("steps 3 to 9".to_owned()));
}

#[test]
fn a_stretched_recipe_keeps_its_shares() {
    let medium = |steps| {
        let mut recipe = Recipe::preset(Preset::Medium, &data()).unwrap();
        recipe.stretch(steps);
        (recipe.steps, recipe.optimiser.warmup, recipe.average)
    };
    assert_eq!(medium(2000), (2000, 100, Average::HalfLife { steps: 80.0 }));
    assert_eq!(medium(20_000), (20_000, 1000, Average::HalfLife { steps: 800.0 }));
    assert_eq!(medium(3), (3, 0, Average::HalfLife { steps: 1.0 }));
    // What is wrong stays wrong, and no number is too large.
    let mut wrong = recipe(20);
    wrong.average = Average::HalfLife { steps: f64::NAN };
    wrong.optimiser.warmup = u64::MAX;
    wrong.stretch(u64::from(u32::MAX));
    assert_eq!(wrong.optimiser.warmup, u64::MAX);
    assert!(wrong.check(&data()).is_err());
    let mut none = recipe(20);
    none.steps = 0;
    none.stretch(7);
    assert_eq!(none.steps, 7);
}

#[test]
fn a_batch_that_is_too_large_is_worked_through_in_parts() {
    let fitted = |batch| {
        let mut recipe = Recipe::preset(Preset::Medium, &data()).unwrap();
        recipe.batch = batch;
        recipe.fit(&data(), usual_memory(Device::cpu().kind())).unwrap();
        (recipe.accumulate, recipe.cost(&data()).unwrap().memory)
    };
    assert_eq!(fitted(4).0, 1);
    let (parts, memory) = fitted(8192);
    assert!(parts > 1 && memory <= 3_000_000_000, "{parts} parts of {memory} bytes");
    let mut little = Recipe::preset(Preset::Medium, &data()).unwrap();
    let (batch, whole) = (little.batch, little.cost(&data()).unwrap().memory);
    little.fit(&data(), whole - 1).unwrap();
    assert_eq!((little.batch, little.accumulate), (batch, 2));
    // What cannot be divided is left to the system, which may have more.
    assert_eq!(fitted(8191).0, 1);
}

#[test]
fn a_checkpoint_without_classes_is_trained_on_labelled_data() {
    let plain = Dataset { labels: None, names: Vec::new(), ..Dataset::clone(&data()) };
    let unconditional = Recipe::preset(Preset::Tiny, &plain).unwrap();
    let trainer = Trainer::new(unconditional, Arc::new(plain), &tensor::Device::flex()).unwrap();
    let checkpoint: Checkpoint = block_on(trainer.checkpoint()).unwrap();
    let labelled = Recipe::preset(Preset::Tiny, &data()).unwrap();
    assert!(labelled.label_dropout > 0.0);
    let run = Loop::fine_tune(checkpoint, labelled, &data(), true, places()).unwrap();
    assert_eq!(run.trainer().recipe().label_dropout, 0.0);
}

fn changes(case: &requests::Case) -> Changes {
    let whole = |name: &str| case.request.get(name).map(|value| value.as_u64().unwrap());
    let rate = case.request.get("learningRate").map(|rate| rate.as_f64().unwrap());
    let batch = whole("batch").map(|batch| batch as usize);
    Changes::default().steps(whole("steps")).batch(batch).learning_rate(rate).seed(whole("seed"))
}

#[test]
fn a_request_makes_its_recipe_and_its_first_losses() {
    let mut written = Vec::new();
    for case in requests::cases() {
        let mut recipe = Recipe::named(case.preset().as_deref(), &data()).unwrap();
        recipe.change(&changes(&case));
        let mut losses = Vec::new();
        let mut run = Loop::new(recipe.clone(), &data(), true, places()).unwrap();
        while losses.len() < case.losses.len() {
            if let Some(Event::Steps(news)) = next_single(&mut run) {
                losses.extend(news.iter().map(|loss| loss.mean));
            }
        }
        let recipe = serde_json::to_value(&recipe).unwrap();
        if std::env::var_os("WRITE_REQUESTS").is_some() {
            written.push(json!({"request": case.request, "recipe": recipe, "losses": losses}));
            continue;
        }
        assert_eq!(recipe, case.recipe, "{:?}", case.request);
        case.agrees(&losses);
    }
    if !written.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/requests.json");
        std::fs::write(path, serde_json::to_string_pretty(&written).unwrap() + "\n").unwrap();
    }
}

//! `noiseball train`, as a user types it.

#![cfg(all(feature = "cli", feature = "burn", not(target_arch = "wasm32")))]

#[cfg(unix)]
mod pipes;
mod requests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use noiseball::train::dataset::{Options, Pixels, Reading, open};
use noiseball::train::inspect;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noiseball"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn noiseball(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// An empty folder of this test's own.
fn temporary(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("train").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The data set that the command would train on.
fn read(path: &Path) -> Reading {
    open(path, Options::default()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn png(path: &Path, size: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), size, size);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..size * size).flat_map(|p| pixel(p % size, p / size)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

/// Ten 16×16 pictures in two folders, and three files that are none.
fn drawings(folder: &Path) {
    for i in 0..5u32 {
        png(&folder.join(format!("rows/{i}.png")), 16, |_, y| if y % 5 == i { [255, 0, 0] } else { [0; 3] });
        png(
            &folder.join(format!("columns/{i}.png")),
            16,
            |x, _| if x % 5 == i { [0, 0, 255] } else { [0; 3] },
        );
    }
    fs::write(folder.join("notes.txt"), "not a picture").unwrap();
    fs::write(folder.join("rows/empty.png"), "").unwrap();
    let whole = fs::read(folder.join("rows/0.png")).unwrap();
    fs::write(folder.join("rows/half.png"), &whole[..whole.len() / 2]).unwrap();
}

/// A network that trains in a moment, on the processor.
const TINY: [&str; 6] = ["--preset", "tiny", "--size", "8", "--device", "cpu"];

/// `noiseball train DATA` with the options given and [`TINY`].
fn train(data: &Path, options: &[&str]) -> Command {
    command(&[&["train", text(data)], options, &TINY].concat())
}

#[test]
fn a_folder_becomes_a_checkpoint_that_samples() {
    let folder = temporary("folder");
    let (data, out) = (folder.join("drawings"), folder.join("model"));
    drawings(&data);
    let output = train(&data, &["--out", text(&out), "--steps", "3", "--batch", "4"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    for file in ["notes.txt", "rows/empty.png", "rows/half.png"] {
        assert!(told.contains(&format!("left out {file}")), "{told}");
    }
    let understood = "10 pictures, 8×8, colour, 2 classes: columns, rows";
    assert_eq!((told.lines().count(), told.lines().next()), (4, Some(understood)), "also in a pipe: {told}");

    let inspected = noiseball(&["inspect", text(&out)]);
    assert!(inspected.status.success(), "{inspected:?}");
    let picture = folder.join("sample.png");
    let sampled = noiseball(&[
        "sample",
        text(&out),
        "--steps",
        "2",
        "--labels",
        "1",
        "--out",
        text(&picture),
        "--device",
        "cpu",
    ]);
    assert!(sampled.status.success() && picture.is_file(), "{sampled:?}");
    assert_eq!(fs::read_to_string(out.join("losses.csv")).unwrap().lines().count(), 4);
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(
        card.contains("10 images of 8×8 pixels, 3 channels") && card.contains("0 \"columns\", 1 \"rows\""),
        "{card}"
    );

    // Python's checkpoints and our own can be trained further.
    let tuned = folder.join("tuned");
    let output = noiseball(&[
        "train",
        text(&data),
        "--from",
        text(&out),
        "--out",
        text(&tuned),
        "--size",
        "8",
        "--steps",
        "1",
        "--device",
        "cpu",
    ]);
    assert!(output.status.success() && tuned.join("model_index.json").is_file(), "{output:?}");
}

#[test]
fn a_run_killed_at_any_moment_goes_on_to_the_same_end() {
    let folder = temporary("killed");
    let data = folder.join("drawings");
    drawings(&data);
    let run = |out: &Path, more: &[&str]| {
        let options = ["--steps", "12", "--batch", "4", "--save-every", "2", "--out", text(out)];
        train(&data, &[&options, more].concat())
    };
    let whole = folder.join("whole");
    assert!(run(&whole, &[]).output().unwrap().status.success());

    let killed = folder.join("model");
    let state = killed.join("training-state.safetensors");
    let mut kills = 0;
    // Later and later, so that the first are during the start and the last during training and saving.
    for i in 0u64.. {
        let more: &[&str] = if state.exists() { &["--resume"] } else { &[] };
        if !state.exists() {
            let _ = fs::remove_dir_all(&killed);
        }
        let mut child = run(&killed, more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(40 + 67 * i));
        if child.try_wait().unwrap().is_some_and(|s| s.success()) {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if state.exists() {
            let inspected = noiseball(&["inspect", text(&killed)]);
            assert!(inspected.status.success(), "after kill {kills}: {inspected:?}");
        }
    }
    assert!(kills > 1, "the run ended before it could be killed");
    for file in ["training-state.safetensors", "unet/diffusion_pytorch_model.safetensors", "losses.csv"] {
        assert_eq!(fs::read(whole.join(file)).unwrap(), fs::read(killed.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn a_run_is_neither_overwritten_nor_gone_on_with_as_another() {
    let folder = temporary("refused");
    let (data, out) = (folder.join("drawings"), folder.join("model"));
    drawings(&data);
    let base = ["--out", text(&out), "--batch", "4"];
    let train = |more: &[&str]| train(&data, &[&base, more].concat()).output().unwrap();
    assert!(train(&["--steps", "1"]).status.success());
    let before = fs::read(out.join("training-state.safetensors")).unwrap();
    let refused = |output: Output, says: &str| {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(says), "{told}");
    };
    refused(train(&["--steps", "1"]), "holds a run already");
    refused(train(&["--seed", "2", "--resume"]), "`seed` is 0, but 2 was asked for");
    fs::write(data.join("rows/0.png"), fs::read(data.join("rows/1.png")).unwrap()).unwrap();
    refused(train(&["--steps", "1", "--resume"]), "other images");
    assert_eq!(before, fs::read(out.join("training-state.safetensors")).unwrap());

    let elsewhere = folder.join("elsewhere");
    let elsewhere = text(&elsewhere);
    let toml = folder.join("recipe.toml");
    let with = |lines: &str| {
        fs::write(&toml, lines).unwrap();
        noiseball(&["train", text(&data), "--out", elsewhere, "--config", text(&toml)])
    };
    refused(with("steps = 0"), "`steps`");
    refused(with("speed = 9"), "unknown field `speed`");
    refused(with("[unet]\nnorm_num_groups = 7"), "norm_num_groups");
    refused(with("steps = "), "recipe.toml");
    refused(noiseball(&["train", text(&folder.join("nowhere")), "--out", elsewhere]), "nowhere");
    refused(noiseball(&["train", text(&toml), "--out", elsewhere]), "there are no pictures");
    let halves = ["train", text(&data), "--out", elsewhere, "--device", "gpu-f16"];
    refused(noiseball(&halves), "gradients need 32 bits");
    refused(noiseball(&["train", text(&data), "--out", elsewhere, "--size", "7"]), "size");
    refused(noiseball(&["train", text(&data), "--out", text(&data)]), "the folder of the pictures");
}

/// Looking for a GPU connects to no display, for burn neither: with none, the libraries that do write about it.
#[test]
fn training_on_a_gpu_has_nothing_but_our_own_words_on_stderr() {
    let folder = temporary("quiet");
    let (data, out) = (folder.join("drawings"), folder.join("model"));
    drawings(&data);
    let mut arguments = vec!["train", text(&data), "--out", text(&out), "--preset", "tiny", "--size", "8"];
    arguments.extend(["--steps", "1", "--batch", "2", "--device", "gpu"]);
    let mut train = command(&arguments);
    let output = train
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("DISPLAY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(
        says.lines().all(|line| line.starts_with("10 pictures") || line.starts_with("left out ")),
        "{says}"
    );
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_folders_are_no_files() {
    let folder = temporary("pipes");
    let (data, out, elsewhere) = (folder.join("drawings"), folder.join("model"), folder.join("elsewhere"));
    drawings(&data);
    let base = ["--out", text(&out), "--batch", "4", "--steps", "1"];
    assert!(train(&data, &base).output().unwrap().status.success());
    let pipe = folder.join("pipe");
    pipes::make(&pipe);
    let new = ["--out", text(&elsewhere)];
    for path in [&pipe, Path::new("/dev/zero")] {
        pipes::refused(train(path, &new), "no regular file");
        pipes::refused(train(&data, &[&new[..], &["--config", text(path)]].concat()), "no regular file");
        let from = ["train", text(&data), "--out", text(&elsewhere), "--from", text(path), "--device", "cpu"];
        pipes::refused(command(&from), text(path));
    }
    pipes::refused(train(&data, &[&new[..], &["--config", text(&data)]].concat()), "it is a folder");
    let resume = ["--out", text(&out), "--resume", "--steps", "2"];
    pipes::make(&out.join("losses.csv"));
    pipes::refused(train(&data, &resume), "no regular file");
    fs::remove_file(out.join("losses.csv")).unwrap();
    pipes::make(&out.join("training-state.safetensors"));
    pipes::refused(train(&data, &resume), "no regular file");
}

/// What a run writes is no data of its own, and no folder above it has to be there.
#[test]
fn a_run_may_write_into_a_folder_within_its_data() {
    let folder = temporary("within");
    let data = folder.join("drawings");
    drawings(&data);
    let out = data.join("models/first");
    let run = |options: &[&str]| {
        let options = [&["--out", text(&out), "--batch", "4"], options].concat();
        let output = train(&data, &options).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["--steps", "1"]);
    assert!(out.join("samples.png").is_file());
    let reading = read(&data);
    assert_eq!(
        (reading.data.len(), reading.data.names),
        (10, ["columns", "rows"].map(str::to_owned).to_vec())
    );
    assert!(reading.skipped.iter().any(|s| s.name == "models/first/" && s.why.contains("trained")));
    run(&["--steps", "1", "--resume"]);
}

/// The pair of the documentation, with pictures of another size than the run's.
#[test]
fn a_run_is_gone_on_with_as_it_was_made_and_can_be_made_longer() {
    let folder = temporary("longer");
    let (data, out) = (folder.join("drawings"), folder.join("model"));
    drawings(&data);
    let state = out.join("training-state.safetensors");
    let begin = ["--out", text(&out), "--steps", "3", "--batch", "4"];
    assert!(train(&data, &begin).output().unwrap().status.success());
    let go_on = |more: &[&str]| {
        let options = ["train", text(&data), "--out", text(&out), "--resume", "--device", "cpu"];
        noiseball(&[&options, more].concat())
    };
    let before = fs::read(&state).unwrap();
    let refused = |output: Output, says: &str| {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(says), "{told}");
        assert_eq!(before, fs::read(&state).unwrap());
    };
    refused(go_on(&["--size", "16"]), "its pictures have 8 pixels a side, but `--size` 16");
    refused(go_on(&["--steps", "2"]), "`steps` is 2, but it must be at least 3");
    refused(go_on(&["--batch", "5"]), "`batch` is 4, but 5 was asked for");
    refused(go_on(&["--preset", "medium"]), "`unet.block_out_channels` is [16,32], but [64,128]");
    let nowhere = folder.join("nowhere");
    refused(train(&data, &["--out", text(&nowhere), "--resume"]).output().unwrap(), "Leave --resume out");

    let plain = go_on(&[]);
    assert!(plain.status.success(), "{plain:?}");
    assert_eq!(before, fs::read(&state).unwrap());
    let longer = go_on(&["--steps", "60", "--learning-rate", "0.003"]);
    assert!(longer.status.success(), "{longer:?}");
    let (recipe, step) = inspect("state", &fs::read(&state).unwrap()).unwrap();
    assert_eq!((recipe.steps, step, recipe.optimiser.learning_rate), (60, 60, 0.003));
    // Of three steps it was one.
    assert_eq!(
        serde_json::to_value(recipe.average).unwrap(),
        serde_json::json!({"half-life": {"steps": 20.0}})
    );
    assert_eq!(fs::read_to_string(out.join("losses.csv")).unwrap().lines().count(), 61);
}

#[test]
fn a_run_whose_samples_cannot_be_written_goes_on() {
    let folder = temporary("no-samples");
    let (data, out) = (folder.join("drawings"), folder.join("model"));
    drawings(&data);
    fs::create_dir_all(out.join("samples.png")).unwrap();
    let output = train(&data, &["--out", text(&out), "--steps", "2", "--batch", "4"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no samples at step 2: ") && told.contains("The run goes on"), "{told}");
    assert!(noiseball(&["inspect", text(&out)]).status.success());
}

/// The same table goes through the crate in tests/train_loop.rs, and through browsers in tests/web_train.rs.
#[test]
fn a_request_makes_the_recipe_and_the_losses_that_it_makes_in_the_page() {
    let folder = temporary("requests");
    let data = folder.join("data");
    for (class, name) in requests::CLASSES.iter().enumerate() {
        for number in 0..requests::OF_A_CLASS {
            let grey = requests::picture(class, number);
            let path = data.join(format!("{name}/{number:03}.png"));
            png(&path, requests::SIDE as u32, |x, y| [grey[y as usize * requests::SIDE + x as usize]; 3]);
        }
    }
    for (number, case) in requests::cases().into_iter().enumerate() {
        let mut options = vec!["train".to_owned(), text(&data).to_owned(), "--device=cpu".to_owned()];
        for (name, value) in &case.request {
            let name = if name == "learningRate" { "learning-rate" } else { name };
            options.push(format!(
                "--{name}={}",
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            ));
        }
        let run = |more: &[&str]| {
            let options = options.iter().map(String::as_str);
            let output = noiseball(&options.chain(more.iter().copied()).collect::<Vec<_>>());
            assert!(output.status.success(), "{output:?}");
        };
        let script = folder.join(format!("script-{number}"));
        run(&["--to-accelerate", text(&script)]);
        let read =
            |path: PathBuf| serde_json::from_slice::<serde_json::Value>(&fs::read(path).unwrap()).unwrap();
        assert_eq!(read(script.join("recipe.json")), case.recipe, "{options:?}");
        // The others would take their time.
        if case.recipe["steps"].as_u64().unwrap() > 100 {
            continue;
        }
        let out = folder.join(format!("model-{number}"));
        run(&["--out", text(&out)]);
        let losses = fs::read_to_string(out.join("losses.csv")).unwrap();
        let losses: Vec<f32> =
            losses.lines().skip(1).map(|line| line.split_once(',').unwrap().1.parse().unwrap()).collect();
        case.agrees(&losses);
        assert!(fs::read_to_string(out.join("held-out.csv")).unwrap().lines().count() >= 5);
    }
}

#[test]
fn what_a_file_says_of_the_steps_stretches_a_preset_too() {
    let folder = temporary("stretched");
    let (data, toml) = (folder.join("drawings"), folder.join("recipe.toml"));
    drawings(&data);
    fs::write(&toml, "steps = 2000\n[optimiser]\nbetas = [0.9, 0.95]\n").unwrap();
    let script = folder.join("script");
    let options = ["--preset", "medium", "--config", text(&toml), "--to-accelerate", text(&script)];
    let output = noiseball(&[&["train", text(&data), "--device", "cpu"], &options[..]].concat());
    assert!(output.status.success(), "{output:?}");
    let recipe: serde_json::Value =
        serde_json::from_slice(&fs::read(script.join("recipe.json")).unwrap()).unwrap();
    assert_eq!(recipe["average"], serde_json::json!({"half-life": {"steps": 80.0}}));
    assert_eq!(
        (&recipe["optimiser"]["warmup"], &recipe["optimiser"]["betas"][1]),
        (&100.into(), &0.95.into())
    );
}

/// What Python makes of it is tried by hand: see docs/training.md.
#[test]
fn a_run_becomes_a_script_for_accelerate() {
    let folder = temporary("accelerate");
    let (data, out) = (folder.join("drawings"), folder.join("script"));
    drawings(&data);
    let write = || train(&data, &["--to-accelerate", text(&out)]).output().unwrap();
    assert!(write().status.success());
    let data = read(&out.join("data.npz")).data;
    assert_eq!((data.shape, data.len(), data.classes()), ([3, 8, 8], 10, 2));
    let recipe: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("recipe.json")).unwrap()).unwrap();
    assert_eq!(recipe["unet"]["num_class_embeds"], 3);
    assert!(out.join("train.py").is_file() && out.join("requirements.txt").is_file());
    assert!(noiseball(&["inspect", text(&out.join("model"))]).status.success());
    assert_eq!(write().status.code(), Some(2), "written over");
}

#[test]
fn archives_and_arrays_are_data_sets_too() {
    let folder = temporary("formats");
    drawings(&folder.join("drawings"));
    let from_folder = read(&folder.join("drawings")).data;
    assert_eq!((from_folder.shape, from_folder.len()), ([3, 16, 16], 10));

    // The same files in an archive: stored, with what a Mac adds.
    let zip = folder.join("drawings.zip");
    let mut archive = rawzip::ZipArchiveWriter::new(fs::File::create(&zip).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let (mut entry, config) = archive.new_file(name).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        std::io::Write::write_all(&mut writer, bytes).unwrap();
        let (_, descriptor) = writer.finish().unwrap();
        entry.finish(descriptor).unwrap();
    };
    for class in ["rows", "columns"] {
        for i in 0..5 {
            let name = format!("{class}/{i}.png");
            add(&name, &fs::read(folder.join("drawings").join(&name)).unwrap());
            add(&format!("__MACOSX/{name}"), b"resource fork");
        }
    }
    archive.finish().unwrap();
    let from_archive = read(&zip);
    assert_eq!((from_archive.data, from_archive.skipped), (from_folder, Vec::new()));
    let bytes = fs::read(&zip).unwrap();
    fs::write(&zip, &bytes[..bytes.len() / 2]).unwrap();
    assert!(open(&zip, Options::default()).is_err(), "a truncated archive");

    // MNIST's pair, one of it compressed.
    let images = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 8][..], &[9; 192]].concat();
    fs::write(folder.join("train-images-idx3-ubyte"), images).unwrap();
    let labels = fs::File::create(folder.join("train-labels-idx1-ubyte")).unwrap();
    let mut labels = flate2::write::GzEncoder::new(labels, flate2::Compression::default());
    std::io::Write::write_all(&mut labels, &[0, 0, 8, 1, 0, 0, 0, 3, 2, 0, 2]).unwrap();
    labels.finish().unwrap();
    let digits = read(&folder.join("train-images-idx3-ubyte")).data;
    assert_eq!(digits.labels, Some(vec![1, 0, 1]));
    assert_eq!(digits.names, ["0", "2"]);
    assert_eq!(digits.pixels, Pixels::Bytes(vec![9; 192]));
}

/// Refused with 2 and these words.
fn refused(output: Output, says: &str) -> String {
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{says}: {told}");
    assert!(told.contains(says), "{says} is not in {told}");
    told
}

/// Otherwise it fails at a random step, once such a timestep is drawn, or trains on NaN.
#[test]
fn a_network_that_cannot_be_told_every_timestep_is_not_trained() {
    let folder = temporary("told");
    let (data, out) = (folder.join("drawings"), folder.join("model"));
    drawings(&data);
    let toml = folder.join("recipe.toml");
    for to in ["--out", "--to-accelerate"] {
        let run = |lines: &str| {
            fs::write(&toml, lines).unwrap();
            let options = [to, text(&out), "--steps", "1", "--batch", "2", "--config", text(&toml)];
            train(&data, &options).output().unwrap()
        };
        let learned = "[unet]\ntime_embedding_type = \"learned\"\nnum_train_timesteps = 990\n";
        refused(run(learned), "`num_train_timesteps` is 990, but it must be at least 1000");
        let fourier = "[unet]\ntime_embedding_type = \"fourier\"\n";
        let told = refused(run(fourier), "`time_embedding_type` is fourier");
        assert!(told.contains("told the time 0, which must be above 0"), "{told}");
        assert!(!out.exists());
        let enough = "[unet]\ntime_embedding_type = \"learned\"\nnum_train_timesteps = 990\n\
                      [scheduler]\nnum_train_timesteps = 990\n";
        let output = run(enough);
        assert!(output.status.success(), "{output:?}");
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn what_lies_in_a_folder_that_is_no_run_is_not_written_over() {
    let folder = temporary("strangers");
    let data = folder.join("drawings");
    drawings(&data);
    let run = |to: &str, out: &Path| {
        train(&data, &[to, text(out), "--steps", "1", "--batch", "2"]).output().unwrap()
    };
    for (to, names) in [
        ("--out", &["README.md", "samples.png", "unet/config.json", "losses.csv", "model_index.json"][..]),
        ("--to-accelerate", &["data.npz", "requirements.txt", "train.py", "model/unet/config.json"]),
    ] {
        for name in names {
            let out = folder.join("own").join(to).join(name.replace('/', "-"));
            let file = out.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "mine").unwrap();
            let told = refused(run(to, &out), name);
            assert!(told.contains(&format!("`{}` is", &to[2..])), "{told}");
            assert_eq!(fs::read(&file).unwrap(), b"mine");
            assert!(!out.join(".noiseball.lock").exists(), "{name}");
        }
        // What is not written over is in nobody's way.
        let out = folder.join("beside").join(to);
        fs::create_dir_all(&out).unwrap();
        fs::write(out.join("notes.txt"), "mine").unwrap();
        assert!(run(to, &out).status.success());
        assert_eq!(fs::read(out.join("notes.txt")).unwrap(), b"mine");
        let file = out.join("notes.txt");
        refused(run(to, &file), "which is a file");
        #[cfg(unix)]
        {
            let link = out.join("link");
            std::os::unix::fs::symlink("no-such-place", &link).unwrap();
            refused(run(to, &link), "a link that leads nowhere");
        }
    }
    // A run that was killed before its first save is begun again.
    let begun = folder.join("begun");
    fs::create_dir_all(&begun).unwrap();
    for name in [".noiseball.lock", "losses.csv", "samples.png"] {
        fs::write(begun.join(name), "").unwrap();
    }
    assert!(run("--out", &begun).status.success());
    // Refused for another reason, a run makes no folder either.
    let none = folder.join("none");
    let options = ["--out", text(&none), "--learning-rate", "1e300"];
    let told = refused(train(&data, &options).output().unwrap(), "`learning_rate` is 1e300");
    assert!(told.len() < 400 && !none.exists(), "{told}");
    refused(
        train(&data, &["--out", text(&none), "--seed", "-1"]).output().unwrap(),
        "from 0 to 9007199254740991",
    );
    let steps = ["--out", text(&none), "--steps", "-1"];
    refused(train(&data, &steps).output().unwrap(), "a whole number, 1 or more");
    let rate = ["--out", text(&none), "--learning-rate", "-1"];
    refused(train(&data, &rate).output().unwrap(), "`learning_rate` is -1");
}

#[test]
fn a_recipe_is_wrong_at_a_place_in_its_file() {
    let folder = temporary("places");
    let (data, out) = (folder.join("drawings"), folder.join("model"));
    drawings(&data);
    let toml = folder.join("recipe.toml");
    for (lines, says) in [
        ("steps = ", "recipe.toml is not a recipe in TOML: "),
        ("batch = 2\nspeed = 9\n", "unknown field `speed`"),
        ("batch = 2\nspeed = 9\n", "at line 2 column 1"),
        ("batch = 2\n[optimiser]\nlearning_rate = \"fast\"\n", "at line 3 column 1"),
        (
            "objective = { min-snr = { gamma = nan } }\n",
            "`objective.min-snr.gamma` must be a finite number at line 1",
        ),
        ("[unet]\nin_channels = 4\n", "`data's channels` is 3, but it must be 4"),
        ("[unet]\nout_channels = 4\n", "`out_channels` is 4, but it must be 3"),
        ("[unet]\nout_channels = 6\n", "learns a variance"),
    ] {
        fs::write(&toml, lines).unwrap();
        let output = train(&data, &["--out", text(&out), "--config", text(&toml)]).output().unwrap();
        let told = refused(output, says);
        assert!(!told.contains("JSON"), "{told}");
    }
    assert!(!out.exists());
}

#[cfg(unix)]
#[test]
fn a_stderr_that_takes_nothing_costs_no_run() {
    let folder = temporary("unheard");
    let data = folder.join("drawings");
    drawings(&data);
    let run = |name: &str, stderr: Option<Stdio>| {
        let out = folder.join(name);
        let mut command = train(&data, &["--out", text(&out), "--steps", "1", "--batch", "2"]);
        let piped = stderr.is_none();
        let mut child = command.stderr(stderr.unwrap_or_else(Stdio::piped)).spawn().unwrap();
        if piped {
            drop(child.stderr.take());
        }
        (child.wait().unwrap().code(), out.join("training-state.safetensors").exists())
    };
    assert_eq!(run("closed", None), (Some(0), true));
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        assert_eq!(run("full", Some(full.into())), (Some(0), true));
    }
}

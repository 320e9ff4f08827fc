//! The command line, as a user types it.

#![cfg(all(feature = "cli", not(target_arch = "wasm32")))]

mod golden;
#[cfg(unix)]
mod pipes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use golden::floats;
use serde_json::Value;

fn noiseball(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_noiseball"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints"))
        .output()
        .unwrap()
}

fn temporary(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
    fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

#[test]
fn a_pytorch_seed_gives_pythons_numbers() {
    let file: Value = serde_json::from_str(include_str!("fixtures/pipeline.json")).unwrap();
    let wanted = |c: &&Value| {
        c["checkpoint"] == "layout-b" && c["sampler"] == "DDIM" && c["batch"] == 3 && c["seed"].is_u64()
    };
    let case = file["cases"].as_array().unwrap().iter().find(wanted).unwrap();
    let npy = temporary("python.npy");
    let text = |key: &str| case[key].to_string();
    let output = noiseball(&[
        "sample",
        "layout-b",
        "--rng",
        "torch",
        "--sampler",
        "ddim",
        "--device",
        "cpu",
        "--npy",
        npy.to_str().unwrap(),
        "--steps",
        &text("steps"),
        "--seed",
        &text("seed"),
        "--batch",
        "3",
        "--eta",
        &text("eta"),
    ]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    // What repeats the run, and nothing else.
    let eta = case["eta"].as_f64().unwrap();
    let expected = format!(
        "noiseball sample layout-b --sampler ddim --steps {} --seed {} --rng torch --batch 3 --eta {eta} --device cpu\n",
        case["steps"], case["seed"]
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);

    let bytes = fs::read(npy).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(end % 64, 0);
    let header = std::str::from_utf8(&bytes[10..end]).unwrap();
    assert!(header.contains("'<f4'") && header.contains("(3, 3, 8, 8)"), "{header}");
    let found = bytes[end..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
    let expected = floats(&case["output"]);
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.zip(expected) {
        assert!((a - b).abs() < 1e-3, "{a} {b}");
    }
}

/// A copy of layout A with another scheduler and a variant, and what `sample` says of it.
#[test]
fn sample_says_what_it_does_and_what_it_leaves_out() {
    let folder = temporary("euler");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("unet")).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints/layout-a/unet");
    fs::copy(fixtures.join("config.json"), folder.join("unet/config.json")).unwrap();
    let weights = "unet/diffusion_pytorch_model";
    for variant in ["10", "20"] {
        let to = folder.join(format!("{weights}.{variant}.safetensors"));
        fs::copy(fixtures.join("diffusion_pytorch_model.safetensors"), to).unwrap();
    }
    fs::write(
        folder.join("scheduler_config.json"),
        r#"{"_class_name": "DDIMInverseScheduler", "prediction_tipe": null, "\u001b]52;c;x\u0007": 1}"#,
    )
    .unwrap();
    let png = temporary("inverse.png");
    let (path, png) = (folder.to_str().unwrap(), png.to_str().unwrap());
    let sample = |more: &[&str]| {
        let arguments = ["sample", path, "--device", "cpu", "--steps", "1", "--out", png];
        noiseball(&[&arguments[..], more].concat())
    };

    let output = sample(&[]);
    assert_eq!(output.status.code(), Some(2));
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(says.contains("`variant` is not given") && says.contains("10, 20"), "{says}");

    let output = sample(&["--variant", "20"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let says = String::from_utf8(output.stderr).unwrap();
    let [command, note, unused] = says.lines().collect::<Vec<_>>()[..] else { panic!("{says}") };
    assert!(
        command
            .ends_with("--variant 20 --sampler ddim --steps 1 --seed 0 --rng philox --batch 1 --device cpu"),
        "{command}"
    );
    assert_eq!(note, "note: no sampler for DDIMInverseScheduler yet: ddim is used instead");
    assert!(unused.starts_with("not used: ") && unused.contains("prediction_tipe"), "{unused}");
    assert!(!says.contains('\u{1b}'), "{says:?}");
    // `inspect` chooses by the same option.
    assert!(noiseball(&["inspect", path, "--variant", "10"]).status.success());
    assert_eq!(noiseball(&["inspect", path]).status.code(), Some(2));
}

/// Looking for a GPU connects to no display: with none, the libraries that do write about it.
#[test]
fn nothing_but_our_own_words_is_on_stderr() {
    let output = Command::new(env!("CARGO_BIN_EXE_noiseball"))
        .args(["sample", "layout-a", "--steps", "1", "--npy", temporary("quiet.npy").to_str().unwrap()])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints"))
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("DISPLAY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(says.starts_with("noiseball sample layout-a ") && says.lines().count() == 1, "{says}");
}

#[test]
fn pictures_are_laid_out_in_a_grid() {
    let png = temporary("grid.png");
    let name = png.to_str().unwrap();
    let output =
        noiseball(&["sample", "layout-a", "--steps", "1", "--batch", "5", "--device", "cpu", "--out", name]);
    assert!(output.status.success(), "{output:?}");
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(png).unwrap()));
    let reader = decoder.read_info().unwrap();
    assert_eq!(reader.info().size(), (24, 16));
}

#[test]
fn inspect_shows_layers_and_costs() {
    let output = noiseball(&["inspect", "class-conditional"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in
        ["down_blocks.0", "resnets.0", "class_embedding", "parameters", "GFLOP", "DDPMScheduler", "ddpm"]
    {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn inspect_shows_the_plan_and_what_it_takes() {
    let without = noiseball(&["inspect", "class-conditional"]);
    assert!(!String::from_utf8(without.stdout).unwrap().contains("dispatches"));
    for checkpoint in ["class-conditional", "layout-a", "../../../www/models/pixel-faces-16"] {
        let output = noiseball(&["inspect", checkpoint, "--plan"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        for expected in ["prelude, ", "  output = v", "down_blocks.0.resnets.0.conv1: v"] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        let numbers = |line: &str| -> Vec<f64> {
            let line = text.lines().find(|l| l.starts_with(line)).unwrap_or_else(|| panic!("{line}: {text}"));
            line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect()
        };
        let (dispatches, arena, weights) =
            (numbers("dispatches "), numbers("arena  "), numbers("packed weights"));
        assert!(dispatches[1] <= dispatches[0] && dispatches[0] <= 2.0 * dispatches[1], "{dispatches:?}");
        assert!((1.0..=1.3).contains(&arena[1]), "{arena:?}");
        // Matrices take half as much, vectors the same.
        assert!((0.5..0.6).contains(&(weights[1] / weights[0])), "{weights:?}");
    }
}

#[test]
fn inspect_tells_what_a_pipelines_parts_take() {
    let output = noiseball(&["inspect", "../../../www/models/emoji-64", "--plan"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["text_encoder ", "vae.encoder ", "unet ", "vae.decoder ", "dispatches "] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let megabytes = |format: &str| -> f64 {
        let end = format!(" MB at most with weights in {format}, while unet runs");
        let line = text.lines().find_map(|line| line.strip_prefix("memory ")?.strip_suffix(end.as_str()));
        line.unwrap_or_else(|| panic!("{format}: {text}")).trim().parse().unwrap()
    };
    // Weights are most of it, and the activations the same.
    let [whole, half, quarter] = ["f32", "f16", "8 bits"].map(megabytes);
    assert!(
        (whole - half - 2.0 * (half - quarter)).abs() < 0.2 && half < 0.6 * whole,
        "{whole} {half} {quarter}"
    );
}

#[test]
fn bad_input_ends_with_2_and_says_what_to_do() {
    let cases: [&[&str]; 8] = [
        &["sample", "no-such-folder"],
        &["sample", "layout-a", "--steps", "0"],
        &["sample", "layout-a", "--steps", "ten"],
        &["sample", "layout-a", "--sampler", "eular"],
        &["sample", "layout-a", "--seed", "9007199254740992"],
        &["sample", "layout-a", "--labels", "1"],
        &["sample", "class-conditional", "--labels", "17"],
        &["inspect", "."],
    ];
    for arguments in cases {
        let output = noiseball(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_folders_are_no_files() {
    let pipe = temporary("pipe");
    pipes::make(&pipe);
    let folder = temporary("with-pipes");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let out = temporary("of-pipes");
    let (pipe, folder, out) = (pipe.to_str().unwrap(), folder.to_str().unwrap(), out.to_str().unwrap());
    let refused = |arguments: &[&str], says: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_noiseball"));
        command.args(arguments);
        pipes::refused(command, says);
    };
    refused(&["bench", pipe], "no regular file");
    refused(&["bench", "/dev/zero"], "no regular file");
    refused(&["bench", folder], "it is a folder");
    for path in [pipe, "/dev/zero"] {
        for command in [&["sample"][..], &["inspect"], &["convert", "--out", out]] {
            refused(&[command, &[path]].concat(), path);
        }
    }
    // A checkpoint's files that are none are not there.
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints/layout-b/config.json");
    let place = |name: &str| Path::new(folder).join(name);
    pipes::make(&place("config.json"));
    refused(&["sample", folder], "here (found: ");
    fs::remove_file(place("config.json")).unwrap();
    fs::copy(fixture, place("config.json")).unwrap();
    pipes::make(&place("diffusion_pytorch_model.safetensors"));
    refused(&["sample", folder], "here (found: config.json)");
}

#[test]
fn unsupported_architectures_are_named() {
    let folder = temporary("skip");
    fs::create_dir_all(&folder).unwrap();
    let config = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/checkpoints/layout-a/unet/config.json"
    ));
    fs::write(
        folder.join("config.json"),
        config.unwrap().replace("\"DownBlock2D\"", "\"CrossAttnDownBlock2D\""),
    )
    .unwrap();
    let weights = "layout-a/unet/diffusion_pytorch_model.safetensors";
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(weights),
        folder.join("diffusion_pytorch_model.safetensors"),
    )
    .unwrap();
    let output = noiseball(&["inspect", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("CrossAttnDownBlock2D") && message.contains("not supported"), "{message}");
}

#[test]
fn bench_compares_devices_that_agree() {
    let config = "layout-a/unet/config.json";
    let output = noiseball(&["bench", config, "--batch", "2", "--runs", "2", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["batch"], 2);
    let times = found["milliseconds"].as_array().unwrap();
    assert_eq!(times.iter().map(|t| t["device"].as_str().unwrap()).collect::<Vec<_>>(), ["cpu", "gpu"]);
    for time in times {
        assert!(time["runs"] == 2 && time["median"].as_f64().unwrap() > 0.0, "{time}");
    }
}

/// Another picture than that of 32 bits, but by less than the eye sees; and the line that repeats it says so.
#[test]
fn a_gpu_multiplies_in_16_bits_where_it_can() {
    let sample = |device: &str| {
        let npy = temporary(&format!("{device}.npy"));
        let name = npy.to_str().unwrap();
        let output = noiseball(&["sample", "layout-a", "--steps", "2", "--device", device, "--npy", name]);
        let told = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), told, fs::read(npy).unwrap_or_default())
    };
    let (_, _, exact) = sample("cpu");
    let (done, told, halves) = sample("gpu-f16");
    if !done {
        assert!(told.contains("shader-f16") || told.contains("no GPU adapter"), "{told}");
        return;
    }
    assert!(told.contains("--device gpu-f16 # "), "{told}");
    assert!(halves.len() == exact.len() && halves[..128] == exact[..128]);
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        bytes[128..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let pairs = numbers(&exact).into_iter().zip(numbers(&halves));
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!((2e-5..2e-2).contains(&worst), "{worst:e}");
}

#[test]
fn a_profile_tells_kernels_apart_and_their_shares_add_up() {
    let output = noiseball(&["bench", "layout-a/unet/config.json", "--profile", "--runs", "2"]);
    if !output.status.success() {
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("no timestamp queries"), "{message}");
        return;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("GFLOP/s and") && text.contains("measured\n"), "{text}");
    let (shares, longest) = text.split_once("\nthe longest:\n").unwrap();
    let percent = |line: &str| line.split_once('%').and_then(|(share, _)| share.trim().parse::<f64>().ok());
    let shares: Vec<f64> = shares.lines().filter_map(percent).collect();
    assert!(shares.len() >= 2, "{text}");
    assert!((shares.iter().sum::<f64>() - 100.0).abs() < 0.5, "{text}");
    assert!(text.contains("product") && text.contains("attention") && longest.contains("conv"), "{text}");
}

/// The folder's tensors, as `inspect` and `sample` read them.
fn numbers(checkpoint: &Path) -> Vec<u8> {
    let npy = temporary(&format!("{}.npy", checkpoint.file_name().unwrap().to_str().unwrap()));
    let output = noiseball(&[
        "sample",
        checkpoint.to_str().unwrap(),
        "--steps",
        "3",
        "--device",
        "cpu",
        "--seed",
        "5",
        "--npy",
        npy.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{output:?}");
    fs::read(npy).unwrap()
}

#[test]
fn pytorchs_own_files_give_the_same_pictures() {
    assert_eq!(numbers(Path::new("pickle")), numbers(Path::new("layout-a")));
}

#[test]
fn convert_writes_what_sample_and_python_read() {
    for (from, layout) in
        [("pickle", "layout-a"), ("pickle-shards", "class-conditional"), ("layout-b", "layout-b")]
    {
        let to = temporary(&format!("converted-{from}"));
        let _ = fs::remove_dir_all(&to);
        let out = to.to_str().unwrap();
        let output = noiseball(&["convert", from, "--out", out]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(" parameters"), "{output:?}");
        let mut files: Vec<_> = fs::read_dir(&to).unwrap().map(|e| e.unwrap().file_name()).collect();
        files.retain(|name| name != "labels.json");
        files.sort();
        assert_eq!(files, ["model_index.json", "scheduler", "unet"]);
        assert_eq!(numbers(&to), numbers(Path::new(layout)), "{from}");
        // Again, and over something else: what is there stays.
        let again = noiseball(&["convert", "bf16", "--out", out]);
        let stderr = String::from_utf8_lossy(&again.stderr).into_owned();
        assert_eq!(again.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("`out` is") && stderr.contains("does not exist yet"), "{stderr}");
        assert_eq!(numbers(&to), numbers(Path::new(layout)), "{from}");
    }
    let half = temporary("converted-half");
    let _ = fs::remove_dir_all(&half);
    fs::create_dir(&half).unwrap();
    let output = noiseball(&["convert", "pickle", "--out", half.to_str().unwrap(), "--dtype", "f16"]);
    assert!(output.status.success(), "{output:?}");
    let size =
        |folder: &Path| fs::metadata(folder.join("unet/diffusion_pytorch_model.safetensors")).unwrap().len();
    assert!(size(&half) < size(&temporary("converted-pickle")) * 3 / 5);
    // What Python wrote in f16.
    assert_eq!(numbers(&half), numbers(Path::new("f16-variant")));
    // Nothing is left where the checkpoint cannot be read.
    let none = temporary("converted-none");
    let output = noiseball(&["convert", "no-such-folder", "--out", none.to_str().unwrap()]);
    assert!(!output.status.success() && !none.exists(), "{output:?}");
}

/// Words for a reader who is not there are no reason to lose the work.
#[cfg(unix)]
#[test]
fn a_stderr_that_takes_nothing_costs_no_picture() {
    use std::process::Stdio;
    let run = |name: &str, arguments: &[&str], stderr: Option<Stdio>| {
        let png = temporary(name);
        let _ = fs::remove_file(&png);
        let mut command = Command::new(env!("CARGO_BIN_EXE_noiseball"));
        command.args([
            "sample",
            "layout-a",
            "--steps",
            "1",
            "--device",
            "cpu",
            "--out",
            png.to_str().unwrap(),
        ]);
        command.args(arguments);
        command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints"));
        let piped = stderr.is_none();
        let mut child = command.stderr(stderr.unwrap_or_else(Stdio::piped)).spawn().unwrap();
        if piped {
            drop(child.stderr.take());
        }
        (child.wait().unwrap().code(), png.exists())
    };
    assert_eq!(run("closed.png", &[], None), (Some(0), true));
    assert_eq!(run("closed-bad.png", &["--steps", "2000"], None).0, Some(2));
    if Path::new("/dev/full").exists() {
        let full = || Some(Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap()));
        assert_eq!(run("full.png", &[], full()), (Some(0), true));
        assert_eq!(run("full-bad.png", &["--eta", "-1"], full()).0, Some(2));
    }
}

#[test]
fn a_strangers_list_is_not_shown_without_end() {
    let folder = temporary("keys");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("unet")).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints/layout-a/unet");
    let mut config: Value = serde_json::from_slice(&fs::read(fixtures.join("config.json")).unwrap()).unwrap();
    for i in 0..5000 {
        config[format!("k{i:04}")] = i.into();
    }
    fs::write(folder.join("unet/config.json"), config.to_string()).unwrap();
    let weights = "diffusion_pytorch_model.safetensors";
    fs::copy(fixtures.join(weights), folder.join("unet").join(weights)).unwrap();
    let output = noiseball(&["inspect", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("not used ")).count(), 11, "{text}");
    assert!(text.contains("k0009\n") && text.ends_with(" and 4990 more\n"), "{text}");
}

#[test]
fn paths_and_numbers_that_cannot_be_meant_say_what_can() {
    let refused = |arguments: &[&str], says: &str| {
        let output = noiseball(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?}: {says} is not in {told}");
    };
    let sample = |more: &[&str], says: &str| {
        let base = ["sample", "layout-a", "--steps", "1", "--device", "cpu"];
        refused(&[&base[..], more].concat(), says);
    };
    let both = temporary("both.png");
    let both = both.to_str().unwrap();
    sample(&["--npy", both, "--out", both], "another file than that of --npy");
    for name in ["x.jpg", "x.JPEG", "x.webp", "x.npy"] {
        let path = temporary(name);
        sample(&["--out", path.to_str().unwrap()], "ends in .png");
        assert!(!path.exists());
    }
    sample(&["--seed", "-1"], "from 0 to 9007199254740991");
    sample(&["--seed", "9007199254740992"], "from 0 to 9007199254740991");
    sample(&["--batch", "-1"], "a whole number, 1 or more");
    sample(&["--npy", temporary("").to_str().unwrap()], "`npy` is");
    sample(&["--sampler", "ddim", "--eta", "-1"], "`eta`");
    refused(&["sample", "class-conditional", "--device", "cpu", "--labels", "-1"], "`labels`");
    refused(&["bench", "layout-a"], "unet/config.json");
    refused(&["bench", "layout-a", "--weights", "f32", "--f16-products"], "--weights");
    #[cfg(unix)]
    {
        let link = temporary("dead-link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink("no-such-place", &link).unwrap();
        refused(&["convert", "layout-a", "--out", link.to_str().unwrap()], "does not exist yet");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}

#[test]
fn the_table_of_samplers_is_the_packages() {
    let printed = |arguments: &[&str]| String::from_utf8(noiseball(arguments).stdout).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/www/samplers.js");
    let made = printed(&["samplers", "--js"]);
    assert!(made == fs::read_to_string(path).unwrap(), "run `noiseball samplers --js > www/samplers.js`");
    let table = printed(&["samplers"]);
    assert!(table.contains("ddim (50 steps)") && table.contains("--eta: Fresh noise"), "{table}");

    let refused = |arguments: &[&str], says: &str| {
        let output = noiseball(&[&["sample", "layout-b", "--device", "cpu"], arguments].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(says), "{error}");
    };
    refused(&["--sampler", "euler", "--eta", "0.5"], "one that euler has: timestep_spacing, grid");
    refused(&["--sampler", "heun", "--grid", "lu"], "timesteps or karras or exponential or beta");
    refused(&["--sampler", "dpm-multistep", "--solver-order", "4"], "a whole number from 1 to 3");
}

/// The pixels of a PNG, RGBA, with its width and how many frames it has.
fn read_png(path: &Path) -> (Vec<u8>, u32, u32) {
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgba);
    let frames = reader.info().animation_control.map_or(1, |control| control.num_frames);
    (pixels, info.width, frames)
}

#[test]
fn embed_makes_what_a_post_needs() {
    let to = temporary("embedded");
    let _ = fs::remove_dir_all(&to);
    let out = to.to_str().unwrap();
    let embed = |more: &[&str]| {
        let arguments =
            ["embed", "class-conditional", "--out", out, "--device", "cpu", "--batch", "3", "--seed", "5"];
        noiseball(&[&arguments[..], more].concat())
    };
    for (wrong, says) in [
        (&["--classes", "0,nobody"][..], "`classes` is nobody"),
        (&["--package", "javascript:alert(1)"], "`package` is"),
        (&["--package", "https://x/\"><script>"], "`package` is"),
        (&["--steps", "1001"], "1 to 1000"),
    ] {
        let output = embed(wrong);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(says) && !to.exists(), "{stderr}");
    }
    let output = embed(&["--steps", "4", "--alt", "\"Cats\" & <dogs>", "--classes", "1,0"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines = fs::read_to_string(to.join("embed.html")).unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().ends_with(&lines));
    assert_eq!(
        lines,
        "<script type=\"module\" src=\"./noiseball/elements.js\"></script>\n\
         <diffusion-sampler src=\"./model/\" batch=\"3\" seed=\"5\" steps=\"4\" label=\"each\" alt=\"&quot;Cats&quot; &amp; &lt;dogs>\">\
         <img slot=\"poster\" src=\"./poster.png\" alt=\"&quot;Cats&quot; &amp; &lt;dogs>\"></diffusion-sampler>\n"
    );
    // The weights are halves, and the poster is what they give for these settings.
    let model = to.join("model");
    let weights = fs::read(model.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let header =
        String::from_utf8_lossy(&weights[8..8 + usize::from(u16::from_le_bytes([weights[0], weights[1]]))]);
    assert!(header.contains("\"F16\"") && !header.contains("\"F32\""), "{header}");
    let sampled = temporary("embedded.png");
    let same = [
        "--sampler",
        "ddim",
        "--steps",
        "4",
        "--seed",
        "5",
        "--batch",
        "3",
        "--labels",
        "1,0,1",
        "--device",
        "cpu",
    ];
    let output = noiseball(
        &[&["sample", model.to_str().unwrap(), "--out", sampled.to_str().unwrap()], &same[..]].concat(),
    );
    assert!(output.status.success(), "{output:?}");
    let (sample, width, _) = read_png(&sampled);
    let (poster, wide, frames) = read_png(&to.join("poster.png"));
    assert_eq!((width, frames), (16, 1));
    // Two of 8 pixels and a gap of one, each pixel a square.
    let scale = wide / 17;
    assert_eq!(scale, 512 / 16);
    for (y, x) in [(0, 0), (3, 7), (7, 15), (15, 2)] {
        let gap = |at: u32| if at < 8 { at } else { at + 1 };
        let at = |y: u32, x: u32, width: u32| 4 * (y * width + x) as usize;
        let large = at(gap(y) * scale + 5, gap(x) * scale + scale - 1, wide);
        let small = at(y, x, width);
        assert_eq!(poster[large..large + 4], sample[small..small + 4], "{y} {x}");
    }
    let (noise, _, frames) = read_png(&to.join("film.png"));
    assert_eq!(frames, 5);
    assert!(noise[..4] != poster[..4]);
    let page = fs::read_to_string(to.join("index.html")).unwrap();
    assert!(
        page.contains("script-src 'self' 'wasm-unsafe-eval'; worker-src 'self';") && !page.contains("://"),
        "{page}"
    );
    for line in lines.lines() {
        assert!(page.contains(line) && fs::read_to_string(to.join("README.md")).unwrap().contains(line));
    }
    // What is there stays; another address of the package is the page's only one.
    let again = embed(&["--steps", "1"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(fs::read_to_string(to.join("embed.html")).unwrap(), lines);
    fs::remove_dir_all(&to).unwrap();
    let output = embed(&[
        "--steps",
        "1",
        "--package",
        "https://cdn.example/noiseball@1/www",
        "--classes",
        "1",
        "--sampler",
        "euler",
    ]);
    assert!(output.status.success(), "{output:?}");
    let page = fs::read_to_string(to.join("index.html")).unwrap();
    assert!(page.contains("src=\"https://cdn.example/noiseball@1/www/elements.js\""), "{page}");
    assert!(
        page.contains("worker-src blob: https://cdn.example; connect-src 'self' https://cdn.example;"),
        "{page}"
    );
    assert!(page.contains("steps=\"1\" sampler=\"euler\" label=\"1\""), "{page}");
}

#[test]
fn sample_is_guided_and_edits_what_it_is_given() {
    let npy = temporary("edited.npy");
    let (init, mask) = (temporary("init.npy"), temporary("mask.npy"));
    let numbers = |shape: &[usize], of: &dyn Fn(usize) -> f32| {
        let data: Vec<u8> = (0..shape.iter().product()).flat_map(|i| of(i).to_le_bytes()).collect();
        noiseball::npy::encode("<f4", shape, &data)
    };
    fs::write(&init, numbers(&[3, 8, 8], &|i| (i % 17) as f32 / 16.0)).unwrap();
    fs::write(&mask, numbers(&[8, 8], &|i| f32::from(u8::from(i % 8 > 3)))).unwrap();
    let [npy, init, mask] = [&npy, &init, &mask].map(|path| path.to_str().unwrap());
    let sample = |more: &str, out: &str| {
        let start = [
            "sample",
            "class-conditional",
            "--sampler",
            "ddim",
            "--steps",
            "4",
            "--labels",
            "1",
            "--device",
            "cpu",
        ];
        let more: Vec<&str> = more.split_whitespace().collect();
        noiseball(&[&start[..], &["--npy", out][..], &more[..]].concat())
    };
    let all = format!(
        "--guidance 2 --guidance-rescale 0.5 --guidance-interval 0.1:50 --negative-label 3 --init {init} --strength 1 --mask {mask} --resamplings 2 --jump-length 2"
    );
    let output = sample(&all, npy);
    assert!(output.status.success(), "{output:?}");
    let says = String::from_utf8(output.stderr).unwrap();
    assert!(says.contains(&all), "{says}");
    let bytes = fs::read(npy).unwrap();
    let end = bytes.len() - 4 * 192;
    let found: Vec<f32> = bytes[end..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    for (i, value) in found.iter().enumerate() {
        let kept = 2.0 * ((i % 17) as f32 / 16.0) - 1.0;
        assert!(i % 8 > 3 || *value == kept, "{i}: {value}, not {kept}");
    }

    // A picture of half the size is enlarged: the mean of each square is what was given.
    let small = temporary("small.npy");
    fs::write(&small, numbers(&[3, 4, 4], &|i| (i % 5) as f32 / 4.0)).unwrap();
    let output = sample(&format!("--init {} --restore x2", small.display()), npy);
    assert!(output.status.success(), "{output:?}");
    let bytes = fs::read(npy).unwrap();
    let found: Vec<f32> = bytes[end..].as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    for i in 0..48 {
        let corner = i / 16 * 64 + i % 16 / 4 * 16 + i % 4 * 2;
        let mean = [0, 1, 8, 9].map(|at| found[corner + at]).iter().sum::<f32>() / 4.0;
        assert!((mean - (2.0 * ((i % 5) as f32 / 4.0) - 1.0)).abs() < 1e-5, "{i}: {mean}");
    }

    let other = temporary("other.npy");
    fs::write(&other, numbers(&[7, 8], &|_| 0.0)).unwrap();
    let white = temporary("white.npy");
    fs::write(&white, numbers(&[3, 8, 8], &|_| 255.0)).unwrap();
    let [other, white] = [&other, &white].map(|path| path.to_str().unwrap());
    for (more, named) in [
        (format!("--init {other}"), "`init`"),
        (format!("--init {init} --mask {other}"), "`mask`"),
        (format!("--init {white}"), "holds 255"),
        (format!("--init {init} --restore x2"), "`init`"),
        (format!("--init {init} --restore grau"), "blur:1.5"),
        (format!("--init {init} --restore blur:0"), "`restore`"),
        (format!("--init {init} --restore grey --mask {mask}"), "--mask"),
        ("--init no-such.png".to_owned(), "no-such.png"),
        ("--init class-conditional".to_owned(), "folder"),
        (format!("--mask {mask}"), "--init"),
        ("--strength 0.5".to_owned(), "--init"),
        ("--negative-label 1".to_owned(), "--guidance"),
        ("--guidance-rescale 1".to_owned(), "--guidance"),
        ("--guidance 2 --guidance-interval 5".to_owned(), "0.2:5"),
        ("--guidance 2 --guidance-interval 5:1".to_owned(), "`guidance_interval`"),
        ("--guidance -1".to_owned(), "`guidance`"),
        (format!("--init {init} --strength 0.1"), "`strength`"),
        (format!("--init {init} --mask {mask} --resamplings 0"), "`resamplings`"),
    ] {
        let output = sample(&more, npy);
        assert_eq!(output.status.code(), Some(2), "{more}: {output:?}");
        let says = String::from_utf8(output.stderr).unwrap();
        assert!(says.contains(named), "{more}: {says}");
    }
}

#[test]
fn compare_shows_samplers_side_by_side() {
    let png = temporary("compare.png");
    let run = |more: &[&str]| {
        let start = [
            "compare",
            "layout-a",
            "--device",
            "cpu",
            "--evaluations",
            "2,8,30",
            "--reference-steps",
            "100",
            "--out",
        ];
        noiseball(&[&start[..], &[png.to_str().unwrap()], more].concat())
    };
    let output = run(&["--samplers", "ddim,heun,ddpm,unipc", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cells = |row: usize, key: &str| -> Vec<Value> {
        (0..3).map(|i| found["rows"][row]["cells"][i][key].clone()).collect()
    };
    assert_eq!(found["rows"][1]["sampler"], "heun");
    // Two evaluations a step, and one in the last.
    assert_eq!(
        (cells(1, "steps"), cells(1, "evaluations")),
        (vec![1.into(), 4.into(), 15.into()], vec![1.into(), 7.into(), 29.into()])
    );
    assert_eq!(cells(2, "distance"), [Value::Null, Value::Null, Value::Null], "ddpm is random");
    // The network's weights are random, so that methods which do not clip end anywhere.
    let distances: Vec<f64> = cells(1, "distance").iter().map(|d| d.as_f64().unwrap()).collect();
    assert!(distances[2] < distances[0] && distances[2] < 0.1, "{distances:?}");
    let decoder = png::Decoder::new(std::io::Cursor::new(fs::read(&png).unwrap()));
    let reader = decoder.read_info().unwrap();
    assert_eq!((reader.info().width, reader.info().height), (3 * 8, 5 * 8), "and the reference");

    let output = run(&["--samplers", "ddim"]);
    let says = String::from_utf8(output.stdout).unwrap();
    assert!(says.contains("evaluations") && says.lines().count() == 3, "{says}");
    // What does not suit is left out, unless it is asked for.
    assert_eq!(run(&["--samplers", "flow-euler"]).status.code(), Some(2));
}

#[test]
fn likelihood_counts_bits() {
    let npy = temporary("likelihood.npy");
    let data: Vec<u8> = (0..384).flat_map(|i| ((i % 9) as f32 / 8.0).to_le_bytes()).collect();
    fs::write(&npy, noiseball::npy::encode("<f4", &[2, 3, 8, 8], &data)).unwrap();
    let npy = npy.to_str().unwrap();
    let run =
        |more: &[&str]| noiseball(&[&["likelihood", "layout-a", npy, "--device", "cpu"], more].concat());
    let output = run(&["--steps", "2", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let bits: Vec<f64> = (0..2).map(|i| found["pictures"][i]["bitsPerDim"].as_f64().unwrap()).collect();
    assert!(
        bits.iter().all(|bits| bits.is_finite())
            && (found["mean"].as_f64().unwrap() - (bits[0] + bits[1]) / 2.0).abs() < 1e-9
    );
    let output = run(&["--bound", "10"]);
    let says = String::from_utf8(output.stdout).unwrap();
    assert!(says.lines().count() == 3 && says.contains("mean of the bound of 2 pictures"), "{says}");
    for (more, named) in [
        (&["--steps", "0"][..], "`steps`"),
        (&["--bound", "1"], "`timesteps`"),
        (&["--bound", "5", "--probes", "2"], "--probes"),
        (&["no-such.png"], "no-such.png"),
    ] {
        let output = run(more);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let says = String::from_utf8(output.stderr).unwrap();
        assert!(says.contains(named), "{says}");
    }
}

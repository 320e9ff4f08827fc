//! How much memory reading a checkpoint takes, counted by the allocator. Alone in its binary, so that no other test
//! allocates meanwhile.
// Files claim more here than 32 bits can say; such claims are refused there before any memory is asked for.
#![cfg(all(target_pointer_width = "64", not(target_arch = "wasm32")))]

mod counting;
mod torch_file;

use std::fmt::Write as _;

use counting::{peak, peak_within};
use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::weights::{Dtype, Tensor, Weights};
use noiseball::model::{ModelConfig, SampleOptions};
use noiseball::{Checkpoint, Device, Error, Model};
use serde_json::json;
use torch_file::{Archive, LINEAR, Pickle, bytes};

const MIB: usize = 1 << 20;
/// f16 elements a tensor: 2 % of the file, as the largest of a diffusers UNet (5 % of it) is near.
const TENSOR: usize = 200 * 1024;
const TENSORS: usize = 50;

/// The head of a file of `TENSORS` tensors in f16.
fn head() -> Vec<u8> {
    let mut header = String::from("{");
    for i in 0..TENSORS {
        let comma = if i == 0 { "" } else { "," };
        let (begin, end) = (i * TENSOR * 2, (i + 1) * TENSOR * 2);
        write!(
            header,
            r#"{comma}"t{i:02}":{{"dtype":"F16","shape":[{TENSOR}],"data_offsets":[{begin},{end}]}}"#
        )
        .unwrap();
    }
    header.push('}');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes
}

fn stream(head: &[u8], chunk: &[u8]) -> Weights {
    let mut reader = WeightsReader::new("big.safetensors");
    reader.push(head).unwrap();
    let mut left = TENSORS * TENSOR * 2;
    while left > 0 {
        let n = left.min(chunk.len());
        reader.push(&chunk[..n]).unwrap();
        left -= n;
    }
    reader.finish().unwrap()
}

#[test]
fn memory_stays_near_the_file() {
    let head = head();
    let chunk = vec![0; 64 * 1024];
    let file = head.len() + TENSORS * TENSOR * 2;
    assert!(file > 19 * MIB);

    let (reading, weights) = peak(|| stream(&head, &chunk));
    let ratio = reading as f64 / file as f64;
    assert!(ratio <= 1.1, "reading takes {ratio:.2} times the file");
    drop(weights);

    // Twice as many bytes in the end, all alive: f32 from f16.
    let (converting, values) = peak(|| {
        let mut weights = stream(&head, &chunk);
        let names: Vec<_> = weights.names().map(str::to_owned).collect();
        let convert = |name: &String| weights.take(name).unwrap().to_f32(name).unwrap();
        names.iter().map(convert).collect::<Vec<_>>()
    });
    assert_eq!(values.iter().map(Vec::len).sum::<usize>(), TENSORS * TENSOR);
    let ratio = converting as f64 / file as f64;
    assert!(ratio <= 2.2, "reading and widening take {ratio:.2} times the file");
    drop(values);

    // One tensor that is the whole file, the worst case, and claims that nothing backs.
    for (elements, sent) in [(8 * MIB, 8 * 4 * MIB), (10 << 30, MIB), (1 << 56, MIB), (1 << 56, 100)] {
        let (size, mut bytes) = (elements * 4, Vec::new());
        let header = format!(r#"{{"x":{{"dtype":"F32","shape":[{elements}],"data_offsets":[0,{size}]}}}}"#);
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header.bytes());
        let (held, finished) = peak(|| {
            let mut reader = WeightsReader::new("claim.safetensors");
            reader.push(&bytes).unwrap();
            for sent in (0..sent).step_by(chunk.len()).map(|at| chunk.len().min(sent - at)) {
                reader.push(&chunk[..sent]).unwrap();
            }
            reader.finish()
        });
        assert_eq!(finished.is_ok(), sent == size);
        // While a buffer grows to twice its size, old and new are both there.
        assert!(held <= 2 * sent + 128 * 1024, "{held} bytes held of {sent} sent");
    }

    // A header whose length is a lie, and headers that are as large as they say.
    let claim = 90_000_000u64.to_le_bytes();
    let (held, _) = peak(|| {
        let mut reader = WeightsReader::new("claim.safetensors");
        reader.push(&claim).unwrap();
        reader.push(b"{").unwrap();
    });
    assert!(held < 128 * 1024, "{held} bytes held for a header of one byte");
    for (start, repeat, end) in [
        (r#"{"x":{"dtype":"F32","shape":["#, "1,", r#"1],"data_offsets":[0,4]}}"#),
        (r#"{"__metadata__":"#, "[", ""),
        (r#"{"__metadata__":["#, "{},", "1]}"),
        (
            r#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#,
            r#","a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#,
            "}",
        ),
        (r#"{"x":{"dtype":""#, "F", r#""}}"#),
    ] {
        let header = format!("{start}{}{end}", repeat.repeat(8 * MIB / repeat.len()));
        let (held, result) = peak(|| {
            let mut reader = WeightsReader::new("header.safetensors");
            reader.push(&(header.len() as u64).to_le_bytes()).and_then(|()| reader.push(header.as_bytes()))
        });
        assert!(
            held <= 4 * header.len(),
            "{held} bytes held for a header of {} bytes: {start}",
            header.len()
        );
        drop(result);
    }

    #[cfg(feature = "text")]
    parts_are_read_a_tensor_at_a_time();
    pytorchs_files();
    values_that_do_not_fit();
    pictures_that_do_not_fit();
}

/// What any input may take: 256 MB and four times its bytes.
const BASE: usize = 256_000_000;

/// Reads a file in PyTorch's format, and returns the most bytes that it held.
fn read_torch(file: &[u8]) -> (usize, noiseball::Result<Weights>) {
    peak(|| {
        let mut reader = WeightsReader::new("w.bin");
        file.chunks(64 * 1024).try_for_each(|chunk| reader.push(chunk)).and_then(|()| reader.finish())
    })
}

fn pytorchs_files() {
    // A storage that is a tensor as it stands is kept once.
    let elements = 5 * MIB as i64;
    let whole = torch_file::Tensor { elements, shape: &[5 << 20], strides: &[1], ..LINEAR };
    let archive = |tensor, len: usize| {
        let pickle = Pickle::state_dict(tensor);
        Archive::new().record("a/data.pkl", &pickle).record("a/data/0", &bytes(len)).end()
    };
    let file = archive(&whole, 20 * MIB);
    let (held, weights) = read_torch(&file);
    assert_eq!(weights.unwrap().get("weight").unwrap().bytes.len(), 20 * MIB);
    assert!(held <= 2 * file.len() + MIB, "{held} bytes for a file of {}", file.len());
    // A claim of terabytes, and a tensor that repeats one number.
    let claim = torch_file::Tensor { elements: 1 << 40, shape: &[1 << 40], strides: &[1], ..LINEAR };
    let repeated = torch_file::Tensor { shape: &[1 << 20, 1 << 20], strides: &[0, 0], ..LINEAR };
    for tensor in [&claim, &repeated] {
        let (held, result) = read_torch(&archive(tensor, 24));
        assert!(result.is_err() && held < MIB, "{held} bytes held: {result:?}");
    }
    // Programs that make as much as they can of each byte.
    let dictionaries = b"}X\x01\x00\x00\x00a}s";
    let tensor = Pickle::new(2).tensor(&LINEAR).end();
    let [start, end] = [&tensor[2..tensor.len() - 2], b"q\x00".as_slice()];
    let tensors = [b"\x80\x02", start, end, &b"h\x00".repeat(4 * MIB)].concat();
    let repeated = |program: &[u8]| [b"\x80\x02", &program.repeat(15 * MIB / program.len())[..]].concat();
    for program in [
        repeated(b"("),
        repeated(b"}"),
        repeated(b")"),
        repeated(b"N"),
        repeated(b"N\x94"),
        repeated(b"N\x85\x94"),
        repeated(dictionaries),
        tensors,
        repeated(&Pickle::new(2).tensor(&LINEAR).end()[2..]),
    ] {
        let file = Archive::new().record("a/data.pkl", &program).end();
        let (held, result) = read_torch(&file);
        assert!(result.is_err());
        assert!(held <= BASE + 4 * file.len(), "{held} bytes held for {} bytes", file.len());
    }
}

/// Where the room for a tensor's values is lacking, that is an error and not the end of the process.
fn values_that_do_not_fit() {
    for (dtype, width) in [(Dtype::F64, 8), (Dtype::F32, 4), (Dtype::F16, 2), (Dtype::Bf16, 2)] {
        let tensor = Tensor { dtype, shape: vec![4 * MIB], bytes: vec![0; 4 * MIB * width] };
        let (held, values) = peak_within(16 * MIB - 1, || tensor.to_f32("conv_in.weight"));
        let told = values.unwrap_err();
        assert!(
            matches!(told, Error::OutOfMemory { .. }) && told.to_string().contains("conv_in.weight"),
            "{told}"
        );
        assert!(held < MIB, "{held} bytes held");
        assert_eq!(tensor.to_f32("conv_in.weight").unwrap().len(), 4 * MIB);
    }
}

/// A network of a few kilobytes for pictures of this height and width.
fn small_network(size: usize) -> Model {
    let config = json!({
        "sample_size": size, "in_channels": 1, "out_channels": 1, "block_out_channels": [8], "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "norm_num_groups": 4,
        "add_attention": false,
    });
    let mut checkpoint = Checkpoint {
        model_index: None,
        unet_config: config.as_object().unwrap().clone(),
        scheduler_config: None,
        labels: None,
        weights: Weights::default(),
    };
    for (key, shape) in ModelConfig::read(&checkpoint).unwrap().inventory.parameters {
        checkpoint.weights.insert(&key, Tensor::from_f32(&shape, &vec![0.01; shape.iter().product()]));
    }
    Model::load_blocking(checkpoint, &Device::cpu()).unwrap()
}

/// What a config asks for is made sure of before the first number of noise is drawn.
fn pictures_that_do_not_fit() {
    let options = SampleOptions::default().steps(1);
    let step = |model: &Model| {
        let mut run = model.sample(&options)?;
        run.step_blocking().map(|step| step.unwrap().x.len())
    };
    // The noise alone would be 67 MB, and the activations are some gigabytes.
    let (loading, model) = peak(|| small_network(4096));
    assert!(loading < MIB, "{loading} bytes held to load it");
    assert!(model.info().activation_bytes > 2 << 30);
    let (held, refused) = peak_within(BASE, || step(&model));
    assert!(matches!(refused, Err(Error::OutOfMemory { .. })), "{refused:?}");
    assert!(held < MIB, "{held} bytes held by a run that cannot be");

    // Where there is room, a run takes what the network asks for and little more.
    let model = small_network(512);
    let asked = model.info().activation_bytes as usize;
    let (held, pixels) = peak(|| step(&model));
    assert_eq!(pixels.unwrap(), 512 * 512);
    assert!(held <= asked * 5 / 4, "{held} bytes held where the network asked for {asked}");
}

/// A pipeline's networks take what their weights take in the file, and a few tensors for a moment; in 8 bits, half.
#[cfg(feature = "text")]
fn parts_are_read_a_tensor_at_a_time() {
    use std::sync::Arc;

    use noiseball::checkpoint::save::safetensors;
    use noiseball::network::autoencoder_kl::AutoencoderKlConfig;
    use noiseball::network::unet::UNet2DConfig;
    use noiseball::pipeline::{Coder, Part, Runner};

    let unet = json!({
        "_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [128, 384],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 2,
    });
    let vae = json!({ "_class_name": "AutoencoderKL", "block_out_channels": [64] });
    let unet_part = UNet2DConfig::parse("unet", unet.as_object().unwrap()).unwrap().0;
    let coder = Arc::new(AutoencoderKlConfig::parse("vae", vae.as_object().unwrap()).unwrap().0);
    let root =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("streamed-{}", std::process::id()));
    let write = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let index = json!({
        "_class_name": "LDMPipeline", "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "AutoencoderKL"],
    });
    write("model_index.json", index.to_string().as_bytes());
    write("scheduler/scheduler_config.json", br#"{ "_class_name": "DDIMScheduler" }"#);
    write("unet/config.json", unet.to_string().as_bytes());
    write("vqvae/config.json", vae.to_string().as_bytes());
    let parts = [("unet", Part::UNet2D(Arc::new(unet_part))), ("vqvae", Part::Decoder(Coder::Kl(coder)))];
    let mut before = usize::MAX;
    for packed in [false, true] {
        let (mut files, mut largest) = (0, 0);
        for (name, part) in &parts {
            let mut weights = Weights::default();
            for (key, shape) in part.parameters() {
                let count: usize = shape.iter().product();
                largest = largest.max(count);
                weights.insert(key, Tensor::from_f32(&shape, &vec![0.01; count]));
            }
            if packed {
                weights.pack().map(|_| ()).unwrap()
            } else {
                weights.convert(Dtype::F16).unwrap()
            }
            let file = safetensors(&weights);
            files += file.len();
            write(&format!("{name}/diffusion_pytorch_model.safetensors"), &file);
        }
        let (held, runner) = peak(|| {
            let mut runner = Runner::open(root.to_str().unwrap(), None, Box::new(Device::cpu())).unwrap();
            pollster::block_on(runner.load(&mut |_| Ok(()))).unwrap();
            runner
        });
        // A tensor's bytes and numbers, and its matrix in rows and in panels.
        let most = files * 11 / 10 + 4 * 2 * largest + MIB;
        assert!(
            held <= most,
            "{held} bytes held for files of {files}, the largest tensor of which has {largest} numbers"
        );
        assert!(held < before / 3 * 2, "{held} bytes, and {before} in twice the precision");
        before = held;
        drop(runner);
    }
    std::fs::remove_dir_all(root).unwrap();
}

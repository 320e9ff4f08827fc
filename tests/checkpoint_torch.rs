//! Weights in PyTorch's own format: those that Python saved, and archives and pickles that nobody should believe.
#![cfg(not(target_arch = "wasm32"))]

mod torch_file;

use noiseball::checkpoint::weights::{Dtype, Weights};
use noiseball::checkpoint::{Opening, WeightsReader};
use noiseball::{Checkpoint, Error};
use torch_file::{Archive, LINEAR, Pickle, bytes};

fn read(file: &[u8], chunk: usize) -> Result<Weights, Error> {
    let mut reader = WeightsReader::new("w.bin");
    for piece in file.chunks(chunk) {
        reader.push(piece)?;
    }
    reader.finish()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/torch/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The safetensors file's weights.
fn safetensors(name: &str) -> Weights {
    let mut reader = WeightsReader::new(name);
    reader.push(&fixture(name)).unwrap();
    reader.finish().unwrap()
}

/// The reader's objection, the same whatever the pieces.
fn refusal(file: &[u8]) -> String {
    let mut problems = Vec::new();
    let small = if file.len() < 20_000 { 1 } else { 4096 };
    for chunk in [small, 7 * small, 64 * small, file.len().max(1)] {
        match read(file, chunk) {
            Err(Error::Torch { file, problem }) => {
                assert_eq!(file, "w.bin");
                problems.push(problem);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(problems.iter().all(|p| *p == problems[0]), "{problems:?}");
    assert!(problems[0].len() < 1000, "{}", problems[0]);
    problems.swap_remove(0)
}

#[track_caller]
fn refused(file: &[u8], expected: &str) {
    let found = refusal(file);
    assert!(found.contains(expected), "{found}");
}

#[test]
fn what_torch_saved_is_read() {
    let expected = safetensors("tensors.safetensors");
    for name in ["tensors.bin", "protocol4.bin"] {
        let file = fixture(name);
        for chunk in [1, 5, 64, 1000, file.len()] {
            let found = read(&file, chunk).unwrap();
            assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
            for name in expected.names() {
                assert_eq!(found.get(name), expected.get(name), "{name}");
                assert_eq!(found.get(name).unwrap().bytes, expected.get(name).unwrap().bytes, "{name}");
            }
        }
    }
    assert_eq!(expected.len(), 14);
    // An integer is no weight unless nobody asks for it.
    let weights = read(&fixture("tensors.bin"), 100).unwrap();
    let long = weights.get("long").unwrap();
    assert_eq!((long.dtype, &*long.bytes), (Dtype::Other("I64"), &7i64.to_le_bytes()[..]));
    assert!(matches!(long.to_f32("long"), Err(Error::Dtype { dtype, .. }) if dtype == "I64"));
}

#[test]
fn weights_are_found_in_a_training_loops_dictionary() {
    assert_eq!(read(&fixture("nested.bin"), 33).unwrap(), safetensors("linear.safetensors"));
    refused(&fixture("two.bin"), "it holds 2 sets of tensors, at [\"model\"], [\"ema\"][\"shadow\"]");
}

#[test]
fn other_files_of_torch_are_named() {
    refused(&fixture("legacy.bin"), "the format that PyTorch wrote before version 1.6");
    refused(&fixture("script.bin"), "it is a TorchScript archive");
    refused(&fixture("module.bin"), "`torch.nn.modules.linear.Linear`");
    refused(&fixture("linear.safetensors"), "it is a safetensors file");
    refused(b"<!DOCTYPE html><html>", "an HTML or XML page");
    refused(b"version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer");
    refused(b"", "it is empty");
    refused(&[0x80, 2, b'}', b'q', 0, b'.', 0, 0, 0, 0], "before version 1.6");
    let npz = Archive::new().record("conv.npy", b"\x93NUMPY").end();
    refused(&npz, "a ZIP archive whose first record is `conv.npy`");
    let message = read(&fixture("legacy.bin"), 64).unwrap_err().to_string();
    assert!(
        message.starts_with("w.bin cannot be read")
            && message.contains("torch.save(model.state_dict(), file)")
    );
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = fixture("tensors.bin");
    for len in 0..file.len() {
        let found = refusal(&file[..len]);
        let expected = if len == 0 { "it is empty".to_owned() } else { format!("it ends after {len} bytes") };
        assert!(found.starts_with(&expected), "{len}: {found}");
    }
    refused(&[&file[..], &[0]].concat(), "bytes follow the end");
    let mut reader = WeightsReader::new("w.bin");
    reader.expect_len(400);
    let e = reader.push(&file).unwrap_err().to_string();
    assert!(e.contains("bytes, but the file has 400"), "{e}");
}

#[test]
fn a_changed_byte_never_panics() {
    let file = fixture("tensors.bin");
    for at in 0..file.len() {
        for value in [0, 0xff, file[at] ^ 1, file[at] ^ 0x80] {
            let mut changed = file.clone();
            changed[at] = value;
            let whole = read(&changed, changed.len()).map_err(|e| e.to_string());
            let pieces = read(&changed, 13).map_err(|e| e.to_string());
            assert_eq!(whole, pieces, "byte {at} as {value}");
        }
    }
}

#[test]
fn shards_and_their_index() {
    let index = br#"{"weight_map":{"a":"m-2.bin","b":"m-1.bin"}}"#;
    let shards = noiseball::checkpoint::weights::Shards::parse("m.bin.index.json", index).unwrap().files;
    assert_eq!(shards, ["m-1.bin", "m-2.bin"]);
    let mut reader = WeightsReader::new("1.bin");
    reader.push(&fixture("tensors.bin")).unwrap();
    reader.next_file("2.bin").unwrap();
    reader.push(&fixture("nested.bin")).unwrap();
    assert_eq!(reader.finish().unwrap().len(), 16);
    let mut reader = WeightsReader::new("1.bin");
    reader.push(&fixture("nested.bin")).unwrap();
    reader.next_file("2.bin").unwrap();
    reader.push(&fixture("nested.bin")).unwrap();
    let e = reader.finish().unwrap_err().to_string();
    assert!(e.contains("another shard holds `weight` too"), "{e}");
}

#[test]
fn weights_are_compared_with_the_config_before_they_have_come() {
    let folder =
        |name: &str| format!("{}/tests/fixtures/checkpoints/{name}/unet", env!("CARGO_MANIFEST_DIR"));
    let weights = std::fs::read(folder("pickle") + "/diffusion_pytorch_model.bin").unwrap();
    let open = |config: &str, bytes: &[u8]| {
        let config = std::fs::read(folder(config) + "/config.json").unwrap();
        let names = ["config.json", "diffusion_pytorch_model.bin"];
        let mut opening = Opening::listed("here", &names, None)?;
        opening.give("config.json", &config)?;
        opening.begin("diffusion_pytorch_model.bin", Some(weights.len() as u64))?;
        bytes.chunks(1000).try_for_each(|chunk| opening.push(chunk))?;
        opening.end()?;
        opening.finish()
    };
    let whole = open("pickle", &weights).unwrap();
    let safe = Checkpoint::open(&folder("layout-a").replace("/unet", "")).unwrap();
    assert_eq!(whole.weights, safe.weights);
    // The pickle is the first third of the file; the numbers of a network of other sizes are not waited for.
    let other = open("class-conditional", &weights[..weights.len() / 2]).unwrap_err();
    assert!(matches!(other, Error::MissingKey { .. } | Error::WrongShape { .. }), "{other}");
    let cut = open("pickle", &weights[..weights.len() / 2]).unwrap_err();
    assert!(matches!(cut, Error::Torch { .. }), "{cut}");
}

// ---- Pickles that do more than describe tensors ----

/// The archive of a pickle, with the storage `data/0` of 24 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    Archive::new()
        .record("a/data.pkl", pickle)
        .record("a/byteorder", b"little")
        .record("a/data/0", &bytes(24))
        .end()
}

fn hostile(pickle: &Pickle) -> String {
    refusal(&archive(&pickle.end()))
}

#[test]
fn the_tests_own_files_are_good_but_for_what_is_changed() {
    let file = archive(&Pickle::state_dict(&LINEAR));
    let weights = read(&file, 10).unwrap();
    let tensor = weights.get("weight").unwrap();
    assert_eq!((tensor.dtype, &*tensor.shape, &*tensor.bytes), (Dtype::F32, &[2, 3][..], &*bytes(24)));
}

#[test]
fn code_is_refused_by_its_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_tensor_v3"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch.FloatStorage", ""),
        ("collections", "OrderedDict.fromkeys"),
        ("numpy.core.multiarray", "scalar"),
    ] {
        // os.system("echo"), in the ways of protocols 2 and 4.
        let by_line = Pickle::new(2).global(module, name).text("echo").raw(b"\x85R");
        assert_eq!(
            hostile(&by_line),
            format!("its pickle asks for `{module}.{name}`, which no weights need")
        );
        let by_stack = Pickle::new(4).text(module).text(name).raw(b"\x93").text("echo").raw(b"\x85R");
        assert_eq!(
            hostile(&by_stack),
            format!("its pickle asks for `{module}.{name}`, which no weights need")
        );
    }
    // Names that would fill a screen.
    let long = Pickle::new(2).global(&"a".repeat(100_000), "b");
    assert!(hostile(&long).contains("aaa…"));
    // Instructions that make objects in other ways.
    for (program, name) in [
        (&b"(S'echo'\nios\nsystem\n"[..], "0x53"),
        (b"(ios\nsystem\n", "INST"),
        (b"(o", "OBJ"),
        (b")\x81", "NEWOBJ"),
        (b"))}\x92", "NEWOBJ_EX"),
        (b"\x82\x01", "EXT1"),
        (b"P0\n", "PERSID"),
        (b"\x8b\xff\xff\xff\xff", "LONG4"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "0x8e"),
        (b"]2", "DUP"),
        (b"I1\n", "0x49"),
    ] {
        let found = hostile(&Pickle::new(2).raw(program));
        assert_eq!(found, format!("its pickle has the instruction {name}, which no weights need"));
    }
}

#[test]
fn tricks_with_the_stack_are_refused() {
    for (program, expected) in [
        // Nothing there to take, and nothing above an open list.
        (&b""[..], "takes a value that is not there"),
        (b"s", "SETITEM where it makes no sense"),
        (b"u", "SETITEMS where it makes no sense"),
        (b"t", "TUPLE where it makes no sense"),
        (b"N\x86", "where it makes no sense"),
        (b"NN(\x85", "where it makes no sense"),
        (b"}NN(s", "SETITEM where it makes no sense"),
        (b"}(Nu", "SETITEMS where it makes no sense"),
        (b"}((NNu", "SETITEMS where it makes no sense"),
        (b"](a", "takes a value that is not there"),
        (b"}(.", "takes a value that is not there"),
        (b"NN", "STOP where it makes no sense"),
        // Calls of what is no function, with what are no arguments.
        (b"}}R", "REDUCE where it makes no sense"),
        (b"})R", "REDUCE where it makes no sense"),
        (b"ccollections\nOrderedDict\nK\x01\x85R", "with other arguments"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "with other arguments"),
        (b"ctorch._utils\n_rebuild_parameter\n}NN\x87R", "with other arguments"),
        (b"ctorch\nFloatStorage\n)R", "with other arguments"),
        (b"]}b", "BUILD where it makes no sense"),
        (b")Q", "no storage of numbers"),
        (b"}Q", "BINPERSID where it makes no sense"),
        (b"K\x01K\x02\x93", "STACK_GLOBAL where it makes no sense"),
        // The memo.
        (b"h\x00", "recalls value 0"),
        (b"Nq\x01", "remembers value 1 after 0"),
        (b"Nr\xff\xff\xff\xff", "remembers value 4294967295 after 0"),
        (b"q\x00", "takes a value that is not there"),
        // Texts and numbers that are not there.
        (b"X\xff\xff\xff\xffa", "cut short"),
        (b"X\x01\x00\x00\x00\xff", "not UTF-8"),
        (b"\x8a\xff\x01", "cut short"),
        (b"cos", "cut short"),
        (b"\x95\xff\xff\xff", "cut short"),
        // No weights.
        (b"K\x01", "not a dictionary"),
        (b"}", "no tensors under names"),
        (b"}.}", "bytes follow the end of its pickle"),
    ] {
        let found = hostile(&Pickle::new(2).raw(program));
        assert!(found.contains(expected), "{:?}: {found}", String::from_utf8_lossy(program));
    }
    refused(&archive(b"}."), "protocols 2 to 5");
    refused(&archive(b"\x80\x01}."), "protocols 2 to 5");
    refused(&archive(b"\x80\x06}."), "protocols 2 to 5");
}

#[test]
fn programs_without_an_end_stop() {
    // Deeper than any parser should follow: dictionaries and tuples in each other, marks, lists.
    for repeated in [&b"("[..], b"]", b"}", b")", b")\x85", b"N", b"}}X\x00\x00\x00\x00", b"N\x94"] {
        let found = hostile(&Pickle::new(2).raw(&repeated.repeat(1_200_000 / repeated.len())));
        assert!(
            found.contains("more than 1048576 instructions")
                || found.contains("cut short")
                || found.contains("sense")
                || found.contains("not there"),
            "{found}"
        );
    }
    let mut deep = Pickle::new(2);
    for _ in 0..100_000 {
        deep = deep.raw(b"}").text("a");
    }
    assert!(hostile(&deep.raw(b"}").raw(&b"s".repeat(100_000))).contains("no tensors under names"));
    // A dictionary that holds itself, and one that holds each of a thousand that hold it: visited once each.
    assert!(
        hostile(&Pickle::new(2).raw(b"}q\x00").text("a").raw(b"h\x00s")).contains("no tensors under names")
    );
    let mut web = Pickle::new(2).raw(b"}q\x00}q\x01}q\x02");
    for _ in 0..20_000 {
        for (into, from) in [(0, 1), (1, 2), (2, 0)] {
            web = web.raw(&[b'h', into]).text("a").raw(&[b'h', from, b's']).raw(b"\x85q\x03");
        }
    }
    assert!(hostile(&web).contains("sense"));
}

// ---- Tensors that are not there ----

fn tensor_refused(tensor: &torch_file::Tensor<'_>, expected: &str) {
    refused(&archive(&Pickle::state_dict(tensor)), expected);
}

// On 32 bits, its largest sizes and strides are refused for what they are.
#[cfg(target_pointer_width = "64")]
#[test]
fn tensors_stay_inside_their_storage() {
    for (offset, shape, strides) in [
        (1, &[2, 3][..], &[3, 1][..]),
        (0, &[2, 4], &[4, 1]),
        (0, &[2, 3], &[4, 1]),
        (0, &[7], &[1]),
        (6, &[], &[]),
        (-1, &[2], &[1]),
        (0, &[1 << 31, 1 << 31, 4], &[0, 0, 0]),
        (0, &[i64::MAX, 2], &[0, 0]),
        (i64::MAX, &[2], &[1]),
        (0, &[2], &[i64::MAX]),
        (0, &[3, 2], &[i64::MAX, i64::MAX]),
        (0, &[i64::MAX, 4, 0], &[0, 0, 0]),
    ] {
        let tensor = torch_file::Tensor { offset, shape, strides, ..LINEAR };
        tensor_refused(&tensor, "outside its storage `0` of 24 bytes");
    }
    tensor_refused(&torch_file::Tensor { strides: &[-3, 1], ..LINEAR }, "size or stride -3");
    tensor_refused(&torch_file::Tensor { shape: &[-2, 3], ..LINEAR }, "size or stride -2");
    tensor_refused(&torch_file::Tensor { strides: &[1], ..LINEAR }, "2 sizes and 1 strides");
    tensor_refused(&torch_file::Tensor { shape: &[1; 9], strides: &[1; 9], ..LINEAR }, "9 sizes");
    // An axis of one element, and no elements, may have any stride.
    let odd = torch_file::Tensor { shape: &[2, 1, 3], strides: &[3, i64::MAX, 1], ..LINEAR };
    assert_eq!(read(&archive(&Pickle::state_dict(&odd)), 9).unwrap().get("weight").unwrap().bytes, bytes(24));
    let odd = torch_file::Tensor { shape: &[3, 1, 2], strides: &[1, i64::MAX, 3], ..LINEAR };
    assert_eq!(read(&archive(&Pickle::state_dict(&odd)), 9).unwrap().get("weight").unwrap().bytes.len(), 24);
    let none = torch_file::Tensor { offset: 99, shape: &[5, 0], strides: &[i64::MAX, 3], ..LINEAR };
    assert_eq!(read(&archive(&Pickle::state_dict(&none)), 9).unwrap().get("weight").unwrap().bytes.len(), 0);
    // Six numbers as a tensor of a gigabyte.
    let repeated = torch_file::Tensor { shape: &[1 << 14, 1 << 14, 1], strides: &[0, 0, 1], ..LINEAR };
    tensor_refused(&repeated, "repeat 24 stored bytes until they are 1073741824");
}

#[test]
fn storages_are_what_the_pickle_says() {
    for elements in [5, 7, 0, 1 << (usize::BITS - 24)] {
        let claim = torch_file::Tensor { elements, shape: &[0], strides: &[1], ..LINEAR };
        let expected = format!("its record `a/data/0` has 24 bytes, but its tensors need {}", elements * 4);
        let with_sizes = Archive::new().sizes_first().record("a/data.pkl", &Pickle::state_dict(&claim));
        refused(&with_sizes.record("a/data/0", &bytes(24)).end(), &expected);
        // Where the size stands behind the record: it is not where it would be.
        let found = refusal(&archive(&Pickle::state_dict(&claim)));
        assert!(
            found.contains("its record `a/data/0` does not have") || found.starts_with("it ends after"),
            "{found}"
        );
    }
    for elements in [-1, i64::MAX, i64::MAX / 2] {
        tensor_refused(&torch_file::Tensor { elements, ..LINEAR }, "more than this machine can address");
    }
    tensor_refused(&torch_file::Tensor { storage: "UntypedStorage", ..LINEAR }, "`torch.UntypedStorage`");
    tensor_refused(&torch_file::Tensor { key: "1", ..LINEAR }, "it has no record `data/1`");
    let twice = Pickle::new(2).raw(b"}").tensor(&LINEAR).raw(b"s");
    let other = torch_file::Tensor { name: "other", storage: "HalfStorage", ..LINEAR };
    assert!(hostile(&twice.tensor(&other).raw(b"s")).contains("its storage `0` is described in two ways"));
    let twice = Pickle::new(2).raw(b"}").tensor(&LINEAR).raw(b"s").tensor(&LINEAR).raw(b"s");
    assert!(hostile(&twice).contains("it holds `weight` twice"));
}

// ---- Archives that lie ----

#[test]
fn archives_say_one_thing() {
    let pickle = Pickle::state_dict(&LINEAR);
    let begin = || Archive::new().record("a/data.pkl", &pickle);
    let good = begin().record("a/data/0", &bytes(24));
    assert_eq!(read(&good.clone().end(), 50).unwrap().len(), 1);
    let sizes_first =
        Archive::new().sizes_first().record("a/data.pkl", &pickle).record("a/data/0", &bytes(24));
    assert_eq!(read(&sizes_first.clone().end(), 50).unwrap().len(), 1);
    assert_eq!(read(&sizes_first.zip64().end(), 50).unwrap().len(), 1);
    assert_eq!(read(&good.clone().zip64().end(), 50).unwrap().len(), 1);

    refused(&good.clone().record("a/data/0", &bytes(24)).end(), "its record `a/data/0` is there twice");
    refused(
        &good.clone().record("a/version", b"3").record("a/version", b"4").end(),
        "`a/version` is there twice",
    );
    refused(
        &begin().record("a/data.pkl", &pickle).record("a/data/0", &bytes(24)).end(),
        "`a/data.pkl` is there twice",
    );
    refused(&begin().end(), "it has no record `data/0`");
    refused(
        &good.clone().record("b/version", b"3").end(),
        "its record `b/version` is outside its folder `a/`",
    );
    refused(&good.clone().record("a/byteorder", b"big").end(), "in big byte order");
    refused(&good.clone().record("a/code/__torch__.py", b"import os").end(), "it is a TorchScript archive");
    refused(
        &good.clone().record("a/other", &vec![b' '; 2 << 20]).end(),
        "`a/other` has more than 1048576 bytes",
    );
    refused(
        &Archive::new().record("a/data.pkl", &vec![b' '; 17 << 20]).end(),
        "has more than 16777216 bytes",
    );
    refused(&good.clone().change(|head, _| head[8] = 8).end(), "its record `a/data.pkl` is compressed");
    refused(&good.clone().change(|head, _| head[6] |= 1).end(), "its record `a/data.pkl` is encrypted");
    refused(&good.clone().change(|head, _| head[26] = 0xff).end(), "");
    // A directory that names other records, places, sizes or methods: what other programs would read.
    let disagrees = "`a/data.pkl` does not agree with its record";
    refused(&good.clone().change(|_, entry| entry[10] = 8).end(), disagrees);
    refused(&good.clone().change(|_, entry| entry[20] ^= 1).end(), disagrees);
    refused(&good.clone().change(|_, entry| entry[24] ^= 1).end(), disagrees);
    refused(&good.clone().change(|_, entry| entry[42] ^= 1).end(), disagrees);
    refused(
        &good.clone().change(|_, entry| entry[46] = b'b').end(),
        "`b/data.pkl` does not agree with its record",
    );
    refused(&good.clone().without_entries(1).end(), "its directory names 1 of 2 records");
    refused(&good.clone().without_entries(2).end(), "are no record of an archive");
    let other = good.clone().record("a/version", b"3").end();
    let directory = other.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    refused(&[&good.end()[..], &other[directory..]].concat(), "bytes follow the end of its archive");
}

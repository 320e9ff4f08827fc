//! Reading checkpoints: those that Python saved, and everything that is none.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::BTreeMap;

use noiseball::Error;
use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::weights::{Asked, Dtype, Shards, Tensor, Weights};
use proptest::prelude::*;
use safetensors::{SafeTensors, tensor::TensorView};

/// A safetensors file of a header and its data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Two tensors, one without elements, and space after the header.
fn small() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt"},
        "conv.weight":{"dtype":"F16","shape":[2,1,1,1],"data_offsets":[4,8]},
        "conv.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "none":{"dtype":"F64","shape":[3,0],"data_offsets":[8,8]}}   "#;
    file(header, &[0, 0, 0x80, 0x3f, 0, 0x3c, 0, 0xc0])
}

fn read(bytes: &[u8], chunk: usize) -> Result<Weights, Error> {
    let mut reader = WeightsReader::new("w.safetensors");
    for piece in bytes.chunks(chunk) {
        reader.push(piece)?;
    }
    reader.finish()
}

/// The reader's objection, the same whatever the pieces and whether or not the length is known beforehand.
fn refusal(bytes: &[u8]) -> String {
    let mut problems = Vec::new();
    for chunk in [1, 7, bytes.len().max(1)] {
        match read(bytes, chunk) {
            Err(Error::Safetensors { file, problem }) => {
                assert_eq!(file, "w.safetensors");
                problems.push(problem);
            }
            other => panic!("{other:?} from {:?}", String::from_utf8_lossy(bytes)),
        }
    }
    assert!(problems.iter().all(|p| *p == problems[0]), "{problems:?}");
    let mut reader = WeightsReader::new("w.safetensors");
    reader.expect_len(bytes.len() as u64);
    let announced = reader.push(bytes).and_then(|()| reader.finish().map(drop));
    assert!(matches!(announced, Err(Error::Safetensors { .. })), "{announced:?}");
    problems.swap_remove(0)
}

#[test]
fn a_small_file_is_read() {
    let mut weights = read(&small(), 3).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["conv.bias", "conv.weight", "none"]);
    let none = weights.take("none").unwrap();
    assert_eq!(
        (none.dtype, &none.shape[..], none.to_f32("none").unwrap()),
        (Dtype::F64, &[3, 0][..], vec![])
    );
    let weight = weights.take("conv.weight").unwrap();
    assert_eq!((weight.dtype, &weight.shape[..]), (Dtype::F16, &[2, 1, 1, 1][..]));
    assert_eq!(weight.to_f32("conv.weight").unwrap(), [1.0, -2.0]);
    assert_eq!(weights.take("conv.bias").unwrap().to_f32("conv.bias").unwrap(), [1.0]);
    assert!(weights.is_empty() && weights.take("conv.bias").is_none());
    assert!(read(&file("{}", &[]), 1).unwrap().is_empty());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = small();
    for len in 0..whole.len() {
        let problem = refusal(&whole[..len]);
        let expected = if len == 0 { "it is empty".to_owned() } else { format!("it ends after {len} ") };
        assert!(problem.starts_with(&expected), "{problem}");
        // Where the disk knows the length, the header is enough to see it.
        let mut reader = WeightsReader::new("w.safetensors");
        reader.expect_len(whole.len() as u64);
        assert!(reader.push(&whole[..len]).is_ok() && reader.finish().is_err());
    }
}

#[test]
fn what_is_no_safetensors_file_is_named() {
    let html = b"<!DOCTYPE html><html><body>Not found</body></html>";
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    for (bytes, problem) in [
        (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "it is a PNG image"),
        (b"PK\x03\x04\0\0\x08\x08\0\0archive/data.pkl", "it is a zip archive"),
        (b"\x80\x02}q\0X\x06\0\0\0conv_i", "it is a Python pickle"),
        (html, "it is an HTML or XML page"),
        (lfs, "it is a git-lfs pointer"),
        (b"{\"conv_in.bias\":{}}", "its header's length would be"),
        (&[0xff; 32], "its header's length would be 18446744073709551615"),
        (&(1u64 << 63).to_le_bytes(), "its header's length would be 9223372036854775808"),
        (&100_000_001u64.to_le_bytes(), "its header's length would be 100000001"),
        (&[0; 8], "its header has 0 bytes"),
        (&[0; 32], "its header has 0 bytes"),
    ] {
        let found = refusal(bytes);
        assert!(found.starts_with(problem), "{found}");
    }
    // The longest header there may be is waited for, unless the file cannot hold it.
    let longest = 100_000_000u64.to_le_bytes();
    let mut reader = WeightsReader::new("w.safetensors");
    reader.push(&longest).unwrap();
    let mut reader = WeightsReader::new("w.safetensors");
    reader.expect_len(1000);
    let e = reader.push(&longest).unwrap_err().to_string();
    assert!(e.contains("100000000") && e.contains("1000"), "{e}");
}

#[test]
fn a_wrong_header_is_refused() {
    let one = |info: &str| format!(r#"{{"x":{info}}}"#);
    for (header, problem) in [
        ("not json".to_owned(), "its header is not a JSON object"),
        ("[]".to_owned(), "its header is not a JSON object"),
        (" {}".to_owned(), "its header is not a JSON object"),
        ("{\"x\":".to_owned(), "its header is wrong: `x`: it ends where it should have an object"),
        ("{} {}".to_owned(), "its header is wrong: expected the end at line 1, column 4"),
        (one("3"), "its header is wrong: `x`: expected an object at line 1, column 6"),
        (one("{}"), "its header is wrong: `x`: it has no `dtype`"),
        (one(r#"{"dtype":"F32","shape":[2]}"#), "its header is wrong: `x`: it has no two `data_offsets`"),
        (one(r#"{"dtype":1,"shape":[2],"data_offsets":[0,8]}"#), "its header is wrong: `x`: expected a dtype in quotes"),
        (one(r#"{"dtype":"F31","shape":[2],"data_offsets":[0,8]}"#), "its header is wrong: `x`: the dtype `F31` is unknown"),
        (one(r#"{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}"#), "its header is wrong: `x`: it has `dtype` twice"),
        (one(r#"{"dtype":"F32","shape":2,"data_offsets":[0,8]}"#), "its header is wrong: `x`: expected a list of whole numbers"),
        (one(r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#), "its header is wrong: `x`: expected a whole number, 0 or more"),
        (one(r#"{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}"#), "its header is wrong: `x`: expected a whole number, 0 or more"),
        (one(r#"{"dtype":"F32","shape":[2,1,1,1,1,1,1,1,1],"data_offsets":[0,8]}"#), "its header is wrong: `x`: a list has more than 8 numbers"),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}"#), "its header is wrong: `x`: a list has more than 2 numbers"),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0]}"#), "its header is wrong: `x`: it has no two `data_offsets`"),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616]}"#), "its header is wrong: `x`: expected a whole number"),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#), "`x` ends at byte 0, before it begins at 8"),
        (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), "bytes 0 to 4 before `x` belong to no tensor"),
        (one(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#), "`x` of shape [3] in F32 does not fill its 8 bytes"),
        (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,8]}"#), "`x` of shape [1] in F32 does not fill its 8 bytes"),
        (one(r#"{"dtype":"F4","shape":[3],"data_offsets":[0,1]}"#), "`x` of shape [3] in F4 does not fill its 1 bytes"),
        (one(r#"{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,8]}"#), "`x` of shape [1152921504606846976] is larger"),
        (one(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#), "`x` of shape [4294967296, 4294967296] is larger"),
        (one(r#"{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,9223372036854775808]}"#), "`x` of shape [9223372036854775808] is larger"),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#.to_owned(),
            "`y` begins at byte 2, inside another tensor that ends at 4",
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}}"#.to_owned(),
            "bytes 4 to 5 before `y` belong to no tensor",
        ),
        (
            r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#.to_owned(),
            "its header holds `x` twice",
        ),
    ] {
        let found = refusal(&file(&header, &[0; 8]));
        // On 32 bits, such sizes are no numbers at all.
        let uncountable = usize::BITS == 32 && found.contains("larger than any file");
        assert!(found.starts_with(problem) || uncountable, "{header}: {found}");
        assert!(found.len() < 400);
    }
    // Not text, deeper than any parser should follow, and names too long for a message.
    refusal(&file("{\"\u{fffd}", &[0xff; 8]));
    refusal(&[&8u64.to_le_bytes()[..], b"{\"\xff\xfe\":1}"].concat());
    refusal(&file(&format!("{{\"__metadata__\":{}", "[".repeat(100_000)), &[]));
    let long = "ä".repeat(100_000);
    for header in
        [format!("{{\"{long}\":3}}"), format!("{{\"{long}\":{{\"dtype\":\"{long}\",\"shape\":\"{long}\"}}}}")]
    {
        assert!(refusal(&file(&header, &[])).len() < 1000);
    }
}

#[test]
fn bytes_after_the_last_tensor_are_refused() {
    let longer = [&small()[..], &[0]].concat();
    let total = small().len();
    assert_eq!(refusal(&longer), format!("bytes follow its last tensor, which ends at byte {total}"));
    refusal(&file("{}", &[0]));
    // A length known beforehand is compared with the header's.
    for announced in [total - 1, total + 1] {
        let mut reader = WeightsReader::new("w.safetensors");
        reader.expect_len(announced as u64);
        let e = reader.push(&small()).unwrap_err().to_string();
        assert!(e.contains(&format!("describes {total} bytes, but the file has {announced}")), "{e}");
    }
}

#[test]
fn a_reader_that_failed_stays_so_until_restarted() {
    let mut reader = WeightsReader::new("w.safetensors");
    assert!(reader.push(&[0; 8]).is_err());
    assert!(reader.push(&small()).unwrap_err().to_string().contains("failed before"));
    assert!(reader.next_file("x").is_err());
    reader.restart();
    let whole = small();
    reader.push(&whole[..whole.len() - 1]).unwrap();
    assert_eq!((reader.received(), reader.total()), (whole.len() as u64 - 1, Some(whole.len() as u64)));
    reader.restart();
    reader.push(&whole).unwrap();
    assert_eq!(reader.finish().unwrap().len(), 3);
}

#[test]
fn shards_become_one() {
    let shard = |name: &str| {
        file(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#), &[0; 4])
    };
    let mut reader = WeightsReader::new("1.safetensors");
    reader.push(&shard("a.attentions.0.query.bias")).unwrap();
    reader.next_file("2.safetensors").unwrap();
    reader.push(&shard("b")).unwrap();
    assert_eq!(reader.finish().unwrap().names().collect::<Vec<_>>(), ["a.attentions.0.to_q.bias", "b"]);

    let mut reader = WeightsReader::new("1.safetensors");
    reader.push(&shard("a")).unwrap();
    reader.next_file("2.safetensors").unwrap();
    reader.push(&shard("a")).unwrap();
    let e = reader.finish().unwrap_err().to_string();
    assert!(e.contains("2.safetensors") && e.contains("`a`"), "{e}");

    let mut reader = WeightsReader::new("1.safetensors");
    reader.push(&shard("a")[..20]).unwrap();
    assert!(reader.next_file("2.safetensors").unwrap_err().to_string().contains("1.safetensors"));
}

#[test]
fn an_index_names_files_beside_it() {
    let index = br#"{"metadata":{"total_size":8},"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}"#;
    let shards = Shards::parse("i.json", index).unwrap();
    assert_eq!(shards.files, ["m-1.safetensors", "m-2.safetensors"]);
    assert_eq!(shards.tensors, ["a", "b", "c"]);
    let pickled = br#"{"weight_map":{"a":"m.bin"}}"#;
    assert_eq!(Shards::parse("m.bin.index.json", pickled).unwrap().files, ["m.bin"]);
    let many = |n: usize| {
        let map: Vec<String> = (0..n).map(|i| format!(r#""{i}":"{i}.safetensors""#)).collect();
        Shards::parse("i.json", format!(r#"{{"weight_map":{{{}}}}}"#, map.join(",")).as_bytes())
    };
    assert_eq!(many(256).unwrap().files.len(), 256);
    assert!(matches!(many(257), Err(Error::Json { problem, .. }) if problem.contains("257 files")));
    for bad in [
        "{}",
        "[]",
        "",
        r#"{"weight_map":[]}"#,
        r#"{"weight_map":{}}"#,
        r#"{"weight_map":{"a":1}}"#,
        r#"{"weight_map":{"a":"m.png"}}"#,
        r#"{"weight_map":{"a":"../m.safetensors"}}"#,
        r#"{"weight_map":{"a":"..\\m.safetensors"}}"#,
        r#"{"weight_map":{"a":"https://example.com/m.safetensors"}}"#,
        r#"{"weight_map":{"a":"%2e%2e%2fm.safetensors"}}"#,
    ] {
        assert!(matches!(Shards::parse("i.json", bad.as_bytes()), Err(Error::Json { .. })), "{bad}");
    }
}

fn tensor(dtype: Dtype, bytes: &[u8]) -> Tensor {
    Tensor { dtype, shape: vec![bytes.len()], bytes: bytes.to_vec() }
}

#[test]
fn every_float_becomes_f32() {
    let f32s = |dtype, bytes: &[u8]| tensor(dtype, bytes).to_f32("k").unwrap();
    assert_eq!(f32s(Dtype::F64, &0.1f64.to_le_bytes()), [0.1f32]);
    assert_eq!(f32s(Dtype::F32, &[1.5f32.to_le_bytes(), (-0.0f32).to_le_bytes()].concat()), [1.5, -0.0]);
    // Smallest subnormal, largest, minus a third.
    assert_eq!(f32s(Dtype::F16, &[1, 0, 0xff, 0x7b, 0x55, 0xb5]), [2f32.powi(-24), 65504.0, -0.333_251_95]);
    assert_eq!(f32s(Dtype::Bf16, &[0x80, 0x3f, 0xab, 0xbe]), [1.0, -0.333_984_38]);
    let values: Vec<f32> = (0..1000).map(|i| i as f32 * 0.37 - 100.0).collect();
    assert_eq!(Tensor::from_f32(&[10, 100], &values).to_f32("k").unwrap(), values);
}

#[test]
fn integers_are_no_weights() {
    for dtype in ["BOOL", "U8", "I8", "F8_E4M3", "I16", "U16", "I32", "U32", "I64", "U64", "C64"] {
        let size = match dtype.trim_start_matches(['U', 'I', 'F', 'C']) {
            "64" => 8,
            "32" => 4,
            "16" => 2,
            _ => 1,
        };
        let header = format!(r#"{{"x":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{size}]}}}}"#);
        let weights = read(&file(&header, &vec![0; size]), 2).unwrap();
        let e = weights.get("x").unwrap().to_f32("x").unwrap_err();
        assert!(matches!(&e, Error::Dtype { key, dtype: d } if key == "x" && d == dtype), "{e}");
    }
}

#[test]
fn values_that_are_not_finite_are_found() {
    let find = |dtype, bytes: &[u8]| match tensor(dtype, bytes).to_f32("some.key") {
        Err(Error::NotFiniteWeight { key, index, value }) => {
            assert_eq!(key, "some.key");
            (index, value.to_string())
        }
        other => panic!("{other:?}"),
    };
    let f32s = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    assert_eq!(find(Dtype::F32, &f32s(&[0.0, 1.0, f32::NAN, f32::INFINITY])), (2, "NaN".to_owned()));
    assert_eq!(find(Dtype::F32, &f32s(&[f32::NEG_INFINITY])), (0, "-inf".to_owned()));
    assert_eq!(find(Dtype::F64, &1e300f64.to_le_bytes()), (0, "inf".to_owned()));
    assert_eq!(find(Dtype::F16, &[0, 0x3c, 0, 0x7c]), (1, "inf".to_owned()));
    assert_eq!(find(Dtype::F16, &[1, 0x7e]), (0, "NaN".to_owned()));
    assert_eq!(find(Dtype::Bf16, &[0xc0, 0x7f]), (0, "NaN".to_owned()));
}

/// A file of one-element tensors with these names, numbered in this order.
fn named(names: &[&str]) -> Weights {
    let entry = |(i, name)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, 4 * i, 4 * i + 4)
    };
    let header = names.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
    let data: Vec<u8> = (0..names.len()).flat_map(|i| (i as f32).to_le_bytes()).collect();
    read(&file(&format!("{{{header}}}"), &data), 64).unwrap()
}

#[test]
fn old_names_become_current_ones() {
    for (old, current) in [
        ("down_blocks.1.attentions.0.query.weight", "down_blocks.1.attentions.0.to_q.weight"),
        ("mid_block.attentions.0.key.bias", "mid_block.attentions.0.to_k.bias"),
        ("up_blocks.0.attentions.12.value.weight", "up_blocks.0.attentions.12.to_v.weight"),
        ("mid_block.attentions.0.proj_attn.bias", "mid_block.attentions.0.to_out.0.bias"),
        ("time_proj.W", "time_proj.weight"),
        ("down_blocks.0.downsamplers.0.Conv2d_0.bias", "down_blocks.0.downsamplers.0.conv.bias"),
    ] {
        assert_eq!(named(&[old]).names().collect::<Vec<_>>(), [current]);
        // Where both are there, the current one counts.
        for (names, value) in [([old, current], 1.0), ([current, old], 0.0)] {
            let mut weights = named(&names);
            assert_eq!(weights.names().collect::<Vec<_>>(), [current]);
            assert_eq!(weights.take(current).unwrap().to_f32(current).unwrap(), [value]);
        }
    }
    // Nothing else is renamed.
    for name in [
        "query.weight",
        "decoder.query.weight",
        "mid_block.attentions.query.weight",
        "mid_block.attentions.0.key",
        "mid_block.attentions.0.norm.key.weight",
        "mid_block.attentions.0.group_norm.weight",
        "mid_block.attentions.x.key.weight",
        "mid_block.myattentions.0.key.weight",
        "mid_block.resnets.0.value.weight",
        "other.time_proj.W",
        "down_blocks.0.resnets.0.Conv2d_0.weight",
        "down_blocks.0.downsamplers.0.conv.weight",
        "",
        ".",
        "....",
    ] {
        assert_eq!(named(&[name]).names().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn weights_are_checked_against_what_the_network_asks_for() {
    let weights = |shapes: &[(&str, &[usize])]| {
        let mut weights = Weights::default();
        for (name, shape) in shapes {
            weights.insert(*name, Tensor::from_f32(shape, &vec![0.0; shape.iter().product()]));
        }
        weights
    };
    let expected = |shapes: &[(&str, &[usize])]| {
        shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect::<Vec<_>>()
    };
    let asked = expected(&[("a", &[2]), ("b", &[2, 3]), ("c", &[1])]);
    let mut good = weights(&[("c", &[1]), ("z", &[9]), ("a", &[2]), ("y", &[]), ("b", &[2, 3])]);
    assert_eq!(good.check(&asked).unwrap(), ["y", "z"]);

    match weights(&[("b", &[3, 2])]).check(&asked) {
        Err(Error::MissingKey { key, expected, more }) => {
            assert_eq!((&*key, &*expected, more), ("a", &[2][..], 1))
        }
        other => panic!("{other:?}"),
    }
    match weights(&[("c", &[1]), ("a", &[2]), ("b", &[3, 2])]).check(&asked) {
        Err(Error::WrongShape { key, expected, found }) => {
            assert_eq!((&*key, &*expected, &*found), ("b", &[2, 3][..], &[3, 2][..]));
        }
        other => panic!("{other:?}"),
    }

    // Attention's projections may be 1×1 convolutions and take the shape asked for; nothing else may.
    for projection in ["to_q", "to_k", "to_v", "to_out.0"] {
        let key = format!("up_blocks.0.attentions.1.{projection}.weight");
        for (stored, wanted) in [(&[6, 4, 1, 1][..], &[6, 4][..]), (&[6, 4], &[6, 4, 1, 1])] {
            let mut squeezed = weights(&[(&key, stored)]);
            assert!(squeezed.check(&expected(&[(&key, wanted)])).unwrap().is_empty());
            assert_eq!(squeezed.get(&key).unwrap().shape, wanted);
        }
        for stored in [&[4, 6, 1, 1][..], &[4, 6], &[6, 4, 1], &[6, 4, 1, 2], &[1, 1, 6, 4], &[24]] {
            let wrong = weights(&[(&key, stored)]).check(&expected(&[(&key, &[6, 4])]));
            assert!(matches!(wrong, Err(Error::WrongShape { .. })), "{stored:?}");
        }
    }
    for key in ["mid_block.attentions.0.group_norm.weight", "time_embedding.linear_1.weight", "x.to_q.weight"]
    {
        let wrong = weights(&[(key, &[6, 4, 1, 1])]).check(&expected(&[(key, &[6, 4])]));
        assert!(matches!(wrong, Err(Error::WrongShape { .. })), "{key}");
    }
}

#[test]
fn prefixes_before_every_name_are_understood_where_there_is_one_answer() {
    let parameters =
        || vec![("a.weight".to_owned(), vec![1]), ("mid_block.attentions.0.to_q.bias".to_owned(), vec![1])];
    let settle = |names: &[&str]| {
        let mut asked = Asked::new(parameters());
        asked.settle(names.iter().copied())
    };
    for prefix in ["", "module.", "_orig_mod.module.", "unet.", "ema_model."] {
        for query in ["to_q", "query"] {
            let names = [format!("{prefix}a.weight"), format!("{prefix}mid_block.attentions.0.{query}.bias")];
            settle(&[&names[0], &names[1], "step"]).unwrap();
        }
    }
    // The plain names count where they are whole; of two prefixes nobody knows which.
    let both = |a: &str, b: &str| {
        let names: Vec<String> = [a, b]
            .iter()
            .flat_map(|p| parameters().into_iter().map(move |(name, _)| format!("{p}{name}")))
            .collect();
        settle(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    both("", "ema.").unwrap();
    let error = both("model.", "ema.").unwrap_err().to_string();
    assert!(error.contains("`ema.`") && error.contains("`model.`"), "{error}");
    // What lacks some names is told by those, and another network's by its own.
    match settle(&["module.a.weight"]).unwrap_err() {
        Error::MissingKey { key, expected, more } => {
            assert_eq!((&*key, &*expected, more), ("module.mid_block.attentions.0.to_q.bias", &[1][..], 0));
        }
        other => panic!("{other}"),
    }
    for names in [&["model.input_blocks.0.weight", "betas"][..], &["a_weight"], &["xa.weight"]] {
        assert!(matches!(settle(names), Err(Error::KeyNames { problem }) if problem.contains(names[0])));
    }
    assert!(matches!(settle(&[]), Err(Error::MissingKey { more: 1, .. })));
    // A prefix for every name is not looked behind for each.
    let many: Vec<String> = (0..60_000).map(|i| format!("p{i}.a.weight")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(settle(&many), Err(Error::MissingKey { more: 0, .. })));
}

/// Dtype, shape and bytes by name.
type Entries = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

/// The tensors as the format's own crate reads them.
fn oracle(bytes: &[u8]) -> Option<Entries> {
    let file = SafeTensors::deserialize(bytes).ok()?;
    let own = |view: &TensorView<'_>| (view.dtype().to_string(), view.shape().to_vec(), view.data().to_vec());
    Some(file.iter().map(|(name, view)| (name.to_owned(), own(&view))).collect())
}

fn entries(weights: &Weights) -> Entries {
    let own = |t: &Tensor| (t.dtype.name().to_owned(), t.shape.clone(), t.bytes.clone());
    weights.names().map(|name| (name.to_owned(), own(weights.get(name).unwrap()))).collect()
}

/// The pieces do not matter, and what is accepted is what the format's own crate reads. It is less strict about names
/// that come twice, and reads the metadata, which nothing here needs.
fn agrees(bytes: &[u8], chunk: usize) {
    let whole = read(bytes, bytes.len().max(1)).map_err(|e| e.to_string());
    let pieces = read(bytes, chunk).map_err(|e| e.to_string());
    assert_eq!(whole, pieces);
    match (whole, oracle(bytes)) {
        (Ok(weights), Some(theirs)) => assert_eq!(entries(&weights), theirs),
        (Ok(_), None) => assert!(bytes.windows(12).any(|w| w == b"__metadata__")),
        (Err(_), None) => {}
        (Err(problem), Some(_)) => assert!(problem.contains("twice"), "{problem}"),
    }
}

/// Bytes that a broken header is likely made of.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let texts =
        ["\"", "{", "}", "[", "]", ",", ":", "0", "-", "99999999999", "F32", "F16", "\\u0000", "e9", "null"];
    prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        proptest::sample::select(texts.to_vec()).prop_map(|t| t.as_bytes().to_vec()),
        Just(vec![]),
    ]
}

/// Nothing, this often for each slip.
fn slip(nothing: u32) -> impl Strategy<Value = isize> {
    prop_oneof![nothing => Just(0), 1 => -4isize..=4]
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), chunk in 1usize..40) {
        agrees(&bytes, chunk);
        // And with a length before them that lets the parser in.
        agrees(&[&(bytes.len() as u64 / 2).to_le_bytes(), &bytes[..]].concat(), chunk);
    }

    #[test]
    fn any_change_of_a_file_is_read_or_refused(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..4, fragment()), 1..4),
        keep_length in any::<bool>(),
        chunk in 1usize..40,
    ) {
        let mut bytes = small();
        let mut header = bytes[0] as usize;
        for (at, removed, added) in changes {
            let at = at.index(bytes.len());
            let end = (at + removed).min(bytes.len());
            if !keep_length && at >= 8 && end <= 8 + header {
                header = header + added.len() - (end - at);
            }
            bytes.splice(at..end, added);
            if !keep_length && bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&(header as u64).to_le_bytes());
            }
        }
        agrees(&bytes, chunk);
    }

    /// Headers that are right but for a small slip, if any: tensors in any order, one after the other.
    #[test]
    fn any_layout_of_tensors_is_judged_as_by_the_formats_own_crate(
        tensors in proptest::collection::vec(
            ("[abc]", 0usize..4, proptest::collection::vec(0usize..4, 0..3), slip(2), slip(16), slip(16), slip(16)), 0..4),
        reverse in any::<bool>(),
        data in slip(16),
        chunk in 1usize..40,
    ) {
        let mut at = 0;
        let mut entries = Vec::new();
        for (name, dtype, mut shape, shift, first, last, size) in tensors {
            let (dtype, bytes) = [("F32", 4), ("F16", 2), ("U8", 1), ("F64", 8)][dtype];
            let end = at + bytes * shape.iter().product::<usize>();
            if let Some(outer) = shape.first_mut() {
                *outer = outer.saturating_add_signed(size);
            }
            let (begin, end) = (at.saturating_add_signed(shift + first), end.saturating_add_signed(shift + last));
            entries.push(format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#));
            at = end;
        }
        if reverse {
            entries.reverse();
        }
        agrees(&file(&format!("{{{}}}", entries.join(",")), &vec![1; at.saturating_add_signed(data)]), chunk);
    }

    #[test]
    fn what_the_formats_own_crate_writes_is_read(
        shapes in proptest::collection::vec(proptest::collection::vec(0usize..4, 0..4), 0..5),
        chunk in 1usize..200,
    ) {
        let data: Vec<Vec<u8>> = shapes.iter().map(|s| (0..s.iter().product::<usize>() * 4).map(|i| i as u8).collect()).collect();
        let views = shapes.iter().zip(&data).enumerate().map(|(i, (shape, data))| {
            (format!("t{i}"), TensorView::new(safetensors::Dtype::F32, shape.clone(), data).unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        prop_assert_eq!(Some(entries(&read(&bytes, chunk).unwrap())), oracle(&bytes));
        agrees(&bytes, chunk);
    }
}

// ---- Whole checkpoints, from disk ----

mod native {
    use std::fs;
    use std::path::{Path, PathBuf};

    use noiseball::checkpoint::{Checkpoint, Progress};

    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/checkpoints");
    const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

    fn fixture(name: &str) -> String {
        format!("{FIXTURES}/{name}")
    }

    /// `u(key)` of tests/fixtures/README.md.
    fn stream(key: &str) -> impl Iterator<Item = f64> {
        let seed = key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        (1u64..).map(move |i| {
            let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f64 / 8_388_608.0 - 1.0
        })
    }

    /// What the fixtures' maker filled a parameter with.
    fn parameter(key: &str, shape: &[usize]) -> Vec<f32> {
        let (scale, offset) = match shape {
            [_, fan_in @ ..] if !fan_in.is_empty() => {
                ((3.0 / fan_in.iter().product::<usize>() as f64).sqrt(), 0.0)
            }
            _ if key.ends_with(".weight") => (0.25, 1.0),
            _ => (0.25, 0.0),
        };
        stream(key).take(shape.iter().product()).map(|u| (offset + scale * u) as f32).collect()
    }

    #[test]
    fn what_python_saved_is_read_to_the_bit() {
        for name in ["layout-a", "layout-b", "f16-variant", "bf16", "class-conditional"] {
            let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
            assert_eq!(checkpoint.unet_config["_class_name"], "UNet2DModel", "{name}");
            assert_eq!(checkpoint.scheduler_config.unwrap()["_class_name"], "DDPMScheduler", "{name}");
            assert_eq!(checkpoint.model_index.unwrap()["_class_name"], "DDPMPipeline", "{name}");
            assert_eq!(checkpoint.labels.is_some(), name == "class-conditional");
            let stored = match name {
                "f16-variant" => Dtype::F16,
                "bf16" => Dtype::Bf16,
                _ => Dtype::F32,
            };
            let mut weights = checkpoint.weights;
            assert!(weights.len() > 80, "{name} has {} tensors", weights.len());
            // Old names are current ones now: a value depends on the current name.
            assert!(weights.get("mid_block.attentions.0.to_out.0.weight").is_some());
            for key in weights.names().map(str::to_owned).collect::<Vec<_>>() {
                let tensor = weights.take(&key).unwrap();
                assert_eq!(tensor.dtype, stored, "{name} {key}");
                let expected = parameter(&key, &tensor.shape).into_iter().map(|v| match stored {
                    Dtype::F16 => half::f16::from_f32(v).to_f32(),
                    Dtype::Bf16 => half::bf16::from_f32(v).to_f32(),
                    _ => v,
                });
                assert_eq!(tensor.to_f32(&key).unwrap(), expected.collect::<Vec<_>>(), "{name} {key}");
            }
        }
    }

    #[test]
    fn labels_come_along() {
        let labels = Checkpoint::open(&fixture("class-conditional")).unwrap().labels.unwrap();
        assert_eq!(labels.names, ["zero", "one", "two", "three", "four", "any"]);
        assert_eq!(labels.null_label, Some(5));
    }

    #[test]
    fn pieces_of_any_size_give_the_same() {
        for name in ["layout-a/unet", "layout-b", "bf16/unet", "f16-variant/unet", "class-conditional/unet"] {
            let suffix = if name.starts_with("f16") { ".fp16" } else { "" };
            let path = format!("{FIXTURES}/{name}/diffusion_pytorch_model{suffix}.safetensors");
            let bytes = fs::read(&path).unwrap();
            let whole = read(&bytes, bytes.len()).unwrap();
            for chunk in [1, 7, 4096] {
                assert_eq!(read(&bytes, chunk).unwrap(), whole, "{path} by {chunk}");
            }
            // The format's own crate reads the same bytes, under the old names where those are stored.
            let theirs = oracle(&bytes).unwrap();
            assert_eq!(theirs.len(), whole.len());
            if name != "layout-b" {
                assert_eq!(entries(&whole), theirs);
            }
        }
    }

    #[test]
    fn a_variant_is_chosen_by_name() {
        let mut received = 0;
        let half = Checkpoint::open_with(&fixture("f16-variant"), Some("fp16"), &mut |progress| {
            if let Progress::Weights { received: r, total } = progress {
                assert!(r > received && r <= total.unwrap());
                received = r;
            }
            Ok(())
        });
        assert_eq!(half.unwrap(), Checkpoint::open(&fixture("f16-variant")).unwrap());
        assert!(received > 40_000);
        let other = Checkpoint::open_with(&fixture("f16-variant"), Some("fp8"), &mut |_| Ok(()));
        assert!(matches!(other, Err(Error::MissingFile { .. })));
    }

    #[test]
    fn the_observer_can_stop_before_the_weights() {
        let stopped = Checkpoint::open_with(&fixture("layout-a"), None, &mut |progress| match progress {
            Progress::Config(config) if config["_class_name"] == "UNet2DModel" => Err(Error::Aborted),
            other => panic!("{other:?} before the config"),
        });
        assert!(matches!(stopped, Err(Error::Aborted)));
        let stopped = Checkpoint::open_with(&fixture("layout-a"), None, &mut |progress| match progress {
            Progress::Weights { .. } => Err(Error::Aborted),
            _ => Ok(()),
        });
        assert!(matches!(stopped, Err(Error::Aborted)));
    }

    /// A copy of the first fixture in a fresh folder, to be spoilt.
    fn copy(test: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        let _ = fs::remove_dir_all(&folder);
        for file in ["model_index.json", "unet/config.json", WEIGHTS, "scheduler/scheduler_config.json"] {
            fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            fs::copy(Path::new(&fixture("layout-a")).join(file), folder.join(file)).unwrap();
        }
        folder
    }

    fn open(folder: &Path) -> Result<Checkpoint, Error> {
        Checkpoint::open(folder.to_str().unwrap())
    }

    #[test]
    fn each_broken_file_is_named() {
        let folder = copy("broken");
        let whole = open(&folder).unwrap();
        let broken = |file: &str, content: &[u8]| {
            let before = fs::read(folder.join(file)).ok();
            fs::write(folder.join(file), content).unwrap();
            let error = open(&folder).unwrap_err();
            match before {
                Some(before) => fs::write(folder.join(file), before).unwrap(),
                None => fs::remove_file(folder.join(file)).unwrap(),
            }
            assert!(error.to_string().contains(file), "{error}");
            error
        };
        for file in ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", "labels.json"]
        {
            for content in [&b""[..], b"[1, 2]", b"null", b"{\"a\": 1", b"\xff\xfe{}", b"<html>"] {
                assert!(matches!(broken(file, content), Error::Json { .. }), "{file}");
            }
            let large = format!("{{\"a\": \"{}\"}}", " ".repeat(5 << 20));
            let error = broken(file, large.as_bytes()).to_string();
            assert!(error.contains("more than 4194304 bytes"), "{error}");
        }
        assert!(matches!(broken("labels.json", b"{\"labels\": 3}"), Error::Config { .. }));
        let weights = fs::read(folder.join(WEIGHTS)).unwrap();
        for content in [
            &weights[..weights.len() - 1],
            &weights[..100],
            &[&weights[..], b"\n"].concat(),
            b"",
            b"PK\x03\x04abcd",
        ] {
            assert!(matches!(broken(WEIGHTS, content), Error::Safetensors { .. }));
        }
        assert_eq!(open(&folder).unwrap(), whole);
    }

    #[test]
    fn python_writes_minus_infinity_for_a_scheduler() {
        let folder = copy("infinity");
        let scheduler = r#"{"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -Infinity}"#;
        fs::write(folder.join("scheduler/scheduler_config.json"), scheduler).unwrap();
        assert_eq!(open(&folder).unwrap().scheduler_config.unwrap()["lambda_min_clipped"], "-Infinity");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = copy("absent");
        fs::remove_dir_all(folder.join("scheduler")).unwrap();
        fs::remove_file(folder.join("model_index.json")).unwrap();
        let bare = open(&folder).unwrap();
        assert_eq!((bare.model_index, bare.scheduler_config, bare.labels), (None, None, None));

        let pickle = folder.join("unet/diffusion_pytorch_model.bin");
        fs::rename(folder.join(WEIGHTS), &pickle).unwrap();
        assert!(matches!(open(&folder), Err(Error::Torch { file, .. }) if file.ends_with("model.bin")));
        fs::remove_file(pickle).unwrap();
        assert!(matches!(open(&folder), Err(Error::MissingFile { wanted, .. }) if wanted == WEIGHTS));
        // A folder in the file's place.
        fs::create_dir(folder.join(WEIGHTS)).unwrap();
        assert!(matches!(open(&folder), Err(Error::MissingFile { .. })));
        fs::remove_file(folder.join("unet/config.json")).unwrap();
        assert!(
            matches!(open(&folder), Err(Error::MissingFile { wanted, .. }) if wanted.contains("config.json"))
        );

        for path in [folder.join("no/such"), PathBuf::new()] {
            assert!(matches!(open(&path), Err(Error::Io { .. })), "{path:?}");
        }
        let file = PathBuf::from(fixture("layout-a/model_index.json"));
        assert!(
            matches!(open(&file), Err(Error::MissingFile { wanted, found }) if wanted == "folder" && found.contains("the file"))
        );
    }

    #[test]
    fn pictures_beside_a_checkpoint_do_not_hide_it() {
        let folder = copy("pictures");
        fs::create_dir(folder.join("a")).unwrap();
        for i in 0..300 {
            fs::write(folder.join(format!("a/{i}.png")), b"").unwrap();
        }
        open(&folder).unwrap();
        // Seen from the folder that holds it and its revision.
        let outer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outer");
        let _ = fs::remove_dir_all(&outer);
        fs::create_dir_all(outer.join("snapshots")).unwrap();
        fs::rename(&folder, outer.join("snapshots/0f3a")).unwrap();
        assert_eq!(open(&outer).unwrap(), Checkpoint::open(&fixture("layout-a")).unwrap());
    }

    #[test]
    fn shards_on_disk_become_one() {
        let folder = copy("shards");
        let whole = open(&folder).unwrap();
        let bytes = fs::read(folder.join(WEIGHTS)).unwrap();
        fs::remove_file(folder.join(WEIGHTS)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut map = serde_json::Map::new();
        for (shard, rest) in
            [("model-00001-of-00002.safetensors", 0), ("model-00002-of-00002.safetensors", 1)]
        {
            let part: Vec<_> =
                tensors.iter().enumerate().filter(|(i, _)| i % 2 == rest).map(|(_, tensor)| tensor).collect();
            map.extend(part.iter().map(|(name, _)| ((*name).to_owned(), shard.into())));
            fs::write(folder.join("unet").join(shard), safetensors::serialize(part, None).unwrap()).unwrap();
        }
        let index = folder.join("unet/diffusion_pytorch_model.safetensors.index.json");
        fs::write(index, serde_json::json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
        assert_eq!(open(&folder).unwrap(), whole);
        fs::remove_file(folder.join("unet/model-00002-of-00002.safetensors")).unwrap();
        assert!(
            matches!(open(&folder), Err(Error::MissingFile { wanted, .. }) if wanted.contains("00002-of"))
        );
    }

    #[cfg(not(feature = "fetch"))]
    #[test]
    fn addresses_need_a_feature() {
        for source in ["https://example.com/model", "no-such-org/no-such-model"] {
            assert!(
                matches!(Checkpoint::open(source), Err(Error::Unsupported { why, .. }) if why.contains("`fetch`"))
            );
        }
    }
}

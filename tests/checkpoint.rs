//! Reading checkpoints: those that Python saved, and everything that is none.

use std::collections::BTreeMap;

use noiseball::Error;
use noiseball::checkpoint::WeightsReader;
use noiseball::checkpoint::weights::{Dtype, Tensor, Weights, shard_files};
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
        ("{\"x\":".to_owned(), "its header is wrong: `x`: EOF"),
        ("{} {}".to_owned(), "its header is wrong: trailing characters"),
        (one("3"), "its header is wrong: `x`: invalid type: integer `3`"),
        (one("{}"), "its header is wrong: `x`: missing field `dtype`"),
        (one(r#"{"dtype":"F32","shape":[2]}"#), "its header is wrong: `x`: missing field `data_offsets`"),
        (one(r#"{"dtype":1,"shape":[2],"data_offsets":[0,8]}"#), "its header is wrong: `x`: invalid type"),
        (one(r#"{"dtype":"F31","shape":[2],"data_offsets":[0,8]}"#), "its header is wrong: `x` has the unknown dtype \"F31\""),
        (one(r#"{"dtype":"F32","shape":2,"data_offsets":[0,8]}"#), "its header is wrong: `x`: invalid type"),
        (one(r#"{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}"#), "its header is wrong: `x`: invalid value"),
        (one(r#"{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}"#), "its header is wrong: `x`: invalid type"),
        (one(r#"{"dtype":"F32","shape":[2,1,1,1,1,1,1,1,1],"data_offsets":[0,8]}"#), "its header is wrong: `x`: invalid length 9"),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}"#), "its header is wrong: `x`: "),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0]}"#), "its header is wrong: `x`: invalid length 1"),
        (one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551616]}"#), "its header is wrong: `x`: "),
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
        assert!(found.starts_with(problem), "{header}: {found}");
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
    assert_eq!(shard_files("i.json", index).unwrap(), ["m-1.safetensors", "m-2.safetensors"]);
    for bad in [
        "{}",
        "[]",
        "",
        r#"{"weight_map":[]}"#,
        r#"{"weight_map":{}}"#,
        r#"{"weight_map":{"a":1}}"#,
        r#"{"weight_map":{"a":"m.bin"}}"#,
        r#"{"weight_map":{"a":"../m.safetensors"}}"#,
        r#"{"weight_map":{"a":"..\\m.safetensors"}}"#,
        r#"{"weight_map":{"a":"https://example.com/m.safetensors"}}"#,
        r#"{"weight_map":{"a":"%2e%2e%2fm.safetensors"}}"#,
    ] {
        assert!(matches!(shard_files("i.json", bad.as_bytes()), Err(Error::Json { .. })), "{bad}");
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

/// The tensors as the format's own crate reads them.
fn oracle(bytes: &[u8]) -> Option<BTreeMap<String, (String, Vec<usize>, Vec<u8>)>> {
    let file = SafeTensors::deserialize(bytes).ok()?;
    let own = |view: &TensorView<'_>| (view.dtype().to_string(), view.shape().to_vec(), view.data().to_vec());
    Some(file.iter().map(|(name, view)| (name.to_owned(), own(&view))).collect())
}

fn entries(weights: &Weights) -> BTreeMap<String, (String, Vec<usize>, Vec<u8>)> {
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

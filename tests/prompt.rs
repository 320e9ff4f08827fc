//! Prompts against transformers' CLIPTokenizer.

#![cfg(not(target_arch = "wasm32"))]

use std::path::Path;

use noiseball::prompt::{Files, Prompt, Tokenizer, Unicode};
use serde_json::{Value, json};

const CLIP: &str = include_str!("fixtures/tokens/clip.json");
const OWN: &str = include_str!("fixtures/tokens/own.json");
const VOCAB: &[u8] = include_bytes!("fixtures/tokens/clip-vocab.json");
const MERGES: &[u8] = include_bytes!("fixtures/tokens/clip-merges.txt");

fn clip(config: Value) -> Tokenizer {
    let config = config.to_string();
    Tokenizer::read(&Files {
        vocab: Some(VOCAB),
        merges: Some(MERGES),
        config: Some(config.as_bytes()),
        ..Files::default()
    })
    .unwrap()
}

fn own() -> Tokenizer {
    Tokenizer::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/models/emoji-64/model/tokenizer"))
        .unwrap()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Prompt {
    tokenizer.encode(text, Unicode::native())
}

/// How many of a list of cases come out as Python's. Padding is left out of the files.
fn agree(tokenizer: &Tokenizer, cases: &Value, pad: u32, length: usize) -> usize {
    let cases = cases.as_array().unwrap();
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let mut expected: Vec<u32> =
            case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        expected.resize(length, pad);
        assert_eq!(encode(tokenizer, text).ids, expected, "{text:?}");
    }
    cases.len()
}

#[test]
fn eight_hundred_prompts_have_the_ids_of_openais_clip() {
    let file: Value = serde_json::from_str(CLIP).unwrap();
    let plain = clip(json!({ "model_max_length": 77 }));
    assert_eq!(agree(&plain, &file["cases"], 49_407, 77), 800);
    // Stable Diffusion 2 pads with `!`, and a prompt's own `!` becomes padding.
    let exclamation = clip(json!({ "model_max_length": 77, "pad_token": "!" }));
    assert!(agree(&exclamation, &file["exclamation"], 0, 77) >= 15);
}

#[test]
fn two_hundred_prompts_have_the_ids_of_a_vocabulary_of_its_own() {
    let file: Value = serde_json::from_str(OWN).unwrap();
    assert_eq!(agree(&own(), &file["cases"], 2559, 32), 200);
}

#[test]
fn one_file_has_what_two_have() {
    let merges: Vec<&str> = std::str::from_utf8(MERGES).unwrap().lines().skip(1).collect();
    let pairs: Vec<Value> = merges.iter().map(|line| json!(line.split(' ').collect::<Vec<_>>())).collect();
    let vocab: Value = serde_json::from_slice(VOCAB).unwrap();
    let config = br#"{"model_max_length": 77, "pad_token": "!", "tokenizer_class": "CLIPTokenizer"}"#;
    let expected = clip(json!({ "model_max_length": 77, "pad_token": "!" }));
    for merges in [json!(merges), json!(pairs)] {
        let added = json!([{ "id": 49_407, "content": "<|endoftext|>", "special": true }]);
        let file =
            json!({ "model": { "vocab": vocab, "merges": merges }, "added_tokens": added }).to_string();
        let files = Files { tokenizer: Some(file.as_bytes()), config: Some(config), ..Files::default() };
        let found = Tokenizer::read(&files).unwrap();
        let text = "a photo of a cat, wow! <|endoftext|>";
        assert_eq!(encode(&found, text), encode(&expected, text));
    }
}

#[test]
fn the_map_of_special_tokens_outranks_the_config() {
    let read = |map: &str| {
        let files = Files {
            vocab: Some(VOCAB),
            merges: Some(MERGES),
            config: Some(br#"{"model_max_length": 77, "pad_token": "<|endoftext|>"}"#),
            special_tokens_map: Some(map.as_bytes()),
            ..Files::default()
        };
        encode(&Tokenizer::read(&files).unwrap(), "").ids[76]
    };
    assert_eq!(read("{}"), 49_407);
    assert_eq!(read(r#"{"pad_token": "!"}"#), 0);
    assert_eq!(read(r#"{"pad_token": {"content": "!", "lstrip": false}}"#), 0);
}

#[test]
fn words_know_their_tokens_and_what_was_cut() {
    let tokenizer = clip(json!({ "model_max_length": 8 }));
    let prompt = encode(&tokenizer, "It's  a <|endoftext|>Photo of a cat");
    let words: Vec<_> = prompt.words.iter().map(|w| (&*w.text, w.tokens.clone())).collect();
    assert_eq!(words, [("it's", 1..3), ("a", 3..4), ("<|endoftext|>", 4..5), ("photo", 5..6), ("of", 6..7)]);
    assert_eq!(prompt.cut, "a cat");
    assert_eq!(prompt.ids.len(), 8);
    assert_eq!(prompt.ids[7], 49_407, "the end is never cut");
    assert_eq!(tokenizer.spelling(&prompt.ids[1..3]), "it 's");
    // A word that is cut in two keeps its first part.
    let prompt = encode(&tokenizer, "a b c d 123");
    assert_eq!(prompt.words.last().unwrap().tokens, 5..7);
    assert_eq!(prompt.cut, "3");
    assert!(encode(&tokenizer, "").words.is_empty());
}

#[test]
fn what_a_vocabulary_lacks_is_told() {
    let files = Files {
        vocab: Some(
            br#"{"a": 0, "a</w>": 1, "b</w>": 2, "ab</w>": 3, "<|startoftext|>": 4, "<|endoftext|>": 5}"#,
        ),
        merges: Some(b"#version: 0.2\na b</w>\n"),
        ..Files::default()
    };
    let mut tokenizer = Tokenizer::read(&files).unwrap();
    tokenizer.fit(6, 8).unwrap();
    let prompt = encode(&tokenizer, "ab ax");
    assert_eq!(prompt.ids, [4, 3, 0, 5, 5, 5, 5, 5]);
    assert_eq!(prompt.words.iter().map(|w| w.unknown).collect::<Vec<_>>(), [false, true]);
    // Another encoder's tokenizer, and one for longer prompts.
    assert!(tokenizer.fit(5, 8).unwrap_err().to_string().contains("vocab_size"));
    assert!(tokenizer.fit(6, 7).unwrap_err().to_string().contains("model_max_length"));
}

#[test]
fn files_of_other_tokenizers_are_refused_by_what_is_wrong_with_them() {
    let refused = |files: Files<'_>, kind: &str, says: &str| {
        let error = Tokenizer::read(&files).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let none = Files::default();
    let vocab = Some(&br#"{"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}"#[..]);
    refused(none, "checkpoint", "vocab.json");
    refused(Files { vocab, ..none }, "checkpoint", "merges.txt");
    refused(
        Files { config: Some(br#"{"tokenizer_class": "T5Tokenizer"}"#), ..none },
        "unsupported-architecture",
        "T5",
    );
    let both = |vocab, merges| Files { vocab, merges: Some(merges), ..none };
    refused(both(Some(b"{\"a\": 0}"), b""), "checkpoint", "bos_token");
    refused(both(Some(b"{\"a\": -1}"), b""), "checkpoint", "the id of `a` is -1");
    refused(both(Some(b"[]"), b""), "checkpoint", "vocab.json");
    refused(both(vocab, b"#version\na a\n"), "checkpoint", "`a a`");
    refused(both(vocab, b"aa\n"), "checkpoint", "`aa`");
    refused(both(vocab, b"\xFF\n"), "checkpoint", "merges.txt");
    let config = Some(&br#"{"pad_token": "!"}"#[..]);
    refused(Files { config, ..both(vocab, b"") }, "checkpoint", "pad_token");
    refused(
        Files { tokenizer: Some(br#"{"model": {"type": "WordPiece"}}"#), ..none },
        "checkpoint",
        "tokenizer.json",
    );
}

#[test]
fn a_word_of_a_million_letters_takes_no_square_of_its_length() {
    let prompt = encode(&clip(json!({ "model_max_length": 77 })), &"a".repeat(1_000_000));
    assert_eq!(prompt.ids.len(), 77);
    assert!(!prompt.cut.is_empty());
}

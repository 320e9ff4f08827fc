"""tokens/: prompts and the ids that transformers' CLIPTokenizer gives them.

`clip.json` has the vocabulary of OpenAI's CLIP, `own.json` that of tools/models/emoji-64. CLIP's whole vocabulary would be larger than
all other fixtures: `clip-vocab.json` and `clip-merges.txt` hold the merges that these prompts come to, with their ids in the whole.
A merge that is never carried out cannot change what the others do, and the script makes sure of it.
"""

import gzip
import importlib.resources
import json
import random
import unicodedata
from pathlib import Path

from transformers import CLIPTokenizer

import fixture

FOLDER = fixture.FOLDER / "tokens"
EMOJI_64 = Path(__file__).resolve().parents[1] / "models" / "emoji-64" / "model" / "tokenizer"
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]
MERGES = 49152 - 256 - 2

WORDS = """a an the photo of painting in style by portrait cat dog robot astronaut riding horse castle mountain sunset ocean
highly detailed cinematic lighting unreal engine 8k trending artstation oil watercolor sketch neon cyberpunk forest tiny
house red blue golden retriever wearing sunglasses crown with and on under behind city street rain snow 1920s
bokeh macro lens f/1.8 35mm ultra-realistic hyperrealism Van Gogh Monet greg rutkowski anime girl knight dragon
strawberry teapot avocado armchair xylophone zeppelin quokka""".split()

CASES = [
    "", " ", "a photo of a cat", "it's 2024", "A PHOTO OF A CAT", "wow!", "!", "! ! !", "a!b", "''s", "'tis", "don't you'll we've I'm they'd he're",
    "DON'T YOU'LL", "it’s", "l'été", "(cat:1.2)", "[cat|dog]", "a  b\tc\nd\r\n e", "a\u00a0b\u3000c\u2028d\u0085e", "a\u200bb\u180ec\ufeffd\x1ce\x1fg",
    "ΟΔΟΣ Σ σς", "İstanbul ISTANBUL ı", "ẞ ß ﬁ ﬂ ǅ", "é e\u0301 ê̄ Å Å", "\u0958 \u0344 \u1e9b\u0323", "हिन्दी में बिल्ली", "ไทยแมว", "猫と犬、黒い", "고양이 한국어",
    "قطة صغيرة", "חתול קטן", "кошка и собака", "γάτα", "👩‍🔬 and 👨‍👩‍👧‍👦", "❤️ 🇩🇪 🏳️‍🌈", "½ ² ③ Ⅷ ٣ ৩ 𝟜 一", "x² + y² = z²", "ⓐⒷ 🄰🅰", "a_b-c/d\\e",
    "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b", "a<|startoftext|>b<|endoftext|>", "<|ENDOFTEXT|> <|StartOfText|>", "<|endoftext", "!<|ENDOFTEXT|>",
    "\x00\x01\x7f", "\u0301 alone", "a\u0300\u0316b", "𐐀𐐨 𝒜𝓫", "\U0001f1e6\U000e0041", "ª º ʰ ͅ", "1st 2nd 3.14 10,000", "email@example.com https://example.com/a?b=c#d",
    "C++ c# .NET", "#hashtag @name", "“quoted” «guillemets» — dash … dots", "a" * 300, "ab" * 200, "cat " * 100, "!" * 90, "supercalifragilisticexpialidocious",
    "x" * 74 + " y z", " ".join("0123456789" * 8), "the " * 75 + "end", "the " * 74 + "strawberry xylophone", "é" * 80,
]


def prompts(count: int, words: list[str], seed: int) -> list[str]:
    """The cases above, then sentences, then texts that nobody types."""
    random.seed(seed)
    found = list(CASES)
    ranges = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1E00, 0x1FFF), (0x2000, 0x27BF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1D400, 0x1D7FF), (0x1F300, 0x1F64F), (0, 0x1F)]
    while len(found) < count:
        kind = random.random()
        if kind < 0.65:
            chosen = [random.choice(words) for _ in range(random.randint(1, 14))]
            joined = random.choice([" ", " ", " ", ", ", "  ", "-"]).join(chosen)
            found.append(random.choice([str, str, str.upper, str.title, str.swapcase])(joined))
        elif kind < 0.9:
            low, high = random.choice(ranges)
            code = [chr(random.randint(low, high)) for _ in range(random.randint(1, 12))]
            found.append("".join(c + random.choice(["", "", " ", "a", "'s"]) for c in code if unicodedata.category(c) != "Cn"))
        else:
            # Anything up to U+1FFFF but for surrogates and what is no character yet: which of those are letters changes every year.
            code = [random.choice([random.randint(0, 0xD7FF), random.randint(0xE000, 0x1FFFF)]) for _ in range(random.randint(1, 24))]
            found.append("".join(c for c in map(chr, code) if unicodedata.category(c) != "Cn"))
    return found[:count]


def clip_merges() -> list[str]:
    file = importlib.resources.files("open_clip") / "bpe_simple_vocab_16e6.txt.gz"
    return gzip.decompress(file.read_bytes()).decode().split("\n")[1 : MERGES + 1]


def clip_vocabulary(merges: list[str]) -> dict[str, int]:
    symbols = [chr(byte) for byte in BYTES] + [chr(256 + n) for n in range(256 - len(BYTES))]
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + [merge.replace(" ", "") for merge in merges]
    return {token: n for n, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def tokenizer(vocabulary: dict[str, int], merges: list[str], length: int, pad: str) -> CLIPTokenizer:
    pairs = [tuple(merge.split(" ")) for merge in merges]
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=length, pad_token=pad)


def ids(model: CLIPTokenizer, texts: list[str]) -> list[list[int]]:
    return [model(text, padding="max_length", truncation=True).input_ids for text in texts]


def used(model: CLIPTokenizer, merges: list[str], texts: list[str]) -> list[str]:
    """The merges that these texts come to: all that make the parts of their tokens."""
    by_result = {merge.replace(" ", ""): merge for merge in reversed(merges)}
    wanted, found = [model.convert_ids_to_tokens(i) for text in texts for i in set(model(text).input_ids)], set()
    while wanted:
        merge = by_result.get(wanted.pop())
        if merge and merge not in found:
            found.add(merge)
            wanted += merge.split(" ")
    return [merge for merge in merges if merge in found]


def cases(texts: list[str], found: list[list[int]], pad: int) -> list[dict]:
    """Padding is left out."""
    kept = []
    for text, row in zip(texts, found):
        while len(row) > 2 and row[-1] == pad and row[-2] == pad:
            row = row[:-1]
        kept.append(dict(text=text, ids=row))
    return kept


def make() -> None:
    FOLDER.mkdir(exist_ok=True)
    merges = clip_merges()
    vocabulary = clip_vocabulary(merges)
    texts = prompts(800, WORDS + [merge.replace(" ", "").removesuffix("</w>") for merge in random.Random(0).sample(merges, 500) if merge.isascii()], 1)
    whole = tokenizer(vocabulary, merges, 77, "<|endoftext|>")
    exclamation = tokenizer(vocabulary, merges, 77, "!")
    kept = used(whole, merges, texts)
    # As many ids stay as there are bytes and merges that are kept.
    small = {token: i for token, i in vocabulary.items() if i < 512 or i >= 49406}
    small |= {merge.replace(" ", ""): vocabulary[merge.replace(" ", "")] for merge in kept}
    expected = ids(whole, texts)
    assert expected == ids(tokenizer(small, kept, 77, "<|endoftext|>"), texts)
    (FOLDER / "clip-vocab.json").write_text(json.dumps(small, ensure_ascii=True, separators=(",", ":")) + "\n")
    (FOLDER / "clip-merges.txt").write_text("#version: 0.2\n" + "\n".join(kept) + "\n", encoding="utf-8")
    padded = [text for text in texts if "!" in text]
    fixture.write("tokens/clip.json", dict(cases=cases(texts, expected, 49407), exclamation=cases(padded, ids(exclamation, padded), 0)))
    own = CLIPTokenizer.from_pretrained(EMOJI_64)
    words = [token.removesuffix("</w>") for token in own.get_vocab() if token.isascii()]
    texts = prompts(200, sorted(words), 2)
    fixture.write("tokens/own.json", dict(cases=cases(texts, ids(own, texts), own.pad_token_id)))

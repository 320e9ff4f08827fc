"""A byte-pair vocabulary of CLIP's form, learnt from the captions' words, and the tokenizer that uses it.

It is the rule of transformers' CLIPTokenizer for plain English: lower case, words and symbols apart, '</w>' at the end of
each. The training reads captions with it because it takes microseconds; `save` writes the files that CLIPTokenizer opens.
"""

import json
import pathlib
import re
from collections import Counter

LENGTH = 32  # tokens in a prompt, both ends counted
START, END = "<|startoftext|>", "<|endoftext|>"
PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")


def byte_symbols():
    """The 256 characters that stand for bytes, in the order of CLIP's vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [(byte, names[byte]) for byte in printable + others]


class Words:
    def __init__(self, merges):
        symbols = byte_symbols()
        self.letter = dict(symbols)
        self.merges = [tuple(pair) for pair in merges]
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        base = [name for _, name in symbols]
        tokens = base + [name + "</w>" for name in base] + ["".join(pair) for pair in self.merges] + [START, END]
        self.vocabulary = {token: i for i, token in enumerate(tokens)}
        self.start, self.end = self.vocabulary[START], self.vocabulary[END]
        self.known = {}

    def spell(self, piece):
        letters = [self.letter[byte] for byte in piece.encode()]
        return [*letters[:-1], letters[-1] + "</w>"]

    def pieces(self, piece):
        if piece not in self.known:
            parts = self.spell(piece)
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda pair: self.rank.get(pair, 1 << 30))
                if best not in self.rank:
                    break
                parts = join(parts, best)
            self.known[piece] = [self.vocabulary[part] for part in parts]
        return self.known[piece]

    def encode(self, caption):
        """LENGTH ids: start, the words, end, and ends to fill up."""
        ids = [self.start]
        for piece in PIECES.findall(caption.lower()):
            ids += self.pieces(piece)
        ids = ids[: LENGTH - 1]
        return ids + [self.end] * (LENGTH - len(ids))

    def save(self, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(self.vocabulary, ensure_ascii=False, separators=(",", ":")))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self.merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n")
        special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
        (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
        config = {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def join(parts, pair):
    out = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def learn(counts, size):
    """The merges of a vocabulary of `size` tokens for words that occur `counts` times."""
    blank = Words([])
    words = {word: blank.spell(word) for word in counts}
    pairs, where = Counter(), {}
    for word, parts in words.items():
        for pair in zip(parts, parts[1:]):
            pairs[pair] += counts[word]
            where.setdefault(pair, set()).add(word)
    merges = []
    while len(merges) < size - 514 and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] <= 0:
            break
        merges.append(best)
        for word in where.pop(best):
            parts = words[word]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= counts[word]
            words[word] = parts = join(parts, best)
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
                where.setdefault(pair, set()).add(word)
        del pairs[best]
    return merges

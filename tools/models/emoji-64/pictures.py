"""Captions with the pictures that they describe, put together from sprites.

A picture is a recipe: a ground and up to LAYERS sprites, each with a place, a size, a mirror and a hue. Recipes are small
and made on the CPU by the hundred thousand; `compose` turns a batch of them into pixels on any device.
"""

import json
import lzma
import math
import pathlib
import random
import re
import zlib
from collections import Counter

import numpy as np
import safetensors.numpy
import torch
import torch.nn.functional as F

import words

SIZE = 64
LAYERS = 3
VOCABULARY = 2560

GROUNDS = {
    "white": (255, 255, 255),
    "black": (20, 20, 24),
    "gray": (150, 153, 158),
    "red": (222, 52, 52),
    "orange": (247, 146, 42),
    "yellow": (252, 214, 60),
    "green": (70, 168, 84),
    "light green": (178, 228, 166),
    "teal": (34, 160, 156),
    "blue": (52, 110, 220),
    "light blue": (160, 208, 248),
    "dark blue": (28, 44, 112),
    "purple": (136, 76, 190),
    "pink": (250, 164, 200),
    "brown": (132, 88, 58),
    "beige": (240, 224, 194),
}
HUES = {"red": 358, "orange": 27, "yellow": 50, "green": 125, "teal": 176, "blue": 214, "purple": 274, "pink": 330}
PALER = {"pink": 0.75}  # what is left of the saturation
COLOUR = re.compile(r"\b(red|orange|yellow|green|blue|light blue|purple|pink|brown)\b")
TONE_NAMES = {1: "light skin tone", 3: "medium skin tone", 5: "dark skin tone"}
STYLE_NAMES = {"noto": "shaded style", "flat": "flat style"}

FACES, PEOPLE, ANIMALS, FOOD, PLACES, ACTIVITIES, OBJECTS, SYMBOLS, FLAGS = 0, 1, 3, 4, 5, 6, 7, 8, 9
WEIGHTS = {FACES: 1.6, PEOPLE: 0.35, ANIMALS: 1.6, FOOD: 1.4, PLACES: 1, ACTIVITIES: 1, OBJECTS: 1, SYMBOLS: 0.7, FLAGS: 0.7}
MIRRORED = {ANIMALS, FOOD, PLACES}
FAVOURITES = """red heart|cat face|star|dog face|blue heart|yellow heart|green heart|purple heart|orange heart|grinning face|
smiling face with sunglasses|smiling face with heart-eyes|face with tears of joy|crying face|ghost|robot|alien|skull|sun|
sun with face|full moon|rainbow|fire|red apple|green apple|banana|pizza|hamburger|birthday cake|strawberry|cherries|
rocket|automobile|airplane|house|tree|evergreen tree|rose|sunflower|tulip|cactus|soccer ball|guitar|crown|gem stone|key|
light bulb|umbrella|balloon|wrapped gift|panda|fox|lion|tiger face|bear|frog|pig face|rabbit face|monkey face|unicorn|
owl|penguin|fish|tropical fish|octopus|butterfly|lady beetle|turtle|snail|whale|dolphin|cat|dog|horse face|cow face|
glowing star|sparkles|snowman|snowflake|cloud|high voltage|teddy bear|hot beverage|ice cream|doughnut|cookie"""
FAVOURITES = set(FAVOURITES.replace("\n", "").split("|"))

# What can be worn: centre and width on a face that fills the frame, and where the face then goes: (y, size).
ANIMAL_FACES = """cat face|dog face|mouse face|hamster|rabbit face|fox|bear|panda|koala|tiger face|lion|cow face|pig face|
frog|monkey face|wolf|raccoon|polar bear|chicken|penguin|alien|robot|ghost|skull|grinning face|slightly smiling face|
smiling face with smiling eyes|full moon face|sun with face|jack-o-lantern|teddy bear"""
ANIMAL_FACES = ANIMAL_FACES.replace("\n", "").split("|")
WORN = {
    "sunglasses": (0.5, 0.46, 0.72, 0.52, 0.92),
    "glasses": (0.5, 0.46, 0.74, 0.52, 0.92),
    "top hat": (0.5, 0.18, 0.52, 0.64, 0.70),
    "crown": (0.5, 0.16, 0.46, 0.62, 0.74),
    "graduation cap": (0.5, 0.2, 0.62, 0.62, 0.74),
    "ribbon": (0.5, 0.14, 0.42, 0.58, 0.82),
}

# Never drawn in training, so that what they look like shows whether words are put together or remembered.
HELD_OUT = {
    ("hue", "cat face", "blue"), ("hue", "banana", "pink"), ("hue", "frog", "purple"), ("hue", "rocket", "green"),
    ("hue", "pizza", "teal"), ("hue", "grinning face", "green"), ("hue", "butterfly", "red"), ("hue", "octopus", "yellow"),
    ("ground", "panda", "red"), ("ground", "rose", "teal"), ("ground", "ghost", "orange"), ("ground", "birthday cake", "dark blue"),
    ("worn", "fox", "sunglasses"), ("worn", "panda", "crown"), ("worn", "frog", "top hat"), ("worn", "robot", "graduation cap"),
    ("pair", "pizza", "rocket"), ("pair", "cat face", "red heart"), ("pair", "penguin", "umbrella"), ("pair", "guitar", "rainbow"),
}  # fmt: skip


def held_out(kind, *names):
    """Whether a composition is kept from training: the named ones, and four of a hundred others."""
    if kind == "pair":
        names = sorted(names)
    return (kind, *names) in HELD_OUT or zlib.crc32("|".join([kind, *names]).encode()) % 100 < 4


def article(words_):
    return ("an " if words_[0] in "aeiou" else "a ") + words_


class Emoji:
    """Sprites and what is known of them."""

    def __init__(self, path):
        path = pathlib.Path(path)
        data = lzma.open(path).read() if path.suffix == ".xz" else path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        self.about = json.loads(header["__metadata__"]["emoji"])
        self.sprites = safetensors.numpy.load(data)["sprites"]
        for about, sprite in zip(self.about, self.sprites):
            about["hue"] = dominant_hue(sprite)
        self.weights = [self.weight(about) for about in self.about]
        everyone = range(len(self.about))
        self.named = {}
        for i in everyone:
            if self.about[i]["tone"] == 0:
                self.named.setdefault(self.about[i]["name"], []).append(i)
        self.things = [i for i in everyone if self.about[i]["group"] not in (PEOPLE, SYMBOLS, FLAGS) or self.about[i]["name"] in FAVOURITES]
        self.coloured = [i for i in everyone if self.about[i]["hue"] is not None and self.about[i]["group"] not in (PEOPLE, FLAGS)]
        self.faces = [i for name in ANIMAL_FACES for i in self.named.get(name, [])]
        self.words = words.Words(words.learn(self.count_words(), VOCABULARY))

    def weight(self, about):
        weight = WEIGHTS[about["group"]] * (0.4 if about["tone"] else 1)
        return weight * (4 if about["name"] in FAVOURITES else 1)

    def count_words(self):
        counts = Counter()
        for about in self.about:
            for text, times in [(about["name"], 8), *((tag, 1) for tag in about["tags"])]:
                for piece in words.PIECES.findall(text.lower()):
                    counts[piece] += times
        common = "a an on and next to with wearing small big emoji of picture two skin tone light medium dark style flat shaded , :"
        for piece in [*common.split(), *" ".join([*GROUNDS, *HUES]).split()]:
            counts[piece] += 500
        return counts


def dominant_hue(sprite):
    """The hue (degrees) that most of a sprite has, or None where none has the say."""
    alpha = sprite[..., 3].astype(np.float32) / 255
    rgb = sprite[..., :3].astype(np.float32) / 255 / np.maximum(alpha, 1e-3)[..., None]
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    vivid = (alpha > 0.5) & (chroma > 0.3 * np.maximum(high, 1e-3)) & (high > 0.2)
    if vivid.sum() < 0.35 * (alpha > 0.5).sum() or vivid.sum() < 60:
        return None
    red, green, blue = (rgb[..., c][vivid] for c in range(3))
    c, top = chroma[vivid], high[vivid]
    sector = np.where(top == red, (green - blue) / c, np.where(top == green, 2 + (blue - red) / c, 4 + (red - green) / c))
    angle = np.deg2rad(sector * 60)
    mean = np.angle(np.exp(1j * angle).mean())
    near = np.abs(np.angle(np.exp(1j * (angle - mean)))) < np.deg2rad(32)
    if near.mean() < 0.72:
        return None
    mean = np.angle(np.exp(1j * angle[near]).mean())
    return float(np.rad2deg(mean) % 360)


class Recipes:
    """Columns of recipes; `captions` only where asked for."""

    def __init__(self, count):
        self.sprite = np.full((count, LAYERS), -1, np.int16)
        self.place = np.zeros((count, LAYERS, 3), np.float32)  # x, y, size; the frame is 0..1
        self.mirror = np.zeros((count, LAYERS), bool)
        self.turn = np.zeros((count, LAYERS, 2), np.float32)  # degrees of hue, what stays of the saturation
        self.ground = np.zeros((count, 3), np.uint8)
        self.ids = np.zeros((count, words.LENGTH), np.int16)
        self.captions = [""] * count

    COLUMNS = ("sprite", "place", "mirror", "turn", "ground", "ids")

    @staticmethod
    def join(parts):
        whole = Recipes(0)
        for name in Recipes.COLUMNS:
            setattr(whole, name, np.concatenate([getattr(part, name) for part in parts]))
        whole.captions = [caption for part in parts for caption in part.captions]
        return whole


class Cook:
    def __init__(self, emoji, seed):
        self.emoji, self.random = emoji, random.Random(seed)
        total, self.cumulative = 0.0, []
        for weight in emoji.weights:
            total += weight
            self.cumulative.append(total)

    def make(self, count):
        recipes = Recipes(count)
        picks = self.random.choices(range(len(self.emoji.about)), cum_weights=self.cumulative, k=count)
        for row, pick in enumerate(picks):
            while True:
                fill = self.random.random()
                if fill < 0.62:
                    caption = self.single(recipes, row, pick)
                elif fill < 0.77:
                    caption = self.single(recipes, row, self.random.choice(self.emoji.coloured), recolour=True)
                elif fill < 0.89:
                    caption = self.pair(recipes, row)
                else:
                    caption = self.worn(recipes, row)
                if caption is not None:
                    break
                recipes.sprite[row] = -1
                recipes.turn[row] = 0
            recipes.captions[row] = caption
            recipes.ids[row] = self.emoji.words.encode(caption)
        return recipes

    def layer(self, recipes, row, number, sprite, x, y, size, mirror=False):
        recipes.sprite[row, number] = sprite
        recipes.place[row, number] = (x, y, size)
        recipes.mirror[row, number] = mirror

    def ground(self, recipes, row, name):
        jitter = 0 if name == "white" else 6
        recipes.ground[row] = [min(255, max(0, c + self.random.randint(-jitter, jitter))) for c in GROUNDS[name]]

    def pick_ground(self, recipes, row, *names, chance):
        """Fills the ground and returns the words for it, or None for a composition that is held out."""
        if self.random.random() >= chance:
            self.ground(recipes, row, "white")
            return " on white" if self.random.random() < 0.08 else ""
        ground = self.random.choice(list(GROUNDS))
        if any(held_out("ground", name, ground) for name in names):
            return None
        self.ground(recipes, row, ground)
        return f" on {ground}" + (" background" if self.random.random() < 0.12 else "")

    def turn(self, recipes, row, number, about, colour):
        recipes.turn[row, number] = (HUES[colour] - about["hue"], PALER.get(colour, 1))

    def call(self, about, colour=None):
        """A sprite's name, with another colour where one is given."""
        name = about["name"]
        if colour is not None:
            return COLOUR.sub(colour, name, count=1) if COLOUR.search(name) else f"{colour} {name}"
        own = about["hue"]
        if own is not None and not COLOUR.search(name) and about["group"] not in (FACES, PEOPLE) and self.random.random() < 0.12:
            near = min(HUES, key=lambda hue: abs((HUES[hue] - own + 180) % 360 - 180))
            if abs((HUES[near] - own + 180) % 360 - 180) < 12:
                return f"{near} {name}"
        return name

    def single(self, recipes, row, pick, recolour=False):
        emoji, rand = self.emoji, self.random
        about = emoji.about[pick]
        colour = None
        if recolour:
            colour = rand.choice(list(HUES))
            if held_out("hue", about["name"], colour):
                return None
            self.turn(recipes, row, 0, about, colour)
        elif rand.random() < 0.08 and about["tags"]:
            tags = rand.sample(about["tags"], min(len(about["tags"]), rand.choice((1, 2, 2))))
            self.ground(recipes, row, "white")
            self.whole(recipes, row, pick, about)
            return " ".join(tags) if rand.random() < 0.5 else f"{about['name']}, {', '.join(tags)}"
        ground = self.pick_ground(recipes, row, about["name"], chance=0.36)
        if ground is None:
            return None
        name = self.call(about, colour)
        if about["tone"]:
            name += rand.choice((": ", ", ", " with ")) + TONE_NAMES[about["tone"]]
        if rand.random() < 0.05:
            size = rand.uniform(0.42, 0.52)
            self.layer(recipes, row, 0, pick, 0.5 + rand.uniform(-0.06, 0.06), 0.5 + rand.uniform(-0.06, 0.06), size)
            name = "small " + name
        else:
            self.whole(recipes, row, pick, about)
        if rand.random() < 0.5:
            name = article(name)
            if rand.random() < 0.12:
                name = rand.choice(("an emoji of ", "a picture of ")) + name
        style = f", {STYLE_NAMES[about['style']]}" if rand.random() < 0.1 else ""
        return name + ground + style

    def whole(self, recipes, row, pick, about):
        """One sprite that fills the frame."""
        rand = self.random
        size = 0.94 if rand.random() < 0.6 else rand.uniform(0.86, 0.98)
        mirror = about["group"] in MIRRORED and rand.random() < 0.2
        self.layer(recipes, row, 0, pick, 0.5 + rand.gauss(0, 0.006), 0.5 + rand.gauss(0, 0.006), size, mirror)

    def pair(self, recipes, row):
        rand = self.random
        picks = [self.pick_thing() for _ in range(2)]
        both = [self.emoji.about[pick] for pick in picks]
        if both[0]["name"] == both[1]["name"] or held_out("pair", both[0]["name"], both[1]["name"]):
            return None
        names = []
        for number, (pick, about) in enumerate(zip(picks, both)):
            colour = None
            if about["hue"] is not None and rand.random() < 0.2:
                colour = rand.choice(list(HUES))
                if held_out("hue", about["name"], colour):
                    return None
                self.turn(recipes, row, number, about, colour)
            names.append(self.call(about, colour))
            self.layer(recipes, row, number, pick, 0.255 + 0.49 * number, 0.5, rand.uniform(0.47, 0.49))
        ground = self.pick_ground(recipes, row, both[0]["name"], both[1]["name"], chance=0.25)
        if ground is None:
            return None
        if rand.random() < 0.5:
            names = [article(name) for name in names]
        return names[0] + rand.choice((" and ", " and ", " next to ")) + names[1] + ground

    def pick_thing(self):
        rand, emoji = self.random, self.emoji
        if rand.random() < 0.4:
            return rand.choice(emoji.named[rand.choice(self.favourites)])
        return rand.choice(emoji.things)

    @property
    def favourites(self):
        if not hasattr(self, "_favourites"):
            self._favourites = sorted(name for name in FAVOURITES if name in self.emoji.named)
        return self._favourites

    def worn(self, recipes, row):
        rand, emoji = self.random, self.emoji
        face = rand.choice(emoji.faces)
        about = emoji.about[face]
        what = rand.choice(list(WORN))
        if held_out("worn", about["name"], what) or what not in emoji.named:
            return None
        things = [i for i in emoji.named[what] if emoji.about[i]["style"] == about["style"]]
        if not things:
            return None
        x, y, width, face_y, size = WORN[what]
        colour = None
        if about["hue"] is not None and rand.random() < 0.15:
            colour = rand.choice(list(HUES))
            if held_out("hue", about["name"], colour):
                return None
            self.turn(recipes, row, 0, about, colour)
        ground = self.pick_ground(recipes, row, about["name"], chance=0.3)
        if ground is None:
            return None
        self.layer(recipes, row, 0, face, 0.5, face_y, size)
        self.layer(recipes, row, 1, things[0], x, y, width)
        name = self.call(about, colour)
        worn = what if what.endswith("glasses") else article(what)
        return (article(name) if rand.random() < 0.5 else name) + rand.choice((" with ", " wearing ")) + worn + ground


def turn_hue(rgba, turn):
    """Premultiplied pictures [n, 4, h, w] with hues turned by turn[:, 0] degrees and saturations times turn[:, 1]."""
    alpha = rgba[:, 3:].clamp(min=1e-4)
    rgb = (rgba[:, :3] / alpha).clamp(0, 1)
    high, low = rgb.amax(1), rgb.amin(1)
    chroma = (high - low).clamp(min=1e-6)
    red, green, blue = rgb.unbind(1)
    sector = torch.where(high == red, (green - blue) / chroma, torch.where(high == green, 2 + (blue - red) / chroma, 4 + (red - green) / chroma))
    sector = sector + turn[:, 0, None, None] / 60
    chroma = (high - low) * turn[:, 1, None, None]
    shifts = torch.tensor([5.0, 3.0, 1.0], device=rgba.device).view(1, 3, 1, 1)
    k = (shifts + sector[:, None]) % 6
    out = high[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)
    return torch.cat([out * rgba[:, 3:], rgba[:, 3:]], 1)


class Kitchen:
    """Composes recipes on a device."""

    def __init__(self, emoji, device):
        self.device = device
        self.sprites = torch.from_numpy(emoji.sprites).to(device)

    def upload(self, recipes):
        return {name: torch.from_numpy(getattr(recipes, name)).to(self.device) for name in Recipes.COLUMNS}

    def compose(self, columns, rows):
        """Pictures [n, 3, 64, 64] in -1..1 for these rows of uploaded columns."""
        take = {name: columns[name][rows] for name in ("sprite", "place", "mirror", "turn", "ground")}
        out = (take["ground"].float() / 255)[:, :, None, None].repeat(1, 1, SIZE, SIZE)
        for number in range(LAYERS):
            (there,) = torch.where(take["sprite"][:, number] >= 0)
            if len(there) == 0:
                continue
            rgba = self.sprites[take["sprite"][there, number].long()].permute(0, 3, 1, 2).float() / 255
            turn = take["turn"][there, number]
            (turned,) = torch.where(turn[:, 1] > 0)
            if len(turned):
                rgba[turned] = turn_hue(rgba[turned], turn[turned])
            x, y, size = take["place"][there, number].unbind(1)
            side = torch.where(take["mirror"][there, number], -1.0, 1.0)
            theta = torch.zeros(len(there), 2, 3, device=self.device)
            theta[:, 0, 0], theta[:, 0, 2] = side / size, -side * (2 * x - 1) / size
            theta[:, 1, 1], theta[:, 1, 2] = 1 / size, -(2 * y - 1) / size
            grid = F.affine_grid(theta, (len(there), 4, SIZE, SIZE), align_corners=False)
            placed = F.grid_sample(rgba, grid, align_corners=False)
            small = (size < 0.62)[:, None, None, None]  # sampled from half the size, or it would sparkle
            placed = torch.where(small, F.grid_sample(F.avg_pool2d(rgba, 2), grid, align_corners=False), placed)
            out[there] = out[there] * (1 - placed[:, 3:]) + placed[:, :3]
        return out.clamp(0, 1) * 2 - 1

"""Measures which sampler draws the faces best for how many evaluations, and how guidance changes them: what docs/solvers.md and
docs/editing.md show. Each cell is a run of the program, judged as the model's card says, and goes into solvers.json when it is done; a
second call makes what is missing. Without --noiseball it only prints the tables and draws docs/solvers.svg.

    cargo build --release --features cli
    python solvers.py --data cache/faces.safetensors --noiseball ../../../target/release/noiseball
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

import faces
from faces import HERE, diffusion

RESULTS = HERE / "solvers.json"
COUNT = 1000
BUDGETS = [5, 10, 20, 50]
SCALES = [1, 1.5, 2, 3, 4, 5]  # of unipc with 20 steps; 1 is no guidance
CHART = HERE / "../../../docs/solvers.svg"
STYLE = """
    svg { font: 13px system-ui, sans-serif; --ink: #1b1b1f; --other: #a33b12; --rule: #d5d5dc; --paper: #fff; background: var(--paper); }
    @media (prefers-color-scheme: dark) { svg { --ink: #ececf1; --other: #ffa176; --rule: #45454f; --paper: #16161a; } }
    text { fill: var(--ink); } .rule { stroke: var(--rule); } .paper { fill: var(--paper); }
    .better, .other { fill: none; stroke: var(--ink); stroke-width: 1.5; } .better circle { fill: var(--ink); }
    .other { stroke: var(--other); } .other circle { fill: var(--paper); } .least { stroke: var(--ink); stroke-dasharray: 2 4; }
"""
DASHES = ["none", "7 3", "2 3", "10 3 2 3", "4 6"]
# What a reader calls it: the arguments, and the evaluations of N steps as (a step, fewer).
SAMPLERS = {
    "unipc": (["unipc"], 1, 0),
    "dpm-multistep": (["dpm-multistep"], 1, 0),
    "ddim": (["ddim"], 1, 0),
    "ddpm": (["ddpm"], 1, 0),
    "dpm-multistep, karras": (["dpm-multistep", "--grid", "karras"], 1, 0),
    "dpm-multistep, sde": (["dpm-multistep", "--algorithm-type", "sde-dpmsolver++"], 1, 0),
    "euler-ancestral": (["euler-ancestral"], 1, 0),
    "sa-solver": (["sa-solver"], 1, 0),
    "heun, karras": (["heun", "--grid", "karras"], 2, 1),
    "deis": (["deis"], 1, 0),
}


def draw(program, labels, arguments):
    """Images f32 of the noise of PyTorch's seed 0, as Python would make it for all at once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.npy"
        count, labels = len(labels), ",".join(str(label) for label in labels.tolist())
        command = [program, "sample", HERE / "../../../www/models/pixel-faces-16", "--rng", "torch", "--seed", "0", "--device", "cpu",
                   "--batch", str(count), "--labels", labels, "--npy", path, "--sampler", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return torch.from_numpy(np.load(path))


def measure(judged_by, data, made, asked):
    """The card's scores and, over what the judge tells apart, how unlike the data the samples are and how much of it is in them."""
    result = faces.scores(judged_by, data, made, asked)
    count = len(made)
    real = faces.held_out(data, count)[1]
    of_real, of_made = (diffusion.judgements(judged_by, x)[1] for x in (real, made))
    unlike, found = [], [0, 0]
    for i, (name, (_, size)) in enumerate(data["targets"].items()):
        if name.startswith("kind of "):
            share = [torch.bincount(x[:, i], minlength=size) / count for x in (of_real, of_made)]
            unlike.append((share[0] - share[1]).abs().sum().item() / 2)
            found = [found[0] + int((share[1] > 0).sum()), found[1] + size]
    result["unlike"] = round(sum(unlike) / len(unlike), 4)
    result["values"] = found
    # The spread of pictures of a class: the root of the mean variance of their numbers.
    spread = [made[asked == label].var(0).mean() for label in asked.unique() if (asked == label).sum() > 9]
    result["deviation"] = round(torch.stack(spread).mean().sqrt().item(), 4)
    return result


def cells():
    """Name, and the arguments of the run."""
    for budget in BUDGETS[:-1]:
        for name, (arguments, each, fewer) in SAMPLERS.items():
            yield f"{name} / {budget}", [*arguments, "--steps", str((budget + fewer) // each)]
    for scale in SCALES[1:]:
        yield f"guidance / {scale}", ["unipc", "--steps", "20", "--guidance", str(scale)]
    for name, (arguments, each, fewer) in SAMPLERS.items():
        yield f"{name} / {BUDGETS[-1]}", [*arguments, "--steps", str((BUDGETS[-1] + fewer) // each)]


def table(results):
    """Rows by what they reach with 20 evaluations, or with fewer where that is all that is known."""
    found = {name: [results.get(f"{name} / {budget}", {}).get("frechet") for budget in BUDGETS] for name in SAMPLERS}
    order = sorted(found, key=lambda name: [value or 1e9 for value in (found[name][2], found[name][1])])
    cell = lambda value: "" if value is None else f"{value:,.1f}"
    rows = [[f"`{name}`", *map(cell, found[name])] for name in order]
    return diffusion.markdown(["sampler", *map(str, BUDGETS)], rows), {name: found[name] for name in order}


def guided(results):
    """By scale, of `unipc` with 20 steps, and of faces that neither the judge nor the model has seen."""
    names = {1: "unipc / 20"} | {scale: f"guidance / {scale}" for scale in SCALES[1:]} | {"real faces": "real faces"}
    rows = []
    for name, cell in names.items():
        if result := results.get(cell):
            right = [f"{result[bit]:.1f}" for bit in faces.CLASS_BITS]
            rows.append([name, f"{result['frechet']:.1f}", *right, result["values"][0], f"{result['deviation']:.3f}", f"{result['unlike']:.3f}"])
    return diffusion.markdown(["scale", "distance", *faces.CLASS_BITS, "values", "deviation", "unlike"], rows)


def chart(found, real):
    """Distance over evaluations, both by their logarithms; the key has the order of the table. What is further than the scale
    reaches is cut off at its top."""
    wide, high, left, right, top, below = 760, 456, 48, 220, 32, 44
    most, least = 500, 30
    x = lambda budget: left + np.log(budget / BUDGETS[0]) / np.log(BUDGETS[-1] / BUDGETS[0]) * (wide - left - right)
    y = lambda value: top + np.log(most / value) / np.log(most / least) * (high - top - below)
    out = [f'<clipPath id="plot"><rect x="{left}" y="{top}" width="{wide - left - right}" height="{high - top - below}"/></clipPath>']
    for value in (30, 50, 100, 200, 500):
        out.append(f'<path class="rule" d="M{left} {y(value):.1f}H{wide - right}"/><text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value}</text>')
    out.append(f'<text x="{left - 30}" y="14">Fréchet distance</text>')
    for budget in BUDGETS:
        out.append(f'<text x="{x(budget):.1f}" y="{high - below + 20}" text-anchor="middle">{budget}</text>')
    out.append(f'<text x="{(left + wide - right) / 2}" y="{high - 4}" text-anchor="middle">evaluations of the network</text>')
    out.append(f'<path class="least" d="M{left} {y(real):.1f}H{wide - right}"/><text x="{left + 6}" y="{y(real) - 5:.1f}">other real faces</text>')
    for i, (name, values) in enumerate(found.items()):
        points = [(x(budget), y(value), value) for budget, value in zip(BUDGETS, values) if value]
        key = (top + 12 + 22 * i, wide - right + 20)
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b, _ in points)
        out.append(f'<g class="{"better" if i < len(DASHES) else "other"}"><g stroke-dasharray="{DASHES[i % len(DASHES)]}">')
        out.append(f'<polyline clip-path="url(#plot)" points="{line}"/><path d="M{key[1]} {key[0]}h36"/></g>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in [(key[1] + 18, key[0]), *((a, b) for a, b, value in points if value <= most)]]
        out.append(f'</g><text x="{key[1] + 44}" y="{key[0] + 4}">{name}</text>')
    body = "\n".join(out)
    CHART.write_text(f'''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" aria-label="Fréchet distance over evaluations, by sampler">
<style>{STYLE}</style>
<rect class="paper" width="{wide}" height="{high}"/>
{body}
</svg>
''')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="what draw.mjs wrote")
    parser.add_argument("--noiseball", type=Path, help="the program to measure with")
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if args.noiseball:
        torch.set_num_threads(1)
        images, labels, targets = faces.read(args.data)
        data = {"images": images, "labels": labels, "targets": targets}
        judged_by = faces.judge([size for _, size in targets.values()])
        asked = faces.held_out(data, COUNT)[0]
        if "real faces" not in results:
            results["real faces"] = measure(judged_by, data, images[-5000:-4000].float() / 127.5 - 1, labels[-5000:-4000])
        for name, arguments in cells():
            if name not in results:
                results[name] = measure(judged_by, data, draw(args.noiseball, asked, arguments), asked)
                print(name, results[name], flush=True)
                lines = (f"{json.dumps(cell)}: {json.dumps(result)}" for cell, result in results.items())
                RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    distances, found = table(results)
    chart(found, results["real faces"]["frechet of real faces"])
    print(distances, guided(results), sep="\n")


if __name__ == "__main__":
    main()

"""Opens a trained folder as anyone would and draws one prompt: open.py FOLDER PROMPT OUT.png [STEPS]"""

import sys

import torch
from diffusers import StableDiffusionPipeline

folder, prompt, out, *steps = sys.argv[1:]
pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
print(pipeline.tokenizer(prompt).input_ids, pipeline.tokenizer.model_max_length)
generator = torch.Generator().manual_seed(0)
picture = pipeline(prompt, num_inference_steps=int((steps or [25])[0]), guidance_scale=4.0, generator=generator).images[0]
print(picture.size)
picture.save(out)

// The model of kanji as a source for `Noiseball.load`. Each address stands here in full, in the form that bundlers follow.

export default {
  'model_index.json': new URL('./kanji-32/model_index.json', import.meta.url).href,
  'labels.json': new URL('./kanji-32/labels.json', import.meta.url).href,
  'scheduler/scheduler_config.json': new URL('./kanji-32/scheduler/scheduler_config.json', import.meta.url).href,
  'unet/config.json': new URL('./kanji-32/unet/config.json', import.meta.url).href,
  'unet/diffusion_pytorch_model.safetensors': new URL('./kanji-32/unet/diffusion_pytorch_model.safetensors', import.meta.url).href,
};

// The model of faces as a source for `Noiseball.load`. Each address stands here in full, in the form that bundlers follow.

export default {
  'model_index.json': new URL('./pixel-faces-16/model_index.json', import.meta.url).href,
  'labels.json': new URL('./pixel-faces-16/labels.json', import.meta.url).href,
  'scheduler/scheduler_config.json': new URL('./pixel-faces-16/scheduler/scheduler_config.json', import.meta.url).href,
  'unet/config.json': new URL('./pixel-faces-16/unet/config.json', import.meta.url).href,
  'unet/diffusion_pytorch_model.safetensors': new URL('./pixel-faces-16/unet/diffusion_pytorch_model.safetensors', import.meta.url).href,
};

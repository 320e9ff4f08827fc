// The samplers that elements offer.

export const SAMPLERS = [
  { name: 'ddim', text: 'DDIM' },
  { name: 'ddpm', text: 'DDPM' },
];

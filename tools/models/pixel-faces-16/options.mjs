// What DiceBear is asked for: by draw.mjs for the model's training set, by ../../data/faces.mjs for the page's.

export const OPTIONS = {
  size: 16,
  // Blue, lavender, pink, mint: all far from the palest skin, so the outline of a face never melts away.
  backgroundColor: ['b6e3f4', 'd1d4f9', 'ffd5dc', 'c9f0d5'],
  backgroundType: ['solid'],
  // Rarer things are drawn more often than DiceBear would, so that every class has enough examples. No beards: they are
  // a translucent tint, which most skins hide.
  glassesProbability: 35,
  hatProbability: 25,
  beardProbability: 0,
  accessoriesProbability: 10,
};

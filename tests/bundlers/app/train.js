// An app that trains: it reads pictures that come with the package and asks what training on them takes.

import { prepare } from 'noiseball/train';

globalThis.plan = async () => {
  const data = await prepare('digits');
  const { parameters } = await data.plan({ preset: 'tiny' });
  return { count: data.info.count, parameters };
};

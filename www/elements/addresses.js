// The addresses in elements' attributes, and the pictures that are there.

import { NoiseballError } from '../errors.js';
import { policyError, watchPolicy } from '../policy.js';
import { option } from './element.js';

/**
 * The address that an attribute has, relative to the page. Throws what the element shows where nothing can be had from there.
 * @param {string} [orElse] what the attribute may be instead
 */
export function addressIn(element, name, orElse = '') {
  const text = option(element, name);
  const url = text && URL.canParse(text, element.baseURI) ? new URL(text, element.baseURI) : null;
  if (url?.protocol === 'file:') {
    throw new NoiseballError(
      'fetch',
      'this page was opened as a file, and browsers let it load nothing. Serve its folder with a web server, and open it from there',
    );
  }
  if (url && /^(https?|data|blob):$/.test(url.protocol)) return url;
  throw new NoiseballError('invalid-option', `${name}="${text}" is no address${orElse && `, nor ${orElse}`}`);
}

/** A picture could not be had. */
export class PictureError extends NoiseballError {}

/** The picture whose address an attribute has, ready to be drawn. */
export async function imageIn(element, name) {
  const url = addressIn(element, name);
  watchPolicy();
  const image = new Image();
  image.crossOrigin = 'anonymous'; // else nobody may read its pixels
  image.src = url.href;
  try {
    await image.decode();
    return image;
  } catch (cause) {
    const refused = await policyError(url);
    if (refused) throw refused;
    throw new PictureError(
      'fetch',
      `could not read the picture ${url}: there is no network or no such file, it is no picture, or the server does not let other sites ` +
        "read its files. It must answer with the header 'Access-Control-Allow-Origin'",
      { cause },
    );
  }
}

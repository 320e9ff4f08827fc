// The addresses in elements' attributes.

import { NoiseballError } from '../errors.js';
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

// Where a checkpoint's files come from: a folder's address, a hub id, or files that the reader chose.

import { NoiseballError } from './errors.js';
import { decoded, name as shown } from './text.js';
import { isZip } from './zip.js';

const HUB = 'https://huggingface.co/';
/** Also the hub. */
const HUB_HOSTS = new Set(['huggingface.co', 'www.huggingface.co', 'hf.co']);
/** First parts of the hub's own addresses, which are no organisation's. */
const NO_ORGANISATION = /^(api|blog|collections|datasets|docs|join|learn|models|organizations|papers|spaces|tasks)$/;

/**
 * What `Noiseball.load` was given, in a form that can cross to the worker.
 * @typedef {{kind: 'url', url: string, name: string} |
 *           {kind: 'urls', urls: Record<string, string>, name: string} |
 *           {kind: 'files', files: {path: string, file: File}[], name: string}} Source
 */

const RESOLVED = new Set(['url', 'urls', 'files']);

/**
 * Understands a folder's address, a model on the hub as `hf:org/name`, a map of a checkpoint's paths to their addresses, File[], FileList, a drop's
 * DataTransfer (or its items or entries). Call it inside the drop event's handler: browsers empty a DataTransfer when the handler returns.
 *
 * @param {any} source
 * @param {string} [base] what relative addresses are relative to
 * @returns {Promise<Source>}
 */
export async function resolveSource(source, base = globalThis.document?.baseURI ?? import.meta.url) {
  if (RESOLVED.has(source?.kind)) return source; // resolved before
  if (typeof source === 'string' || source instanceof URL) return resolveAddress(String(source).trim(), base);
  const urls = addressesOf(source, base);
  if (urls) return { kind: 'urls', urls, name: commonName(Object.values(urls)) };
  const entries = entriesOf(source);
  const files = entries ? await readEntries(entries) : filesOf(source);
  if (!files) {
    throw new NoiseballError(
      'invalid-option',
      "`source` must be a folder's address, a model on the hub as 'hf:org/name', a map of paths to addresses, or files; it is " +
        typeOf(source),
    );
  }
  if (files.length === 0) throw new NoiseballError('checkpoint', 'there are no files here. Choose the folder that save_pretrained() wrote');
  return { kind: 'files', files, name: shown(commonFolder(files)) };
}

/** @returns {Source} */
function resolveAddress(text, base) {
  if (text.startsWith('hf:')) return resolveHub(text);
  const url = addressOf(text, base, /^https?:$/);
  if (!url)
    throw new NoiseballError(
      'invalid-option',
      `'${text}' is neither a web address (https://…/folder/) nor a model on the hub (hf:org/name)`,
    );
  const folder = folderOf(hubFiles(url) ?? url);
  return { kind: 'url', url: folder.href, name: nameOf(folder) };
}

/** An absolute address, null where it is none or its protocol is another. */
function addressOf(text, base, protocols) {
  const url = text !== '' && URL.canParse(text, base) ? new URL(text, base) : null;
  return url && protocols.test(url.protocol) ? url : null;
}

/**
 * A map of a checkpoint's paths to addresses, as bundlers make them that carry files along under names of their own; null where it is
 * no map.
 * @returns {Record<string, string> | null}
 */
function addressesOf(source, base) {
  const entries = source && Object.getPrototypeOf(source) === Object.prototype ? Object.entries(source) : [];
  if (entries.length === 0 || entries.some(([, address]) => typeof address !== 'string' && !(address instanceof URL))) return null;
  return Object.fromEntries(
    entries.map(([path, address]) => {
      const url = addressOf(String(address), base, /^(https?|data|blob):$/);
      if (url) return [path, url.href];
      throw new NoiseballError('invalid-option', `the address of ${shown(path)}, '${shown(address)}', is no web address`);
    }),
  );
}

/** The folder that addresses have in common, as a name. */
function commonName(urls) {
  const folders = urls.filter((url) => /^https?:/.test(url)).map((url) => new URL('.', url).href);
  const folder = folders.reduce((a, b) => (b.length < a.length ? b : a), folders[0] ?? '');
  return folder && folders.every((other) => other.startsWith(folder)) ? nameOf(new URL(folder)) : 'a model';
}

/**
 * A model on the hub by `hf:org/name[@revision][/subfolder]`. A revision is a branch, a tag or a commit, or one of the hub's own
 * branches, `refs/pr/1`, which have slashes in their names.
 * @returns {Source}
 */
function resolveHub(text) {
  const [, id, revision = 'main', below = ''] =
    /^hf:(\w[\w.-]*\/\w[\w.-]*)(?:@(refs\/(?:pr|convert)\/[\w.-]+|\w[\w.-]*))?((?:\/\w[\w.-]*)*)\/?$/.exec(text) ?? [];
  if (!id) throw new NoiseballError('invalid-option', `'${text}' is not hf:org/name, hf:org/name@revision or hf:org/name/subfolder`);
  const url = folderOf(new URL(`${HUB}${id}/resolve/${revision.replaceAll('/', '%2F')}${below}`)).href;
  return { kind: 'url', url, name: id };
}

/**
 * Where the hub keeps the files that one of its pages shows, whose address people copy: the model's own, or a folder's or a
 * file's in some revision. Null where it is no such page. The terminal has the same rules in src/checkpoint/address.rs; both
 * are held to tests/fixtures/addresses.json.
 *
 * @param {URL} url
 */
function hubFiles(url) {
  if (!HUB_HOSTS.has(url.hostname)) return null;
  const [organisation, name, kind, ...rest] = url.pathname.split('/').filter(Boolean);
  if (!name || NO_ORGANISATION.test(organisation) || (kind && !/^(tree|blob)$/.test(kind)) || (kind && rest.length === 0)) return null;
  // The hub's own branches have slashes in their names, which it writes as they are.
  const own = rest.length > 2 && rest[0] === 'refs' && /^(pr|convert)$/.test(rest[1]);
  const revision = own ? rest.splice(0, 3).join('%2F') : (rest.shift() ?? 'main');
  return new URL([organisation, name, 'resolve', revision, ...rest].join('/'), HUB);
}

/** The checkpoint's top folder; the address may be that of one of its files, or of a folder in it. */
function folderOf(url) {
  const folder = new URL(url);
  folder.hash = '';
  folder.pathname = url.pathname
    .replace(/\/+$/, '')
    .replace(/\/[^/]+\.(json|safetensors|bin)$/, '')
    .replace(/\/(unet|scheduler)$/, '')
    .replace(/$/, '/');
  return folder;
}

function nameOf(folder) {
  const parts = folder.pathname.split('/').filter(Boolean);
  const hub = folder.origin + '/' === HUB && parts[2] === 'resolve';
  return shown(decoded(hub ? parts.slice(0, 2).join('/') : (parts.at(-1) ?? folder.hostname)));
}

/** FileSystemEntry objects of a drop, or null where there are none: the source then has plain files. */
function entriesOf(source) {
  const items = [...(source?.items ?? (isList(source) ? source : []))];
  const entries = items.map((item) => (typeof item?.webkitGetAsEntry === 'function' ? item.webkitGetAsEntry() : item));
  return entries.length > 0 && entries.every((entry) => entry?.isFile || entry?.isDirectory) ? entries : null;
}

function filesOf(source) {
  const list = source?.files ?? (isList(source) ? [...source].map((item) => item?.getAsFile?.() ?? item) : null);
  if (!isList(list) || ![...list].every((file) => file instanceof Blob)) return null;
  return [...list].map((file, index) => ({ path: file.webkitRelativePath || file.name || `file-${index}`, file }));
}

async function readEntries(entries) {
  const files = await Promise.all(entries.map(readEntry));
  return files.flat().sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function readEntry(entry) {
  try {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      return [{ path: entry.fullPath.replace(/^\//, ''), file }];
    }
    const reader = entry.createReader();
    const children = [];
    for (;;) {
      // A folder's reader gives at most some hundred entries a call, and none at its end.
      const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (batch.length === 0) return (await Promise.all(children.filter(isVisible).map(readEntry))).flat();
      children.push(...batch);
    }
  } catch (cause) {
    throw new NoiseballError('fetch', `the browser could not read ${entry.fullPath}: ${cause?.message ?? cause}`, { cause });
  }
}

/** Version control and caches beside a checkpoint are not part of it. */
function isVisible(entry) {
  return !entry.name.startsWith('.') && entry.name !== '__MACOSX';
}

function commonFolder(files) {
  if (files.length === 1 && isZip(files[0].path))
    return files[0].path
      .split('/')
      .at(-1)
      .replace(/\.(zip|npz)$/i, '');
  const folders = new Set(files.map(({ path }) => (path.includes('/') ? path.split('/')[0] : '')));
  const [folder] = folders;
  return folders.size === 1 && folder ? folder : 'your files';
}

function isList(value) {
  return value !== null && typeof value === 'object' && typeof value.length === 'number';
}

function typeOf(value) {
  return value === null ? 'null' : typeof value;
}

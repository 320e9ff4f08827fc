/**
 * A small static file server: for `npm start` (see start.mjs), for tests, and for looking at dist/ as a file host
 * would serve it: `node tools/build/serve.mjs [folder] [/sub/path/]`.
 */
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SetupError } from '../setup/shell.mjs';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.gif': 'image/gif',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
};

/**
 * Serves `folder` below the URL path `base` (`/` or `/sub/path/`); `only` limits it to these top-level names.
 * `headers` go with every answer. Takes `port`, or the next free one when none was asked for. Resolves to `{ url, close }`.
 */
export async function serve({ folder, base = '/', only, headers = {}, host = process.env.HOST ?? '127.0.0.1', port = process.env.PORT }) {
  const home = await realpath(folder);
  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    answer(home, base, only, request, response).catch(() => end(response, 500));
  });
  const taken = await listen(server, host, port === undefined ? [8080, 8100] : [Number(port), Number(port)]);
  const name = host === '127.0.0.1' ? 'localhost' : host;
  // A browser keeps connections open that it has not asked anything on: closing waits for nobody.
  const close = () => new Promise((done) => (server.close(done), server.closeAllConnections()));
  return { url: `http://${name}:${taken}${base}`, close };
}

async function answer(home, base, only, request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD') return end(response, 405, { allow: 'GET, HEAD' });
  const path = decode(request.url);
  if (path === undefined) return end(response, 400);
  if (`${path}/` === base) return end(response, 301, { location: base });
  if (!path.startsWith(base)) return end(response, 404);

  const names = path.slice(base.length).split('/');
  if (names.at(-1) === '') names[names.length - 1] = 'index.html';
  if (names.some((name) => name === '' || name.startsWith('.') || /[\\\0]/.test(name))) return end(response, 404);
  if (only && !only.includes(names[0])) return end(response, 404);
  // A link that leads out of the folder is not followed.
  const file = await realpath(join(home, ...names)).catch(() => undefined);
  if (!file || !resolve(file).startsWith(home.endsWith(sep) ? home : home + sep)) return end(response, 404);
  const facts = await stat(file);
  if (facts.isDirectory()) return end(response, 301, { location: `${request.url.split('?')[0]}/` });

  const etag = `"${facts.size.toString(16)}-${Math.round(facts.mtimeMs).toString(16)}"`;
  const headers = { 'cache-control': 'no-cache', etag, 'x-content-type-options': 'nosniff' };
  if (request.headers['if-none-match'] === etag) return end(response, 304, headers);
  const type = TYPES[extname(file).toLowerCase()] ?? 'application/octet-stream';
  response.writeHead(200, { ...headers, 'content-type': type, 'content-length': facts.size });
  if (request.method === 'HEAD') return response.end();
  createReadStream(file)
    .on('error', () => response.destroy())
    .pipe(response);
}

/** The URL's path, decoded; undefined when it is malformed. `..` is left in, to be refused as a hidden name. */
function decode(url) {
  try {
    return decodeURIComponent(url.split(/[?#]/)[0]);
  } catch {
    return undefined;
  }
}

function end(response, status, headers = {}) {
  response.writeHead(status, headers).end();
}

/** Listens on the first free port from `first` to `last` and resolves to it. */
async function listen(server, host, [first, last]) {
  for (let port = first; ; port += 1) {
    const error = await new Promise((done) => server.once('error', done).listen(port, host, () => done(undefined)));
    server.removeAllListeners('error');
    if (!error) return server.address().port;
    if (error.code !== 'EADDRINUSE' || port >= last) {
      throw new SetupError(`Cannot serve on ${host}:${port} (${error.code}). Choose another port with PORT=8123.`);
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [folder = 'dist', base = '/'] = process.argv.slice(2);
  const { url } = await serve({ folder, base });
  console.log(`${folder} is at ${url}`);
}

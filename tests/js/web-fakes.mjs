// Stand-ins for what browsers have and Node.js lacks: the Cache API, a file server with faults, and a worker
// that runs in this thread.

import { createServer } from 'node:http';
import { Host } from '../../www/host.js';
import { readLarger } from '../../www/text/pipeline.js';

/** A CacheStorage in memory, as strict as a browser's: a body that breaks off is not stored. */
export class FakeCaches {
  stores = new Map();
  /** Set it to make storing fail as it does when the quota is used up. */
  refuse = false;

  async open(name) {
    if (!this.stores.has(name)) this.stores.set(name, new Map());
    const store = this.stores.get(name);
    return {
      match: async (request) => {
        const kept = store.get(request.url ?? request);
        return kept && new Response(kept.body, { status: kept.status, headers: kept.headers });
      },
      put: async (url, response) => {
        if (this.refuse) throw new DOMException('no room', 'QuotaExceededError');
        const body = response.body ? await response.arrayBuffer() : null;
        store.set(url, { status: response.status, headers: new Headers(response.headers), body });
      },
      delete: async (url) => store.delete(url),
      keys: async () => [...store.keys()].map((url) => ({ url })),
    };
  }

  async has(name) {
    return this.stores.has(name);
  }

  async delete(name) {
    return this.stores.delete(name);
  }

  /** The addresses stored, whatever the cache's name. */
  get urls() {
    return [...this.stores.values()].flatMap((store) => [...store.keys()]);
  }
}

/**
 * Serves `files` ({path: {body, headers?, status?, cutAfter?: [bytes of each answer that breaks off], stalls?: whether half of it is
 * all that comes}}) and keeps a list of its requests, such as 'GET /unet/config.json'; 'LEFT …' is one that was given up. Others answer
 * with the status `absent`.
 */
export async function serveFiles(files, absent = 404) {
  const requests = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url, 'http://x').pathname;
    requests.push(`${request.method} ${path}`);
    const file = files[path];
    if (!file) return response.writeHead(absent, { 'content-type': 'text/html' }).end('<h1>nothing here</h1>');
    const body = Buffer.from(file.body);
    response.writeHead(file.status ?? 200, { 'content-length': body.length, ...file.headers });
    if (request.method === 'HEAD') return response.end();
    if (file.stalls) {
      response.on('close', () => requests.push(`LEFT ${path}`));
      response.write(body.subarray(0, body.length / 2));
      return;
    }
    const cut = file.cutAfter?.shift();
    if (cut === undefined) return response.end(body);
    response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    requests,
    close: () => (server.closeAllConnections(), new Promise((done) => server.close(done))),
  };
}

/**
 * Makes `globalThis.Worker` one that runs host.js on `engine` in this thread, and the worker of the larger module on `text`; returns the workers made.
 */
export function installWorker(engine, scope = { isSecureContext: true, navigator: {} }, text = engine) {
  const workers = [];
  globalThis.location = { origin: new URL(import.meta.url).origin };
  globalThis.Worker = class extends EventTarget {
    constructor(url, options) {
      super();
      Object.assign(this, { url, options });
      this.terminated = false;
      const post = (data) => queueMicrotask(() => this.terminated || this.dispatchEvent(Object.assign(new Event('message'), { data })));
      const parts = String(url).endsWith('/text/worker.js') ? { start: async () => text, read: readLarger } : { start: async () => engine };
      this.host = new Host({ ...parts, scope, post });
      workers.push(this);
      post({ ready: true });
    }

    postMessage(message) {
      queueMicrotask(() => this.terminated || this.host.handle(structuredClone(message)));
    }

    crash(message) {
      this.dispatchEvent(Object.assign(new Event('error'), { message }));
    }

    terminate() {
      this.terminated = true;
    }
  };
  return workers;
}

/** The files of a checkpoint that the fake engine takes, in layout A. */
export function checkpointFiles({ config = {}, weights = Buffer.alloc(4000, 0) } = {}) {
  const json = (value) => JSON.stringify(value);
  return {
    'unet/config.json': json({ _class_name: 'UNet2DModel', sample_size: 8, in_channels: 3, num_class_embeds: 3, ...config }),
    'unet/diffusion_pytorch_model.safetensors': weights,
    'scheduler/scheduler_config.json': json({ _class_name: 'DDPMScheduler' }),
    'model_index.json': json({ _class_name: 'DDPMPipeline' }),
    'labels.json': json({ labels: ['happy', 'sad'], null_label: 2 }),
  };
}

/** The same files as a server's, below `/model/`. */
export function served(files, headers = {}) {
  return Object.fromEntries(Object.entries(files).map(([path, body]) => [`/model/${path}`, { body, headers }]));
}

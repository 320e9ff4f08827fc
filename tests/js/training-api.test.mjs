// Training as a page's script sees it, with a worker that says what each test wants it to.

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { FakeFolder } from './fake-folder.mjs';

let workers = [];

/** Answers each message by `script(message, post, worker)`. */
function installWorker(script) {
  workers = [];
  globalThis.location = { origin: new URL(import.meta.url).origin };
  globalThis.Worker = class extends EventTarget {
    constructor(url) {
      super();
      Object.assign(this, { url, gone: false, messages: [] });
      workers.push(this);
      this.#post({ ready: true });
    }

    #post(data) {
      queueMicrotask(() => this.gone || this.dispatchEvent(Object.assign(new Event('message'), { data })));
    }

    postMessage(message) {
      this.messages.push(message);
      queueMicrotask(() => script(message, (answer) => this.#post({ id: message.id, ...answer }), this));
    }

    terminate() {
      this.gone = true;
    }
  };
}

const start = (step) => ({ type: 'start', id: 'abc', state: 'running', step, steps: 10, facts: {}, losses: {}, film: [] });
const { Training, prepare, runs, train, TrainingData } = await import('../../www/training.js');
const { RunStore } = await import('../../www/train/store.js');

/** Ends the worker of the test before. */
beforeEach(() => {
  for (const worker of workers) worker.dispatchEvent(Object.assign(new Event('error'), { message: 'over' }));
});

test('a run’s events come in order, and it ends when it is closed', async () => {
  let finish;
  installWorker(({ op }, post) => {
    if (op === 'begin') {
      post({ progress: start(0) });
      post({ progress: { type: 'steps', state: 'running', step: 4, steps: 10 } });
      finish = () => post({ result: null });
    } else {
      post({ result: null });
      if (op === 'close') finish();
    }
  });
  const run = await Training.open({ op: 'begin' });
  const seen = [];
  for await (const event of run) {
    seen.push(event.type);
    if (event.type === 'steps') await run.close();
  }
  assert.deepEqual(seen, ['start', 'steps']);
  assert.equal(run.progress.step, 4);
  await assert.rejects(run.pause(), { type: 'disposed' });
});

test('a lost device brings the run back from its kept state, once', async () => {
  const lost = { error: { type: 'device-lost', message: 'the GPU device was lost', fatal: true } };
  installWorker(({ op, run }, post) => {
    if (op === 'begin') {
      post({ progress: start(0) });
      post(lost);
    }
    if (op === 'continue') {
      assert.equal(run, 'abc');
      post({ progress: start(5) });
      post(lost);
    }
  });
  const seen = [];
  for await (const { type, step, error } of await Training.open({ op: 'begin' })) seen.push([type, step ?? error?.type]);
  assert.deepEqual(seen, [
    ['start', 0],
    ['recovering', 'device-lost'],
    ['start', 5],
    ['failed', 'device-lost'],
  ]);
  assert.equal(workers.length, 2);
  assert.ok(workers.every(({ gone }) => gone));
});

test('out of memory, the run comes back with half the pictures at a time, until that cannot be', async () => {
  const full = { error: { type: 'out-of-memory', message: 'memory ran out', fatal: true } };
  const continued = [];
  installWorker(({ op, split }, post) => {
    if (op === 'begin') post({ progress: start(0) });
    if (op === 'continue') {
      continued.push(split);
      if (continued.length === 3) return post({ error: { ...full.error, fatal: false } });
      post({ progress: { type: 'split', accumulate: 2 ** continued.length } });
      post({ progress: start(0) });
    }
    post(full);
  });
  const seen = [];
  for await (const { type, accumulate, error } of await Training.open({ op: 'begin' })) seen.push([type, accumulate ?? error?.type]);
  const once = (parts) => [
    ['recovering', 'out-of-memory'],
    ['split', parts],
    ['start', undefined],
  ];
  const begun = [['start', undefined]];
  assert.deepEqual(seen, [...begun, ...once(2), ...once(4), ['recovering', 'out-of-memory'], ['failed', 'out-of-memory']]);
  assert.deepEqual(continued, [true, true, true]);
});

test('what cannot start rejects, and starts no second run', async () => {
  installWorker((_message, post) => post({ error: { type: 'out-of-memory', message: 'too large', fatal: false } }));
  await assert.rejects(Training.open({ op: 'begin' }), { type: 'out-of-memory' });
  await assert.rejects(train({ data: {} }), { type: 'invalid-option' });
  await assert.rejects(prepare('https://example.org/pictures/'), { type: 'invalid-option' });
  assert.equal(workers.length, 1);
});

test('kept runs are listed without a worker', async () => {
  installWorker(() => assert.fail('unreachable'));
  const root = new FakeFolder();
  const folder = await (await RunStore.open(root)).create(new Uint8Array(3));
  await folder.save({ name: 'roll', step: 7, steps: 9, when: 1 }, [new Uint8Array(5)]);
  Object.defineProperty(globalThis, 'navigator', { value: { storage: root }, configurable: true });
  const [{ id, name, step }, ...others] = await runs();
  assert.deepEqual([id, name, step, others, workers], [folder.id, 'roll', 7, [], []]);
  Reflect.deleteProperty(globalThis, 'navigator');
  await assert.rejects(runs(), { type: 'fetch' });
});

test('a bundled set is a name to the worker, options and all', async () => {
  installWorker((_message, post) => post({ result: { data: 7, info: { count: 3 }, skipped: [], skippedCount: 0, about: null } }));
  const data = await prepare('digits', { size: 16, grey: true });
  assert.ok(data instanceof TrainingData && data.info.count === 3);
  const [{ source, options }] = workers[0].messages;
  assert.deepEqual(source, { kind: 'bundled', name: 'digits' });
  assert.deepEqual(options, { size: 16, grey: true });
  assert.equal(workers[0].url.pathname.endsWith('/www/train/worker.js'), true);
});

test('data of a known distribution are made by the worker, with the first of their objectives unless told', async () => {
  installWorker(({ op }, post) => {
    if (op === 'prepare') post({ result: { data: 7, info: { count: 3 }, skipped: [], skippedCount: 0, about: { toy: 'swiss-roll' } } });
    if (op === 'plan') post({ result: { recipe: '{}' } });
    if (op === 'begin') post({ progress: start(0) });
  });
  await train({ data: await prepare('swiss-roll') });
  const [first, plan] = workers[0].messages;
  assert.deepEqual(first.source, { kind: 'toy', name: 'swiss-roll' });
  assert.equal(plan.preset, 'swiss-roll-bound');
});

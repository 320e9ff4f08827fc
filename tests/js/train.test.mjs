// Training's JavaScript without a browser: archives, the store of kept runs, losses, the loop, and what the page says.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { axis, ticks } from '../../www/site/train/chart.js';
import { lookedUp, noiseShare, timestepAt } from '../../www/site/train/noise.js';
import { nearness, tick } from '../../www/site/train/plot.js';
import {
  boundSentence,
  dataSentence,
  keptSentence,
  lossSentence,
  noiseSentence,
  OBJECTIVES,
  planSentence,
  sampledSentence,
} from '../../www/site/train/words.js';
import { bytesOf, factsOf, frameOf } from '../../www/train/frames.js';
import { TrainingHost } from '../../www/train/host.js';
import { Losses } from '../../www/train/losses.js';
import { Run } from '../../www/train/run.js';
import { RunStore } from '../../www/train/store.js';
import { readToy, table, TOYS } from '../../www/train/toys.js';
import { BUDGET, MOST_JSON, readZip } from '../../www/zip.js';
import { zip } from '../../tools/zip.mjs';
import { FakeFolder } from './fake-folder.mjs';
import { runSentence, speed } from '../../www/words.js';
import { alive, fakeTrainer, work } from './fake-trainer.mjs';

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

// ---- Archives ----

test('an archive gives its files, packed or not, without hidden ones and folders', async () => {
  const text = Buffer.from('a '.repeat(5000));
  const archive = zip([
    { path: 'x/a.txt', bytes: text, pack: true },
    { path: 'x/b.bin', bytes: Buffer.from([1, 2, 3]) },
    { path: 'x/', bytes: Buffer.alloc(0) },
    { path: '__MACOSX/x/a.txt', bytes: text },
    { path: 'x/.DS_Store', bytes: text },
  ]);
  const files = await readZip(new Blob([archive]), 'x.zip');
  assert.deepEqual(
    files.map(({ path }) => path),
    ['x/a.txt', 'x/b.bin'],
  );
  assert.deepEqual(Buffer.from(await files[0].file.arrayBuffer()), text);
  assert.deepEqual(Buffer.from(await new Response(files[1].file.stream()).arrayBuffer()), Buffer.from([1, 2, 3]));
});

test("names in an archive are the terminal's, by the same table of cases", async () => {
  const cases = JSON.parse(read('tests/fixtures/data_cases.json'));
  for (const encoding of ['gbk', 'shift_jis', 'cp437', 'utf-8']) {
    const { files, expected } = cases.find(({ name }) => name === `an archive with names in ${encoding}`);
    const entries = await readZip(new Blob([Buffer.from(files[0][1], 'base64')]), 'a.zip');
    const folders = entries.map(({ path }) => path.split('/')[0]);
    assert.deepEqual(new Set(folders), new Set(expected.names), encoding);
  }
  const named = async (name) => {
    const { files } = cases.find((one) => one.name === name);
    return (await readZip(new Blob([Buffer.from(files[0][1], 'base64')]), 'a.zip')).map(({ path }) => path);
  };
  assert.deepEqual(await named('an archive with backslashes'), ['cats/0.png', 'dogs/1.png']);
  assert.deepEqual(await named("an archive with Info-ZIP's names"), ['猫/0.png', '狗/1.png']);
  await assert.rejects(named('files in an archive that share bytes'), { type: 'fetch', message: /overlap/ });
});

test('what an archive unpacks to is bounded by its size, and room grows with what arrives', async () => {
  const rust = read('src/budget.rs');
  const number = (name) => Number(rust.match(new RegExp(`pub const ${name}: u64 = ([\\d_]+)`))[1].replaceAll('_', ''));
  assert.deepEqual([BUDGET, MOST_JSON], [{ base: number('BASE'), times: number('TIMES') }, number('MAX_JSON') * 2 ** 20]);
  const zeros = Buffer.alloc(50_000_000);
  const entries = await readZip(new Blob([zip(['a', 'b', 'c', 'd'].map((path) => ({ path, bytes: zeros, pack: true })))]), 'x.zip');
  for (const { file } of entries.slice(0, 3)) for await (const _ of file.stream());
  await assert.rejects(entries[3].file.arrayBuffer(), { type: 'fetch', message: /far more than its own size/ });
  const claim = zip([{ path: 'a', bytes: Buffer.from('hello'), pack: true }]);
  claim.writeUInt32LE(2_000_000_000, claim.length - 22 - 47 + 24);
  const [{ file }] = await readZip(new Blob([claim]), 'x.zip');
  assert.equal(file.size, 2_000_000_000);
  await assert.rejects(file.arrayBuffer(), { type: 'fetch', message: /damaged/ });
  const json = zip([{ path: 'a.json', bytes: Buffer.alloc(MOST_JSON + 1), pack: true }]);
  await assert.rejects((await readZip(new Blob([json]), 'x.zip'))[0].file.arrayBuffer(), { type: 'fetch', message: /4,194,304 bytes/ });
});

test('a damaged, encrypted or cut archive is refused with a reason', async () => {
  const bytes = Buffer.from('hello hello hello');
  const open = async (archive) => (await readZip(new Blob([archive]), 'x.zip'))[0].file.arrayBuffer();
  const whole = zip([{ path: 'a', bytes, pack: true }]);
  await assert.rejects(open(Buffer.from('hello')), { type: 'fetch', message: /no directory/ });
  await assert.rejects(open(whole.subarray(0, -30)), { type: 'fetch', message: /no directory/ });
  await assert.rejects(open(whole.subarray(20)), { type: 'fetch', message: /cut off|damaged|overlap/ });
  await assert.rejects(open(zip([{ path: 'a', bytes, flags: 1 }])), { type: 'fetch', message: /encrypted/ });
  await assert.rejects(open(zip([{ path: 'a', bytes, crc: 7 }])), { type: 'fetch', message: /damaged/ });
  const flipped = Buffer.from(whole);
  flipped[35] ^= 255;
  await assert.rejects(open(flipped), { type: 'fetch', message: /damaged|larger/ });
});

// ---- Kept runs ----

const state = (n) => new Uint8Array(1000).fill(n);

async function kept(root) {
  const found = [];
  for (const run of await (await RunStore.open(root)).list()) {
    const folder = await (await RunStore.open(root)).get(run.id);
    for await (const { facts, parts } of folder.states()) found.push([facts.step, parts[0][0], parts[0].length]);
  }
  return found;
}

test('a kept run gives its newest states, newest first, and its data', async () => {
  const root = new FakeFolder();
  const store = await RunStore.open(root);
  const folder = await store.create(new Uint8Array([1, 2, 3]));
  assert.deepEqual(await store.list(), []);
  for (const n of [10, 20, 30]) await folder.save({ step: n, when: n }, [state(n), new Uint8Array(3)]);
  assert.deepEqual(await kept(root), [
    [30, 30, 1000],
    [20, 20, 1000],
  ]);
  assert.deepEqual([...(await folder.data())], [1, 2, 3]);
  await store.remove(folder.id);
  assert.deepEqual(await store.list(), []);
  await assert.rejects(store.get(folder.id), { type: 'resume' });
});

test('killed at any moment of a save, the state before or the new one is whole', async () => {
  let kills = 0;
  for (let after = 1; ; after++) {
    const root = new FakeFolder();
    const folder = await (await RunStore.open(root)).create(new Uint8Array([1]));
    await folder.save({ step: 10, when: 1 }, [state(10)]);
    await folder.save({ step: 20, when: 2 }, [state(20)]);
    root.killAfter(after);
    const killed = await folder.save({ step: 30, when: 3 }, [state(30)]).then(
      () => false,
      () => true,
    );
    root.killAfter(Infinity);
    const [newest] = await kept(root);
    if (!killed) {
      assert.deepEqual(newest, [30, 30, 1000]);
      break;
    }
    kills++;
    assert.ok(newest[0] === 20 || newest[0] === 30, `after ${after}: ${newest}`);
    assert.ok(newest[0] === newest[1] && newest[2] === 1000);
    // And the next save after a kill is fine too.
    const again = await (await RunStore.open(root)).get(folder.id);
    await again.save({ step: 40, when: 4 }, [state(40)]);
    assert.deepEqual((await kept(root))[0], [40, 40, 1000]);
  }
  assert.ok(kills >= 5, `${kills} moments`);
});

test('a browser that grants no room, or keeps nothing, says so; what was kept stays', async () => {
  const root = new FakeFolder();
  const folder = await (await RunStore.open(root)).create(new Uint8Array([1]));
  await folder.save({ step: 10, when: 1 }, [state(10)]);
  root.quota(500);
  await assert.rejects(folder.save({ step: 20, when: 2 }, [state(20)]), { name: 'QuotaExceededError' });
  assert.deepEqual(await kept(root), [[10, 10, 1000]]);
  await assert.rejects(RunStore.open({ getDirectory: () => Promise.reject(new Error('private window')) }), {
    type: 'fetch',
    message: /private window/,
  });
});

// ---- Losses ----

test('losses are kept by level, thinned evenly, and none is lost in the mean', () => {
  const losses = new Losses();
  for (let step = 0; step < 5000; step++) losses.add(step, [0.1, 0.3, 0.6, 0.99], [1, 2, 3, step]);
  assert.ok(losses.points.length <= 400 && losses.points.length >= 200, `${losses.points.length}`);
  assert.equal(
    losses.points.reduce((sum, { count }) => sum + count, 0),
    20000,
  );
  assert.deepEqual([...new Set(losses.series(0).map(([, loss]) => loss))], [1]);
  const last = losses.series(3).at(-1);
  assert.ok(last[1] > 4900 && last[0] > 4900);
  const steps = losses.series().map(([step]) => step);
  assert.ok(steps.every((step, i) => i === 0 || step > steps[i - 1]));
  const copy = new Losses(JSON.parse(JSON.stringify(losses)));
  copy.add(5000, [0.1], [1]);
  assert.equal(copy.points.length, losses.points.length);
});

test('smoothing does not pull the start, and a run that goes back loses what came after', () => {
  const losses = new Losses();
  for (let step = 0; step < 100; step++) losses.add(step, [0.5], [step < 50 ? 2 : 1]);
  const smooth = losses.smoothed(losses.series());
  assert.equal(smooth[0][1], 2);
  assert.ok(Math.abs(smooth.at(-1)[1] - 1) < 0.01);
  losses.addHeldOut(50, 1.5);
  losses.addHeldOut(90, 1.4);
  losses.cut(60);
  assert.equal(losses.points.length, 60);
  assert.deepEqual(losses.heldOut, [[50, 1.5]]);
});

// ---- The loop ----

async function started({ steps = 60, folder = null, data = { about: null }, ...more } = {}) {
  const events = [];
  let clock = 0;
  const { engine, training } = fakeTrainer({ steps, channels: data.channels, ...more });
  const run = new Run({
    engine,
    training,
    folder,
    facts: { name: 'x', device: { kind: 'cpu', name: 'CPU' }, data },
    report: (event) => events.push(structuredClone(event)),
    clock: () => (clock += 30),
  });
  const over = run.loop();
  const until = async (type, wanted = () => true) => {
    for (let i = 0; i < 5000; i++) {
      const found = events.find((event) => event.type === type && wanted(event));
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error(`no ${type} among ${events.map((event) => event.type)}`);
  };
  return { run, events, over, until, training };
}

test('a run reports its losses once each, samples its film, saves at the end, and frees everything', async () => {
  const root = new FakeFolder();
  const folder = await (await RunStore.open(root)).create(new Uint8Array([1]));
  const { run, events, over, until } = await started({ folder });
  await until('state', ({ state }) => state === 'ended');
  const steps = events.filter(({ type }) => type === 'steps').flatMap(({ points }) => points.map(({ step }) => step));
  assert.deepEqual(
    steps,
    Array.from({ length: 60 }, (_, i) => i),
  );
  const frames = events.filter(({ type }) => type === 'frame').map(({ frame }) => frame.step);
  assert.ok(frames.length >= 5 && frames[0] === 0 && frames.at(-1) === 60, `${frames}`);
  assert.equal(events.filter(({ type }) => type === 'saved').at(-1).step, 60);
  const [{ facts }] = [
    await new Promise((done) =>
      folder
        .states()
        .next()
        .then(({ value }) => done(value)),
    ),
  ];
  assert.equal(facts.step, 60);
  assert.equal(facts.film.length, frames.length);
  await run.dispose();
  await over;
  assert.deepEqual(alive, { trainings: 0 });
});

test('paused, it saves and computes nothing; resumed, it goes on; stopped, it can still be exported', async () => {
  const { run, events, over, until, training } = await started({ steps: 100_000 });
  await until('steps', ({ step }) => step >= 20);
  await run.pause();
  const { step } = training.facts();
  assert.equal(events.filter(({ type }) => type === 'saved').at(-1).step, step);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(training.facts().step, step);
  await run.setLearningRate(0.5);
  assert.equal(events.at(-1).learningRate, 0.5);
  await run.resume();
  await until('steps', (event) => event.step > step);
  await run.stop();
  assert.equal(events.at(-1).state, 'ended');
  const files = await run.export();
  assert.deepEqual(
    files.map(([path]) => path),
    ['README.md', 'training/recipe.json', 'training/losses.json', 'unet/config.json'],
  );
  await run.dispose();
  await over;
  await assert.rejects(run.pause(), { type: 'disposed' });
});

const POINTS = {
  kind: 'points',
  channels: 2,
  count: 1000,
  width: 1,
  height: 1,
  names: [],
  counts: [],
  about: { toy: 'swiss-roll', name: 'Swiss roll' },
};
const BITS = { ...POINTS, kind: 'bits', channels: 20, about: { toy: 'heartbeat', name: 'Binary heartbeat' } };

test('of points a run samples points, tells the bound, keeps both, and exports them', async () => {
  const root = new FakeFolder();
  const folder = await (await RunStore.open(root)).create(new Uint8Array([1]));
  const { run, events, over, until } = await started({ folder, data: POINTS });
  await until('state', ({ state }) => state === 'ended');
  const [{ sample }] = events;
  assert.deepEqual([sample.length, sample[0]], [800, 7]);
  const frames = events.filter(({ type }) => type === 'frame').map(({ frame }) => frame);
  assert.ok(
    frames.every(({ step, batch, channels, values }) => batch === 400 && channels === 2 && values.length === 800 && values[0] === step),
  );
  const held = events.filter(({ type }) => type === 'held-out').at(-1);
  assert.deepEqual([held.step, held.loss, held.bound], [60, -0.6, { step: 60, bits: 0.6, error: 0.1 }]);
  const {
    value: {
      facts,
      parts: [, ...bytes],
    },
  } = await folder.states().next();
  assert.deepEqual(facts.bound, held.bound);
  assert.deepEqual(
    facts.film.map((frame, i) => frameOf(frame, bytes[i])),
    frames,
  );
  const files = await run.export();
  assert.deepEqual(
    files.map(([path]) => path),
    ['README.md', 'training/recipe.json', 'training/losses.json', 'samples.csv', 'unet/config.json'],
  );
  const rows = new TextDecoder().decode(files[3][1]).trim().split('\n');
  assert.deepEqual([rows.length, rows[0], rows[1]], [1001, 'x,y', '60,60']);
  await assert.rejects(run.files(), { type: 'unsupported-architecture', message: /Export it/ });
  await run.dispose();
  await over;
  assert.deepEqual(alive, { trainings: 0 });
});

for (const data of [POINTS, { about: null }]) {
  test(`a pause does not wait for a frame of ${data.kind ?? 'pictures'}, which is taken later`, async () => {
    const [steps, evaluations] = [100_000, 20_000];
    const { run, events, over, until } = await started({ steps, evaluations, data });
    const taken = () => events.filter(({ type }) => type === 'frame' || type === 'held-out').length;
    await until('start');
    work.evaluations = 0;
    await run.pause();
    assert.ok(work.evaluations < evaluations / 10, `${work.evaluations}`);
    assert.deepEqual([events.at(-1).state, events.at(-1).saved, taken()], ['paused', 0, 0]);
    await run.resume();
    await until('frame');
    // Stopped, it takes its last frame whole, whatever is asked for meanwhile.
    const before = taken();
    const stopped = run.stop();
    run.setLearningRate(0.5);
    await stopped;
    assert.equal(events.at(-1).state, 'ended');
    assert.ok(taken() > before || events.at(-1).step === 0);
    await run.dispose();
    await over;
    assert.deepEqual(alive, { trainings: 0 });
  });
}

test('where the objective is no bound, the loss on what is kept out is told alone', async () => {
  const { run, events, over, until } = await started({ data: BITS });
  await until('state', ({ state }) => state === 'ended');
  const held = events.filter(({ type }) => type === 'held-out').at(-1);
  assert.deepEqual(held, { type: 'held-out', step: 60, loss: 1 / 61 });
  assert.equal(events.find(({ type }) => type === 'frame').frame.values.length, 400 * 20);
  await run.dispose();
  await over;
});

test('a run that diverged does not keep the bound of a later step', async () => {
  const { run, over, until } = await started({ steps: 100_000, divergeAt: 5000, data: POINTS });
  const { bound, step } = await until('failed');
  assert.ok(bound === null || bound.step <= step, `${bound?.step} of ${step}`);
  await run.dispose();
  await over;
});

test('frames come back from their bytes, pictures and points alike', () => {
  for (const frame of [
    { step: 3, batch: 1, width: 1, height: 1, pictures: new Uint8ClampedArray([1, 2, 3, 255]) },
    { step: 3, batch: 1, channels: 2, values: Float32Array.of(0.5, -2) },
  ]) {
    assert.deepEqual(frameOf(factsOf(frame), bytesOf(frame).slice()), frame);
  }
});

test('a diverged run goes back to its last state and waits there', async () => {
  const { run, over, until, events } = await started({ steps: 100_000, divergeAt: 2000 });
  await until('saved', ({ step }) => step > 0);
  const failed = await until('failed');
  assert.equal(failed.error.type, 'diverged');
  assert.ok(failed.wentBack && failed.state === 'paused');
  const saved = events.filter(({ type }) => type === 'saved').at(-1).step;
  assert.equal(failed.step, saved);
  assert.ok(failed.losses.points.every((point) => point.step < saved));
  await run.dispose();
  await over;
  assert.deepEqual(alive, { trainings: 0 });
});

test('where a state cannot be kept the run says so and goes on', async () => {
  const folder = { save: async () => Promise.reject(new DOMException('no room', 'QuotaExceededError')) };
  const { run, over, until } = await started({ folder });
  const saved = await until('saved');
  assert.equal(saved.kept, false);
  assert.equal(saved.problem, 'no room');
  await until('state', ({ state, step }) => state === 'ended' && step === 60);
  await run.dispose();
  await over;
});

test('a learning rate set while it waits at a saved step is saved at once', async () => {
  const root = new FakeFolder();
  const folder = await (await RunStore.open(root)).create(new Uint8Array([1]));
  const { run, events, over, until } = await started({ steps: 100_000, folder });
  await until('steps', ({ step }) => step >= 20);
  await run.pause();
  await run.setLearningRate(0.25);
  const {
    value: { facts, parts },
  } = await folder.states().next();
  assert.deepEqual([...new Float64Array(parts[0].slice().buffer)], [facts.step, 0.25]);
  assert.deepEqual([events.at(-2).type, events.at(-1).learningRate], ['saved', 0.25]);
  await run.dispose();
  await over;
});

test('a run that has ended can be made longer, and one cannot be made shorter than it is', async () => {
  const { run, events, over, until } = await started({ steps: 30 });
  await until('state', ({ state }) => state === 'ended');
  await assert.rejects(run.setSteps(29), { type: 'invalid-option' });
  await run.setSteps(60);
  await until('state', ({ state, step }) => state === 'ended' && step === 60);
  assert.equal(events.at(-1).steps, 60);
  const frames = events.filter(({ type }) => type === 'frame').map(({ frame }) => frame.step);
  assert.ok(frames.includes(30) && frames.at(-1) === 60, `${frames}`);
  await run.dispose();
  await over;
});

test('a frame that fails is told, and the run goes on to its end', async () => {
  const { run, events, over, until } = await started({ failingFrames: true });
  await until('state', ({ state, step }) => state === 'ended' && step === 60);
  const failed = events.filter(({ type }) => type === 'frame-failed');
  assert.deepEqual([failed[0].step, failed[0].error.type, failed.at(-1).step], [0, 'out-of-memory', 60]);
  assert.ok(events.every(({ type, kept }) => type !== 'failed' && (type !== 'saved' || !kept)));
  await run.dispose();
  await over;
});

// ---- Plans and pictures ----

test('a recipe is made of a preset and what is to be changed in it, and begun in as many parts as fit', async () => {
  const asked = [];
  const data = { info: () => ({}), save: () => new Uint8Array(1) };
  const training = { facts: () => ({ accumulate: 4 }), is_saved: () => true, next: () => new Promise(() => {}), free() {} };
  const engine = {
    Data: { toy: () => data },
    recipe: (...given) => asked.push(given.slice(0, 3)) && '{"accumulate":1}',
    plan: () => ({ memory: 1 }),
    fit: (text, _data, ...where) => asked.push(where) && text.replace('1', '4'),
    Training: { create: async (...given) => asked.push(given.filter((part) => part !== data)) && training },
  };
  const posted = [];
  const openStore = async () => Promise.reject(new Error('private window'));
  const host = new TrainingHost({ start: async () => engine, scope: {}, openStore, post: (m) => posted.push(m) });
  await host.handle({ id: 1, op: 'prepare', source: { kind: 'toy', name: 'ring' } });
  await host.handle({ id: 2, op: 'plan', data: 1, preset: 'ring-ddpm', changes: { steps: 7 } });
  host.handle({ id: 3, op: 'begin', data: 1, recipe: posted[1].result.recipe, device: 'cpu', budget: 5e8 });
  while (!posted.some(({ progress }) => progress?.type === 'split')) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(asked, [
    ['ring-ddpm', undefined, { steps: 7 }],
    ['cpu', 5e8],
    ['{"accumulate":4}', true, 'cpu', 5e8],
  ]);
  assert.equal(posted.find(({ progress }) => progress?.type === 'split').progress.accumulate, 4);
});

test('a trap of the module counts as out of memory where its allocator says so', async () => {
  const failing = async (refused) => {
    const posted = [];
    const store = { remove: async () => assert.fail('unreachable') };
    const host = new TrainingHost({
      start: async () => ({ refused_bytes: () => refused }),
      scope: {},
      openStore: async () => store,
      post: (m) => posted.push(m),
    });
    await host.handle({ id: 1, op: 'remove', run: 'a' });
    return posted[0].error;
  };
  assert.deepEqual(await failing(5e6), { type: 'out-of-memory', message: 'memory ran out: another 5 MB could not be had', fatal: true });
  assert.equal((await failing(0)).type, 'device-lost');
});

test('the speed that is told is the one that a run settles at, and is found soon', async (t) => {
  const measure = async (stepTime, abort = false) => {
    let [clock, done, alive] = [0, 0, 0];
    t.mock.method(performance, 'now', () => clock);
    const training = {
      step: () => (clock += stepTime(done++)),
      wait: async () => abort && done > 1 && host.handle({ id: 2, op: 'abort' }),
      free: () => alive--,
    };
    const engine = { Data: { toy: () => ({ info: () => ({}) }) }, Training: { create: async () => (alive++, training) } };
    const posted = [];
    const host = new TrainingHost({ start: async () => engine, scope: {}, post: (m) => posted.push(m) });
    await host.handle({ id: 1, op: 'prepare', source: { kind: 'toy', name: 'ring' } });
    await host.handle({ id: 2, op: 'measure', data: 1, recipe: '{}', device: 'cpu' });
    t.mock.restoreAll();
    assert.equal(alive, 0);
    return { each: posted[1].result?.secondsPerStep, error: posted[1].error, clock, done };
  };
  const near = (found, expected) => assert.ok(Math.abs(found / expected - 1) < 0.02, `${found}, not ${expected}`);
  // As in a browser: compiled quickly first, and better while it goes on.
  const warming = await measure((step) => (step === 0 ? 800 : step < 25 ? 60 : step < 53 ? 20 : 10));
  near(warming.each, 0.01);
  assert.ok(warming.clock < 5000, `${warming.clock}`);
  near((await measure((step) => 10 + (step % 3))).each, 0.011);
  const quick = await measure(() => 0.2);
  near(quick.each, 0.0002);
  assert.ok(quick.clock < 2500);
  const aborted = await measure(() => 10, true);
  assert.deepEqual([aborted.error.type, aborted.done], ['aborted', 11]);
  const slow = await measure(() => 3000);
  near(slow.each, 3);
  assert.equal(slow.done, 3);
});

test('the page says what there is, what it takes and where it is', () => {
  const info = { kind: 'pictures', count: 1797, width: 8, height: 8, channels: 1, names: ['0', '1'], counts: [1000, 797] };
  assert.equal(dataSentence(info), '1,797 pictures of 8 × 8 in grey, 2 classes: 0 (1,000), 1 (797).');
  assert.match(
    dataSentence({ ...info, count: 1, names: [], channels: 3 }),
    /^1 picture of 8 × 8 in colour\. With one picture the network can only memorise it\. Add more\.$/,
  );
  assert.equal(speed(0.25), '4.0 s a step');
  assert.equal(speed(12.4), '12 steps a second');
  const measured = { secondsPerStep: 0.5, device: { kind: 'cpu', name: 'CPU' } };
  assert.equal(
    planSentence({ parameters: 191073, memory: 4e7, budget: 4e7 }, 2000, measured),
    '191 thousand weights, about 40 MB of memory. Measured on the CPU: 2.0 steps a second, so 2,000 steps take about 17 min.',
  );
  assert.match(
    planSentence({ parameters: 1, memory: 4e7, budget: 3e7 }, 2000, measured),
    /about 40 MB of memory, where a tab may take 30 MB: batches are taken in parts\. Measured/,
  );
  assert.equal(
    runSentence({ state: 'running', step: 5, steps: 10, rate: 2, left: 2500 }),
    'Step 5 of 10 · 2.0 steps a second · 2.5 s left',
  );
  assert.equal(runSentence({ state: 'paused', step: 5, steps: 10 }), 'Paused at step 5 of 10.');
  assert.equal(runSentence({ state: 'ended', step: 5, steps: 10 }), 'Stopped after step 5 of 10.');
  assert.equal(runSentence({ state: 'ended', step: 10, steps: 10 }), 'Done: 10 steps.');
  const run = { name: 'my digits', step: 5, steps: 10, when: 0, data: info };
  assert.equal(keptSentence(run, 200_000), 'my digits: step 5 of 10, 1,797 pictures of 8 × 8, saved 3 min ago');
  assert.match(keptSentence(run, 3 * 86_400_000), /saved 3 days ago$/);
});

test('the page says what points and bits are, how noisy, how near and how likely', () => {
  assert.equal(dataSentence(POINTS), '1,000 points of the plane.');
  assert.equal(dataSentence(BITS), '1,000 sequences of 20 bits.');
  assert.match(
    keptSentence({ name: 'roll', step: 5, steps: 10, when: 0, data: POINTS }, 1000),
    /^roll: step 5 of 10, 1,000 points of the plane, saved/,
  );
  assert.equal(noiseSentence({ kind: 'points', alpha: 1, sigma: 1 }, 20), 't = 20, 50 % noise');
  assert.equal(noiseSentence({ kind: 'pictures', alpha: Math.sqrt(0.75), sigma: 0.5 }, 20), 't = 20, 25 % noise');
  assert.equal(noiseSentence({ kind: 'bits', alpha: 0.5, sigma: 0.8 }, 999), 't = 999, 25 % of the bits flipped');
  assert.equal(noiseSentence({ kind: 'bits', alpha: 1, sigma: 0 }, null), 'none');
  assert.equal(
    sampledSentence({ kind: 'points', step: 1200, batch: 400, near: 0.0312 }),
    '400 points after 1,200 steps, median distance to the data: 0.031',
  );
  assert.equal(sampledSentence({ kind: 'bits', step: 0, batch: 12, near: 3 }), '12 sequences after 0 steps, 3 of them among the data');
  const roll = boundSentence({ step: 4000, bits: 2.612, error: 0.084 }, TOYS['swiss-roll'].bound);
  assert.match(roll, /after 4,000 steps: K = 2\.61 ± 0\.08 bits\. The 2015 paper has 2\.35, .* It can be 3\.295 at most/);
  assert.match(
    boundSentence({ step: 1, bits: -2.351, error: 0.009 }, TOYS.heartbeat.bound),
    /K = −2\.35 ± 0\.01 bits\. The 2015 paper has −2\.414\. It can be −2\.322 at most/,
  );
  assert.match(boundSentence({ step: 1, bits: 1, error: 0.1 }, TOYS.ring.bound), /bits\.$/);
  for (const { objectives } of Object.values(TOYS))
    assert.ok(
      objectives.every((name) => OBJECTIVES[name]),
      `${objectives}`,
    );
});

test('data of a known distribution are as many as it says, and tell where they are from', () => {
  const asked = [];
  const engine = { Data: { toy: (...given) => asked.push(given) && 'data' } };
  for (const [toy, { name, objectives }] of Object.entries(TOYS)) {
    const { data, skipped, about } = readToy(engine, toy);
    assert.deepEqual([data, skipped, about.toy, about.name, about.licence], ['data', [], toy, name, 'No rights are claimed']);
    assert.match(about.source, toy === 'swiss-roll' || toy === 'heartbeat' ? /Sohl-Dickstein/ : /^Made by this program/);
    // Bits have an objective of their own, and only they.
    assert.equal(objectives.includes('binomial'), toy === 'heartbeat');
    if (toy === 'heartbeat') assert.deepEqual(objectives, ['binomial']);
  }
  assert.deepEqual(
    asked,
    Object.keys(TOYS).map((toy) => [toy, 16384]),
  );
});

test('samples become a table', () => {
  assert.equal(table(Float32Array.of(0.5, -1, 2, 3), { kind: 'points', channels: 2 }), 'x,y\n0.5,-1\n2,3');
  assert.equal(table(Float32Array.of(1, -1, -1), { kind: 'bits', channels: 3 }), 'bit 1,bit 2,bit 3\n1,0,0');
});

test('samples are as near as the median to the nearest of the data, or so many of them', () => {
  const values = Float32Array.of(0, 0, 1, 0, 5, 0);
  assert.equal(nearness({ kind: 'points', channels: 2, values }, Float32Array.of(0, 0.5, 1, 1)), 1);
  assert.equal(nearness({ kind: 'bits', channels: 2, values: Float32Array.of(1, -1, -1, -1, 1, -1) }, Float32Array.of(1, -1, -1, 1)), 2);
});

test('an axis of bits is linear, goes below zero, and is not flattened by a run’s start', () => {
  const { at, ticks: marks } = axis([500, ...Array.from({ length: 99 }, (_, i) => 3 - i * 0.05)], true);
  assert.ok(at(500) > 1 && at(-1.9) > 0 && at(-1.9) < 0.1 && at(2) < 0.9 && at(2) > 0.7, `${at(2)}`);
  assert.deepEqual(marks, [-2, -1, 0, 1, 2, 3]);
  assert.equal(axis([1, 10, 100], false).at(10).toFixed(3), '0.500');
  assert.ok(axis([], true).ticks.length > 0 && axis([1], true).ticks.length > 0);
  assert.deepEqual([0.3, 0.5, 7, 10].map(tick), [0.5, 0.5, 10, 10]);
});

test('the chart’s axis has a few round numbers', () => {
  assert.deepEqual(ticks(0.08, 1.2), [0.1, 0.2, 0.5, 1]);
  assert.ok(ticks(0.0003, 3).length <= 6);
});

test('the noise slider moves evenly in noise, from none to the last timestep', () => {
  // As the swiss roll's bound: half of its steps are below one percent.
  const total = 40;
  const share = (timestep) => 0.97 * (timestep / (total - 1)) ** 7;
  const levels = lookedUp(total).map((timestep) => ({ timestep, share: share(timestep) }));
  assert.equal(levels.length, 40);
  for (let position = 0.2; position < 1; position += 0.1) {
    const found = share(timestepAt(levels, position));
    assert.ok(Math.abs(found - position * 0.97) < 0.1, `${position}: ${found}`);
  }
  assert.equal(timestepAt(levels, 1), 39);
  assert.ok(timestepAt(levels, 0.001) < 20);
  // Between the timesteps that are looked up it goes on.
  const long = lookedUp(1000);
  assert.deepEqual([long.length, long[0], long.at(-1)], [64, 0, 999]);
  const even = long.map((timestep) => ({ timestep, share: timestep / 999 }));
  for (const position of [0.123, 0.5, 0.999]) assert.ok(Math.abs(timestepAt(even, position) - 999 * position) <= 1);
  assert.deepEqual([lookedUp(1), timestepAt([{ timestep: 0, share: 0.5 }], 0.7)], [[0], 0]);
  assert.equal(noiseShare({ kind: 'points', alpha: 1, sigma: 1 }), 0.5);
});

test('a sentence says what to make of a loss, and when to stop', () => {
  for (const objective of [undefined, 'simple', 'bound', 'binomial', 'hybrid', 'edm', { 'min-snr': { gamma: 5 } }]) {
    for (const prediction of [undefined, 'epsilon', 'v_prediction', 'sample']) {
      const said = lossSentence({ objective, scheduler: { prediction_type: prediction } });
      assert.match(said, /Stop when/);
      assert.equal(/^About 1 means/.test(said), [undefined, 'simple'].includes(objective) && prediction !== 'sample');
      assert.equal(/0\.24/.test(said), [undefined, 'simple'].includes(objective) && prediction === 'v_prediction');
      assert.equal(/bits/.test(said), objective === 'bound' || objective === 'binomial');
    }
  }
});

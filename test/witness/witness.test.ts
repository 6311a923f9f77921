/** A witness over real HTTP: what it cosigns, each thing that it refuses, and that it keeps what it has seen first. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { cosign, cosignedAt, formatNote, isSignedBy, parseNote, parseVerifierKey, signingKey, signNote } from '../../src/audit/checkpoint.ts';
import { addCheckpointBytesMax, formatAddCheckpoint, sizeMediaType } from '../../src/audit/witness-request.ts';
import { waitingMax } from '../../src/witness/witness.ts';
import { checkCosignature, originFile, SomeLog, startStagedWitness, submit, temporaryDirectory } from './witness-stage.ts';

const log = new SomeLog();
const text = 'text/plain; charset=UTF-8';

describe('a checkpoint is cosigned', () => {
  test('as the first of its log, and then as long as each continues the one before', async () => {
    const witness = await startStagedWitness();
    let old = 0;
    for (const size of [1, 2, 3, 7, 8, 64, 65, 1000]) {
      const before = Math.floor(Date.now() / 1000);
      const answer = await submit(witness.url, log.request(old, size));
      expect(answer).toMatchObject({ status: 200, type: text });
      const seconds = checkCosignature(answer.body, log.text(size), witness.verifierKey);
      expect(seconds).toBeGreaterThanOrEqual(before);
      expect(seconds).toBeLessThanOrEqual(Date.now() / 1000);
      const note = parseNote(log.note(size) + answer.body);
      expect(cosignedAt(note, parseVerifierKey(witness.verifierKey))).toBe(seconds);
      expect(isSignedBy(note, log.key)).toBe(true);
      old = size;
    }
    expect(witness.warnings).toEqual([]);
  });

  test('again, with a new time, when it is the newest already', async () => {
    const witness = await startStagedWitness();
    for (const old of [0, 5, 5]) expect((await submit(witness.url, log.request(old, 5))).status).toBe(200);
  });

  test('when its tree is empty', async () => {
    const witness = await startStagedWitness();
    expect((await submit(witness.url, log.request(0, 0))).status).toBe(200);
    expect((await submit(witness.url, log.request(0, 3))).status).toBe(200);
  });

  test('with its extension lines, and with signatures of others beside that of the log, which are not kept', async () => {
    const witness = await startStagedWitness();
    const other = signingKey('other.example', Buffer.alloc(32, 1));
    const body = log.text(4, 'more of the log\n');
    const [own, strange] = [log.key, other].map((key) => parseNote(signNote(body, key)).signatures);
    const note = formatNote({ text: body, signatures: [...strange ?? [], ...own ?? [], ...own ?? []] });
    const answer = await submit(witness.url, formatAddCheckpoint({ old: 0, proof: [], note }));
    checkCosignature(answer.body, body, witness.verifierKey);
    const kept = await (await fetch(`${witness.url}/checkpoints/${originFile(log.key.name)}`)).text();
    expect(kept).toBe(signNote(body, log.key) + answer.body);
  });

  test('of each log by itself, and of a log with two keys under either', async () => {
    const second = new SomeLog({ origin: 'second.example', seed: 8 });
    const rotated = new SomeLog({ seed: 9 });
    const witness = await startStagedWitness({ origins: [log, second, rotated] });
    expect((await submit(witness.url, log.request(0, 4))).status).toBe(200);
    expect((await submit(witness.url, second.request(0, 2))).status).toBe(200);
    expect((await submit(witness.url, rotated.request(4, 6))).status).toBe(200);
    expect((await submit(witness.url, log.request(4, 6))).body).toBe('6\n');
  });
});

describe('nothing is cosigned', () => {
  test('when the old size is not the newest: 409 tells which is', async () => {
    const witness = await startStagedWitness();
    const conflict = (size: number) => ({ status: 409, type: sizeMediaType, body: `${size}\n` });
    expect(await submit(witness.url, log.request(2, 5))).toEqual(conflict(0));
    await submit(witness.url, log.request(0, 5));
    for (const [old, size] of [[0, 9], [4, 9], [6, 9], [0, 5], [3, 4]] as const) expect(await submit(witness.url, log.request(old, size))).toEqual(conflict(5));
    expect((await submit(witness.url, log.request(5, 9))).status).toBe(200);
  });

  test('of a second tree of the same size, even once: 409, a warning, and the first stays', async () => {
    const witness = await startStagedWitness();
    const forged = new SomeLog({ forkedAt: 4 });
    await submit(witness.url, log.request(0, 5));
    const kept = readFileSync(join(witness.directory, originFile(log.key.name)), 'utf8');
    expect(await submit(witness.url, forged.request(5, 5))).toEqual({ status: 409, type: sizeMediaType, body: '5\n' });
    expect(witness.warnings).toEqual([expect.stringContaining('relay.example/log has signed two trees of 5 entries')]);
    expect(readFileSync(join(witness.directory, originFile(log.key.name)), 'utf8')).toBe(kept);
    expect((await submit(witness.url, log.request(5, 6))).status).toBe(200);
  });

  test('of an empty tree with the root of another', async () => {
    const witness = await startStagedWitness();
    const note = signNote(log.text(0).replace(/.*\n$/, `${log.root(1).toString('base64')}\n`), log.key);
    expect(await submit(witness.url, formatAddCheckpoint({ old: 0, proof: [], note }))).toMatchObject({ status: 409, body: '0\n' });
  });

  test('of a history that forked before what was seen, whatever the proof: 422', async () => {
    const witness = await startStagedWitness();
    const forged = new SomeLog({ forkedAt: 2 });
    await submit(witness.url, log.request(0, 5));
    const good = log.proof(5, 9);
    const proofs = [forged.proof(5, 9), good, [], forged.proof(4, 9), good.slice(1), [...good, good[0] as Buffer], good.toReversed(), [log.root(5), ...good]];
    for (const proof of proofs) {
      const answer = await submit(witness.url, formatAddCheckpoint({ old: 5, proof, note: forged.note(9) }));
      expect(answer).toMatchObject({ status: 422, type: text });
      expect(answer.body).not.toContain('—');
    }
    expect(witness.warnings).toHaveLength(proofs.length);
    expect(parseNote(readFileSync(join(witness.directory, originFile(log.key.name)), 'utf8')).text).toBe(log.text(5));
    expect((await submit(witness.url, log.request(5, 9))).status).toBe(200);
  });

  test('with a proof where none belongs: 422', async () => {
    const witness = await startStagedWitness();
    expect((await submit(witness.url, formatAddCheckpoint({ old: 0, proof: [log.root(1)], note: log.note(3) }))).status).toBe(422);
    await submit(witness.url, log.request(0, 3));
    expect((await submit(witness.url, formatAddCheckpoint({ old: 3, proof: [log.root(1)], note: log.note(3) }))).status).toBe(422);
  });

  test('without a good signature of the log: 403', async () => {
    const witness = await startStagedWitness();
    const signed = parseNote(log.note(3));
    const flipped = Buffer.from(signed.signatures[0]?.signature ?? '');
    flipped.writeUInt8(flipped.readUInt8(9) ^ 1, 9);
    const bad = [
      new SomeLog({ seed: 1 }).note(3),
      signNote(log.text(3), { ...log.key, name: 'another' }),
      formatNote({ ...signed, text: log.text(4) }),
      formatNote({ ...signed, signatures: signed.signatures.map((one) => ({ ...one, signature: flipped })) }),
      formatNote({ ...signed, signatures: [cosign(signed.text, signingKey(log.key.name, Buffer.alloc(32, 7), 'cosignature/v1'), 5)] }),
    ];
    for (const note of bad) expect(await submit(witness.url, formatAddCheckpoint({ old: 0, proof: [], note }))).toMatchObject({ status: 403, type: text });
    expect((await submit(witness.url, log.request(0, 3))).status).toBe(200);
  });

  test('for a log that it was not told of: 404', async () => {
    const witness = await startStagedWitness();
    expect((await submit(witness.url, new SomeLog({ origin: 'stranger' }).request(0, 3))).status).toBe(404);
  });

  test('on what is malformed: 400', async () => {
    const witness = await startStagedWitness();
    const good = log.request(0, 3);
    const bad = [
      '',
      'old 0',
      good.slice(0, -1),
      good.replace('old 0', 'old 00'),
      good.replace('old 0\n', 'old 0\nAAAA\n'),
      good.replace('\n3\n', '\n03\n'),
      good.replace('\n3\n', '\nthree\n'),
      good.replace('—', '-'),
      good.replaceAll('\n', '\r\n'),
      good.replace('\n\n', '\n'),
      log.request(0, 3).replace('old 0', 'old 4'),
      formatAddCheckpoint({ old: 0, proof: [], note: signNote(log.text(3, 'a\n\nb\n'), log.key) }),
    ];
    for (const body of bad) expect([body, await submit(witness.url, body)]).toEqual([body, expect.objectContaining({ status: 400, type: text })]);
    const latin = Buffer.concat([Buffer.from(good), Buffer.of(0xe9)]);
    expect(await submit(witness.url, new Uint8Array(latin))).toEqual({ status: 400, type: text, body: 'the request body is not UTF-8\n' });
    expect((await submit(witness.url, good)).status).toBe(200);
  });

  test('beyond the limit of a request, and at it is', async () => {
    const witness = await startStagedWitness();
    const sized = (bytes: number) => {
      const base = formatAddCheckpoint({ old: 0, proof: [], note: signNote(log.text(3, 'x\n'), log.key) });
      const extension = `${'x'.repeat(bytes - Buffer.byteLength(base) + 1)}\n`;
      return formatAddCheckpoint({ old: 0, proof: [], note: signNote(log.text(3, extension), log.key) });
    };
    expect(Buffer.byteLength(sized(addCheckpointBytesMax))).toBe(addCheckpointBytesMax);
    expect((await submit(witness.url, sized(addCheckpointBytesMax + 1))).status).toBe(413);
    expect((await submit(witness.url, sized(addCheckpointBytesMax))).status).toBe(200);
  });

  test('for the second of two that diverge at the same time', async () => {
    const witness = await startStagedWitness();
    await submit(witness.url, log.request(0, 4));
    for (let size = 4; size < 40; size += 4) {
      // Both continue what was seen, by different entries.
      const fork = new SomeLog({ forkedAt: size });
      const answers = await Promise.all([fork.request(size, size + 4), log.request(size, size + 4)].map((body) => submit(witness.url, body)));
      expect(answers.map(({ status }) => status).toSorted((one, other) => one - other)).toEqual([200, 409]);
      const isFork = answers[0]?.status === 200;
      const kept = parseNote(readFileSync(join(witness.directory, originFile(log.key.name)), 'utf8'));
      expect(kept.text).toBe((isFork ? fork : log).text(size + 4));
      // The fork has won: its history is the only one from here on.
      if (isFork) return expect((await submit(witness.url, fork.request(size + 4, size + 8))).status).toBe(200);
    }
  });
});

describe('what was seen', () => {
  test('is on disk before the cosignature leaves, and one log does not wait for another', async () => {
    const second = new SomeLog({ origin: 'second.example' });
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    let begun = (): void => undefined;
    const writing = new Promise<void>((resolve) => (begun = resolve));
    const witness = await startStagedWitness({
      origins: [log, second],
      write: async (path, note) => {
        if (note.startsWith(log.key.name)) {
          begun();
          await held;
        }
        await writeFile(path, note);
      },
    });
    let isAnswered = false;
    const slow = submit(witness.url, log.request(0, 3)).finally(() => (isAnswered = true));
    await writing;
    expect((await submit(witness.url, second.request(0, 3))).status).toBe(200);
    expect((await fetch(`${witness.url}/checkpoints/${originFile(log.key.name)}`)).status).toBe(404);
    expect(isAnswered).toBe(false);
    release();
    expect((await slow).status).toBe(200);
  });

  test('is not cosigned when it cannot be kept: 500, and the next one is judged by what the disk has', async () => {
    const failing = { isBefore: false, isAfter: false };
    const witness = await startStagedWitness({
      write: async (path, note) => {
        if (failing.isBefore) throw new Error('no space left on device');
        await writeFile(path, note);
        if (failing.isAfter) throw new Error('input/output error');
      },
    });
    await submit(witness.url, log.request(0, 3));
    failing.isBefore = true;
    const refused = await submit(witness.url, log.request(3, 5));
    expect(refused).toEqual({ status: 500, type: text, body: 'the witness failed on this request; nothing was signed\n' });
    expect(witness.warnings).toEqual(['a request failed: no space left on device']);
    failing.isBefore = false;
    failing.isAfter = true;
    expect((await submit(witness.url, log.request(3, 5))).status).toBe(500);
    failing.isAfter = false;
    // Persisted, but reported as failed: it counts as seen.
    expect(await submit(witness.url, log.request(3, 5))).toMatchObject({ status: 409, body: '5\n' });
    expect((await submit(witness.url, new SomeLog({ forkedAt: 4 }).request(5, 5))).status).toBe(409);
    expect((await submit(witness.url, log.request(5, 5))).status).toBe(200);
  });

  test('is not taken as nothing where its file cannot be read or replaced', async () => {
    const witness = await startStagedWitness();
    const file = join(witness.directory, originFile(log.key.name));
    mkdirSync(file);
    for (const _ of [1, 2]) expect((await submit(witness.url, log.request(0, 3))).status).toBe(500);
    rmdirSync(file);
    rmSync(`${file}.new`);
    mkdirSync(`${file}.new`);
    expect((await submit(witness.url, log.request(0, 3))).status).toBe(500);
    expect(existsSync(file)).toBe(false);
    rmdirSync(`${file}.new`);
    expect((await submit(witness.url, log.request(0, 3))).status).toBe(200);
  });

  test('outlives a restart, with the key', async () => {
    const first = await startStagedWitness();
    const { body } = await submit(first.url, log.request(0, 5));
    await first.stop();
    const { name: _, ...unnamed } = { name: undefined, stateDirectory: first.directory };
    const second = await startStagedWitness(unnamed);
    expect(second.verifierKey).toBe(first.verifierKey);
    expect(await (await fetch(`${second.url}/checkpoints/${originFile(log.key.name)}`)).text()).toBe(log.note(5) + body);
    expect((await submit(second.url, log.request(0, 6))).body).toBe('5\n');
    expect((await submit(second.url, new SomeLog({ forkedAt: 1 }).request(5, 6))).status).toBe(422);
    expect((await submit(second.url, log.request(5, 6))).status).toBe(200);
  });

  test('belongs to its key and its log: another key, a damaged file or one of another log stop the start', async () => {
    const witness = await startStagedWitness();
    await submit(witness.url, log.request(0, 5));
    await witness.stop();
    const file = join(witness.directory, originFile(log.key.name));
    const note = await readFile(file, 'utf8');
    const refused = (why: string) =>
      expect(startStagedWitness({ stateDirectory: witness.directory })).rejects.toMatchObject({ code: 'config-invalid', message: expect.stringContaining(why) });
    for (const bad of ['', note.slice(0, -9), log.note(5), note.replace('\n5\n', '\n4\n')]) {
      writeFileSync(file, bad);
      await refused(file);
    }
    const second = new SomeLog({ origin: 'second.example' });
    writeFileSync(join(witness.directory, originFile(second.key.name)), note);
    writeFileSync(file, note);
    await expect(startStagedWitness({ stateDirectory: witness.directory, origins: [second] })).rejects.toThrow('it is a checkpoint of relay.example/log');
    const other = await startStagedWitness();
    await other.stop();
    writeFileSync(join(witness.directory, 'witness-key'), readFileSync(join(other.directory, 'witness-key')));
    await refused('is not cosigned by the key of witness.example/w1');
  });

  test('is shown to anyone, with the key', async () => {
    const witness = await startStagedWitness();
    const path = `/checkpoints/${originFile(log.key.name)}`;
    const page = await fetch(witness.url);
    expect(page.headers.get('content-type')).toBe(text);
    const lines = (await page.text()).split('\n');
    expect(lines).toContain(witness.verifierKey);
    expect(lines).toContain(`${path} relay.example/log`);
    expect((await fetch(witness.url + path)).status).toBe(404);
    const { body } = await submit(witness.url, log.request(0, 5));
    expect(await (await fetch(witness.url + path)).text()).toBe(log.note(5) + body);
    for (const nothing of ['/checkpoints/', `/checkpoints/${'0'.repeat(64)}`, '/checkpoints/..%2fwitness-key', '/witness-key', '/add-checkpoint']) {
      expect((await fetch(witness.url + nothing)).status).toBe(404);
    }
  });
});

test('a flood of one log waits up to a limit, and is answered 503 beyond it', async () => {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  onTestFinished(() => release());
  const witness = await startStagedWitness({
    write: async (path, note) => {
      await held;
      await writeFile(path, note);
    },
  });
  const statuses: number[] = [];
  const all = Array.from({ length: waitingMax + 6 }, () => submit(witness.url, log.request(0, 3)).then(({ status }) => statuses.push(status)));
  await expect.poll(() => statuses).toEqual(Array.from({ length: 6 }, () => 503));
  release();
  await Promise.all(all);
  expect(statuses.filter((status) => status === 200)).toHaveLength(1);
  expect(statuses.filter((status) => status === 409)).toHaveLength(waitingMax - 1);
});

describe('the key', () => {
  test('is made at the first start, for its owner only, and so is everything else', async () => {
    const witness = await startStagedWitness();
    await submit(witness.url, log.request(0, 5));
    expect((await readdir(witness.directory)).toSorted()).toEqual([originFile(log.key.name), 'lock', 'witness-key'].toSorted());
    for (const file of ['witness-key', originFile(log.key.name)]) expect(statSync(join(witness.directory, file)).mode & 0o777).toBe(0o600);
    expect(statSync(witness.directory).mode & 0o777).toBe(0o700);
    expect(readFileSync(join(witness.directory, 'witness-key'), 'utf8')).toMatch(/^PRIVATE\+KEY\+witness\.example\/w1\+[0-9a-f]{8}\+B[A-Za-z0-9+/]{43}\n$/);
    const another = await startStagedWitness();
    expect(another.verifierKey).not.toBe(witness.verifierKey);
  });

  test.each([0o640, 0o604, 0o660])('is refused when others can read it: mode %o', async (mode) => {
    const witness = await startStagedWitness();
    await witness.stop();
    const file = join(witness.directory, 'witness-key');
    await chmod(file, mode);
    await expect(startStagedWitness({ stateDirectory: witness.directory })).rejects.toMatchObject({ code: 'config-invalid', hint: `chmod 600 ${file}` });
    await chmod(file, 0o600);
    await startStagedWitness({ stateDirectory: witness.directory });
  });

  test('is never replaced: a damaged one, one of a log or one of another name stops the start', async () => {
    const witness = await startStagedWitness();
    await witness.stop();
    const file = join(witness.directory, 'witness-key');
    const secret = await readFile(file, 'utf8');
    await expect(startStagedWitness({ stateDirectory: witness.directory, name: 'other' })).rejects.toThrow('it is the key of witness.example/w1, not of other');
    for (const bad of ['', secret.slice(0, 30), 'PRIVATE+KEY+x+00000000+AAAA']) {
      await writeFile(file, bad);
      await expect(startStagedWitness({ stateDirectory: witness.directory })).rejects.toMatchObject({ code: 'config-invalid', message: `the key ${file} cannot be used: this is not a signing key` });
      expect(await readFile(file, 'utf8')).toBe(bad);
    }
  });

  test.each(['', 'two words', 'a+b', 'x'.repeat(256)])('has a name that notes allow: not %j', async (name) => {
    await expect(startStagedWitness({ name })).rejects.toMatchObject({ code: 'usage' });
  });

  test('is used by one witness at a time', async () => {
    const stateDirectory = join(await temporaryDirectory(), 'state');
    await startStagedWitness({ stateDirectory });
    await expect(startStagedWitness({ stateDirectory })).rejects.toMatchObject({ code: 'config-invalid', message: expect.stringContaining('uses the state directory') });
  });
});

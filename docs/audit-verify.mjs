#!/usr/bin/env node
/**
 * Verifies a record of gate from its files alone. Written from audit-format.md, to which the numbers of sections refer;
 * needs Node 20 or later and nothing else. Exit codes: 0 intact, 1 tampered, 2 incomplete, 3 cannot tell.
 */
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto';
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const kinds = new Set(
  ('session.open connection.open statement hold outcome result cancel masks.detected masks.breach connection.close session.kill session.close ' +
    'request vote request.end grant grant.revoke grant.deny policy relay.start relay.stop login read key.rotate shred.request key.shred legal.hold').split(' '),
);
const [noteMax, tileMax, bundleMax, lineMax, fileMax] = [64 * 1024, 256 * 32, 256 * 65_537, 16 * 1024 * 1024, 1024 ** 3];

// ---- Hashes (5) ----

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
const hex = (bytes) => sha256(bytes).toString('hex');
const leafHash = (entry) => sha256(Buffer.from([0]), entry);
const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right);

/** Roots of the first n leaves for each n that is asked for; `onNode` is told of each complete subtree. */
function rootsOf(leaves, sizes, onNode = () => {}) {
  const edge = [];
  const roots = new Map();
  const root = () => (edge.length === 0 ? sha256() : edge.map(({ hash }) => hash).reduceRight((right, left) => nodeHash(left, right)));
  if (sizes.has(0)) roots.set(0, root());
  leaves.forEach((leaf, index) => {
    let node = { level: 0, hash: leaf };
    while (edge.at(-1)?.level === node.level) {
      node = { level: node.level + 1, hash: nodeHash(edge.pop().hash, node.hash) };
      onNode(node.level, node.hash);
    }
    edge.push(node);
    if (sizes.has(index + 1)) roots.set(index + 1, root());
  });
  return roots;
}

const rootOf = (leaves) => rootsOf(leaves, new Set([leaves.length])).get(leaves.length);

/** RFC 9162, section 2.1.3.2. */
function rootFromProof(leaf, index, size, proof) {
  if (index >= size) return undefined;
  let [position, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return undefined;
    if (position % 2 === 1 || position === last) {
      hash = nodeHash(sibling, hash);
      while (position % 2 === 0 && position !== 0) [position, last] = [position / 2, Math.floor(last / 2)];
    } else hash = nodeHash(hash, sibling);
    [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
  }
  return last === 0 ? hash : undefined;
}

// ---- Notes and keys (6) ----

function base64(text) {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** Type 1 signs notes, type 4 is a witness; undefined for a text that is no key. */
function parseKey(text) {
  const [, name, id, data] = /^([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text) ?? [];
  const bytes = data && base64(data);
  if (!bytes || ![1, 4].includes(bytes[0]) || sha256(`${name}\n`, bytes).toString('hex', 0, 4) !== id) return undefined;
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), bytes.subarray(1)]);
  return { text, name, id, type: bytes[0], publicKey: createPublicKey({ key: spki, format: 'der', type: 'spki' }) };
}

/** A checkpoint with its signatures; undefined for anything else. */
function parseCheckpoint(bytes) {
  const whole = bytes.toString('utf8');
  const at = whole.lastIndexOf('\n\n');
  if (at === -1 || !whole.endsWith('\n') || !Buffer.from(whole).equals(bytes) || /[\u0000-\u0009\u000b-\u001f]/.test(whole)) return undefined;
  const text = whole.slice(0, at + 1);
  const signatures = whole.slice(at + 2, -1).split('\n').map((line) => {
    const [, name, data] = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+=*)$/.exec(line) ?? [];
    const signed = data && base64(data);
    return signed?.length >= 5 ? { name, id: signed.toString('hex', 0, 4), signature: signed.subarray(4) } : undefined;
  });
  const [origin, size, root, ...others] = text.split('\n');
  const hash = root && base64(root);
  const isGood = origin && /^(0|[1-9]\d{0,14})$/.test(size) && hash?.length === 32 && others.pop() === '' && !others.includes('');
  return isGood && signatures.length <= 64 && !signatures.includes(undefined) ? { origin, size: Number(size), root: hash, text, signatures } : undefined;
}

/** good, bad or none. */
function signatureBy(note, key) {
  const own = note.signatures.filter(({ name, id }) => name === key.name && id === key.id);
  const isGood = ({ signature }) => {
    if (key.type === 1) return verifySignature(null, Buffer.from(note.text), key.publicKey, signature);
    if (signature.length !== 72) return false;
    const message = `cosignature/v1\ntime ${signature.readBigUInt64BE(0)}\n${note.text}`;
    return verifySignature(null, Buffer.from(message), key.publicKey, signature.subarray(8));
  };
  return own.length === 0 ? 'none' : own.some(isGood) ? 'good' : 'bad';
}

// ---- Tiles (5) ----

function tilePath(level, index, width) {
  const groups = [String(index % 1000).padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`);
  return `tile/${level}/${groups.join('/')}${width === 256 ? '' : `.p/${width}`}`;
}

function listTiles(record) {
  const tiles = new Map();
  const visit = (path, depth) => {
    for (const { name, isDirectory } of record.list(path)) {
      const child = `${path}/${name}`;
      if (isDirectory && depth < 7) {
        visit(child, depth + 1);
        continue;
      }
      const [, level, groups, width = '256'] = /^tile\/(entries|[0-5])\/((?:x\d{3}\/)*\d{3})(?:\.p\/(\d{1,3}))?$/.exec(child) ?? [];
      const tile = level && { level, index: Number(groups.replaceAll(/[x/]/g, '')), width: Number(width) };
      if (tile && !isDirectory && tile.width > 0 && tilePath(level, tile.index, tile.width) === child) tiles.set(child, tile);
      else record.find('tampered', `${child} is no tile`);
    }
  };
  visit('tile', 0);
  return tiles;
}

/** The items of one level in order, and how many of them each tile has. */
function readLevel(record, tiles, level, nodes) {
  const items = [];
  const known = Math.max(0, ...[...tiles.values()].filter((tile) => tile.level === String(level)).map(({ index }) => index + 1));
  for (let index = 0; index * 256 < nodes && index <= known; index++) {
    const width = Math.min(256, nodes - index * 256);
    const wider = Array.from({ length: 257 - width }, (_, more) => tilePath(level, index, width + more));
    const path = wider.find((one) => tiles.has(one));
    const bytes = path && record.read(path, level === 'entries' ? bundleMax : tileMax);
    if (!bytes) record.find('tampered', `${tilePath(level, index, width)} is missing`);
    const own = bytes ? splitTile(level, bytes) : [];
    if (bytes && (own === undefined || own.length < width || (own.length > width && path === wider[0]))) record.find('tampered', `${path} does not hold ${width} items`);
    // Not by spreading: an array of entries may be long.
    for (const item of (own ?? []).slice(0, path === wider[0] ? Infinity : width)) items.push(item);
  }
  return items;
}

/** Undefined where the lengths do not add up. */
function splitTile(level, bytes) {
  const items = [];
  if (level !== 'entries') {
    if (bytes.length % 32 !== 0) return undefined;
    for (let at = 0; at < bytes.length; at += 32) items.push(bytes.subarray(at, at + 32));
    return items;
  }
  for (let at = 0; at < bytes.length; ) {
    const end = at + 2 <= bytes.length ? at + 2 + bytes.readUInt16BE(at) : Infinity;
    if (end > bytes.length) return undefined;
    items.push(bytes.subarray(at + 2, end));
    at = end;
  }
  return items;
}

/** Step 5: everything under `tile/` against the true leaves. */
function checkTiles(record, tiles, leaves) {
  const levels = [leaves];
  rootsOf(leaves, new Set(), (level, hash) => level % 8 === 0 && (levels[level / 8] ??= []).push(hash));
  levels.forEach((hashes, level) => {
    if (!sameAll(readLevel(record, tiles, level, hashes.length), hashes)) record.find('tampered', `tile/${level} does not hold the hashes that lead to the root`);
  });
  for (const [path, { level, index, width }] of tiles) {
    const expected = (levels[level === 'entries' ? 0 : level] ?? []).slice(index * 256, (index + 1) * 256);
    if (width === expected.length) continue;
    const bytes = record.read(path, bundleMax);
    const items = bytes && splitTile(level, bytes);
    const hashes = level === 'entries' ? items?.map(leafHash) : items;
    const shared = Math.min(width, expected.length);
    if (hashes?.length !== width || !sameAll(hashes.slice(0, shared), expected.slice(0, shared))) record.find('tampered', `${path} is not part of this tree`);
    else if (width > shared) record.find('incomplete', `${path} is not covered by the checkpoint`);
  }
}

const sameAll = (some, others) => some.length === others.length && some.every((one, index) => one.equals(others[index]));

/** The first entry that is not what it should be stands for all. */
function compareLeaves(record, where, expected, found) {
  if (sameAll(expected, found)) return;
  const index = expected.findIndex((leaf, place) => !found[place]?.equals(leaf));
  record.find('tampered', `${where}: from entry ${index === -1 ? expected.length : index} on, entries are changed, missing, added or moved`);
}

// ---- Entries (3) ----

function parseEntry(body) {
  try {
    const entry = JSON.parse(body.toString('utf8'));
    const { v, session, seq, prev, time, event, sealed } = entry;
    const isGood = v === 1 && typeof session === 'string' && Number.isInteger(seq) && typeof prev === 'string' && typeof time === 'string' && typeof event === 'object' && event !== null;
    const isSealedGood = sealed === undefined || (typeof sealed?.sha256 === 'string' && typeof sealed.bytes === 'number' && ['content', 'results'].includes(sealed.key));
    return isGood && isSealedGood ? entry : undefined;
  } catch {
    return undefined;
  }
}

/** Step 6. Answers what later steps ask for. */
function readStory(record, bodies, leaves) {
  const [chains, grants, shredded, rotations, sealed] = [new Map(), new Set(), new Set(), [], []];
  bodies.forEach((body, index) => {
    const entry = parseEntry(body);
    if (!entry || !kinds.has(entry.event.kind)) {
      if (leaves[index] && leafHash(body).equals(leaves[index])) record.find('unknown', `entry ${index} is of a version or kind that is not known`);
      if (!entry) return;
    }
    const { session, seq, prev, event } = entry;
    const chain = chains.get(session) ?? { seq: 0, hash: '', running: new Map(), done: new Set(), isOpen: false, isClosed: false };
    chains.set(session, chain);
    const name = `entry ${index} (${session} #${seq})`;
    if (seq !== chain.seq + 1) record.find('tampered', `${name} follows #${chain.seq}: entries are missing, repeated or moved`);
    else if (prev !== chain.hash) record.find('tampered', `${name} does not carry the hash of the entry before it`);
    if (seq > chain.seq) Object.assign(chain, { seq, hash: hex(body) });
    if (entry.sealed) sealed.push({ index, session, seq, ...entry.sealed, owner: `${event.statement?.session ?? session}/${entry.sealed.key}` });
    if (event.kind === 'session.open') {
      chain.isOpen = true;
      if (!grants.has(event.grant)) record.find('incomplete', `${name}: no entry before it grants ${event.grant}`);
    } else if (event.kind === 'session.close') chain.isClosed = true;
    else if (event.kind === 'statement' && event.effect === 'allow') {
      if (chain.running.has(event.statement) || chain.done.has(event.statement)) record.find('tampered', `${name}: statement ${event.statement} was sent twice`);
      chain.running.set(event.statement, index);
    } else if (event.kind === 'outcome') {
      if (!chain.running.delete(event.statement)) record.find('tampered', `${name} is an outcome without a statement, or a second one`);
      chain.done.add(event.statement);
      if (event.state === 'unknown') record.notes.push(`${name}: nobody knows how statement ${event.statement} ended`);
    } else if (event.kind === 'grant') grants.add(event.grant);
    else if (event.kind === 'key.rotate') rotations.push({ index, from: parseKey(String(event.from)), to: parseKey(String(event.to)) });
    else if (event.kind === 'key.shred') for (const key of Array.isArray(event.classes) ? event.classes : []) shredded.add(`${event.session}/${key}`);
  });
  for (const [session, { running, isOpen, isClosed }] of chains) {
    if (session === 'decisions') continue;
    for (const [statement, index] of running) record.find('incomplete', `statement ${statement} of ${session}, entry ${index}, has no outcome`);
    if (!isOpen) record.find('incomplete', `session ${session} has no session.open`);
    if (!isClosed) record.find('incomplete', `session ${session} has no session.close`);
  }
  return { rotations, sealed, shredded };
}

// ---- Sealed contents (4) and segments (8) ----

function missSealed(record, { shredded }, { owner, index, session, seq }) {
  if (shredded.has(owner)) record.notes.push(`entry ${index} (${session} #${seq}): what it has sealed was shredded`);
  else record.find('incomplete', `what entry ${index} (${session} #${seq}) has sealed is not here`);
}

function checkSealed(record, story) {
  const bySession = Map.groupBy?.(story.sealed, ({ session }) => session) ?? groupBySession(story.sealed);
  for (const { name } of record.list('sealed')) if (!bySession.has(name.replace(/\.ndl$/, '')) || !name.endsWith('.ndl')) record.find('tampered', `sealed/${name} belongs to no session`);
  for (const [session, own] of bySession) {
    const places = new Map(own.map(({ sha256: hash }, place) => [hash, place]));
    const there = new Set();
    let last = -1;
    const lines = (/^[\w-]{1,100}$/.test(session) ? (record.read(`sealed/${session}.ndl`, fileMax) ?? Buffer.alloc(0)) : Buffer.alloc(0)).toString('latin1').split('\n');
    if (lines.at(-1) === '') lines.pop();
    else lines[lines.length - 1] = 'no line feed';
    for (const line of lines) {
      const [, hash, data] = /^\{"sha256":"([0-9a-f]{64})","data":"([A-Za-z0-9+/=]*)"\}$/.exec(line) ?? [];
      const place = places.get(hash);
      const bytes = data === undefined ? undefined : base64(data);
      if (place === undefined || bytes?.length !== own[place].bytes || hex(bytes) !== hash || place <= last) record.find('tampered', `sealed/${session}.ndl: a line is not what an entry has sealed, or not in order`);
      if (place !== undefined) there.add(place);
      last = Math.max(last, place ?? -1);
    }
    own.forEach((one, place) => there.has(place) || missSealed(record, story, one));
  }
}

function groupBySession(list) {
  const groups = new Map();
  for (const one of list) groups.set(one.session, [...(groups.get(one.session) ?? []), one]);
  return groups;
}

/** Lines of a segment: the JSON where line and checksum are whole, and the byte behind the line. */
function* segmentLines(bytes) {
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(0x0a, from);
    const line = bytes.subarray(from, end === -1 ? bytes.length : end);
    from = end === -1 ? bytes.length : end + 1;
    const body = line.subarray(9);
    const isGood = end !== -1 && line.length < lineMax && /^[0-9a-f]{8} $/.test(line.toString('latin1', 0, 9)) && crc32(body) === Number.parseInt(line.toString('latin1', 0, 8), 16);
    yield { body: isGood ? body : undefined, isWhole: end !== -1, to: from };
  }
}

const crcTable = Int32Array.from({ length: 256 }, (_, byte) => Array.from({ length: 8 }).reduce((crc) => (crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1), byte));
const crc32 = (bytes) => (bytes.reduce((crc, byte) => (crc >>> 8) ^ crcTable[(crc ^ byte) & 0xff], -1) ^ -1) >>> 0;

/** Step 7: the segments that count, oldest first. */
function linkSegments(record, names) {
  const chain = [];
  for (const name of names.toSorted((one, other) => other.length - one.length || (one < other ? 1 : -1))) {
    const bytes = record.read(name, fileMax) ?? Buffer.alloc(0);
    const [first] = segmentLines(bytes);
    if (!first?.isWhole) {
      if (chain.length === 0) record.find('incomplete', `${name} was just being made`);
      continue;
    }
    const header = first.body && parseJson(first.body);
    const number = Number(name.slice(4, -4));
    if (header && header.v !== 1) record.find('unknown', `${name} is of a version that is not known`);
    else if (header?.kind !== 'segment' || header.number !== number || (header.previous?.number ?? 0) >= number) record.find('tampered', `${name} has no good header`);
    else if (chain.length === 0 || chain[0].header.previous?.number === number) chain.unshift({ name, bytes, header, end: chain[0]?.header.previous });
  }
  if (chain[0]?.header.previous) record.find('tampered', `the segment before ${chain[0].name} is missing`);
  return chain;
}

function parseJson(body) {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

function readSegments(record, story, names, size) {
  const hashes = [];
  for (const { name, bytes, header, end } of linkSegments(record, names)) {
    if (header.firstLeaf !== hashes.length) record.find('tampered', `${name} does not begin with entry ${hashes.length}`);
    let [sealed, isTorn, last] = [undefined, false, undefined];
    [...segmentLines(bytes.subarray(0, end?.bytes))].forEach(({ body, to }, line) => {
      if (!body) {
        if (end) record.find('tampered', `${name}, line ${line + 1}, is damaged`);
        isTorn = true;
        return;
      }
      if (isTorn && !end) record.find('tampered', `${name}: a damaged line is followed by others`);
      isTorn = false;
      if (line > 0 && body.toString('latin1', 0, 22) === '{"v":1,"kind":"sealed"') {
        if (sealed) record.find('tampered', `${name}, line ${line}: no entry has sealed this`);
        sealed = parseJson(body) ?? {};
        return;
      }
      last = { to, hash: hex(body) };
      if (line === 0) return;
      const entry = parseEntry(body);
      const content = typeof sealed?.data === 'string' ? base64(sealed.data) : undefined;
      if (sealed && !(content && entry?.sealed && hex(content) === entry.sealed.sha256 && content.length === entry.sealed.bytes && sealed.session === entry.session)) {
        record.find('tampered', `${name}, line ${line}, is not what entry ${hashes.length} has sealed`);
      }
      if (!entry && hashes.length >= size) record.find('tampered', `${name}, line ${line + 1}, is no entry`);
      if (!sealed && entry?.sealed) missSealed(record, story, { ...entry.sealed, owner: `${entry.event.statement?.session ?? entry.session}/${entry.sealed.key}`, index: hashes.length, session: entry.session, seq: entry.seq });
      sealed = undefined;
      hashes.push(leafHash(body));
    });
    if (end && (last?.to !== end.bytes || last.hash !== end.hash)) record.find('tampered', `${name} does not end as the next segment says`);
    if (!end && (isTorn || sealed) && hashes.length >= size) record.find('incomplete', `${name} ends in the middle of a write`);
  }
  if (hashes.length > size) record.find('incomplete', `${hashes.length - size} entries are not covered by the checkpoint`);
  return hashes.slice(0, size);
}

// ---- Trust (7) ----

/** Step 9. Answers the keys that are trusted in the end. */
function checkKeys(record, { checkpoint, anchors, published, announced, notes, checkRoot }) {
  const trusted = new Map(anchors.map((key) => [key.text, key]));
  const isTie = ({ index, from, to }, { note, size }) => size > index && signatureBy(note, from) === 'good' && signatureBy(note, to) === 'good';
  const readable = announced.filter(({ from, to }) => from && to);
  if (readable.length < announced.length) record.find('unknown', 'a key.rotate entry holds a key that cannot be read');
  const ties = readable.filter((rotation) => [...notes, { note: checkpoint, size: checkpoint.size }].some((one) => isTie(rotation, one)));
  for (const _ of ties) for (const { from, to } of ties) if (trusted.has(from.text) || trusted.has(to.text)) trusted.set(from.text, from).set(to.text, to);
  for (const one of notes) {
    if (readable.some((rotation) => isTie(rotation, one))) checkRoot(one.note, one.path);
    else record.find('tampered', `${one.path} is not signed by both keys of a rotation`);
  }
  for (const rotation of readable) {
    const isPending = rotation === readable.at(-1) && signatureBy(checkpoint, rotation.to) === 'none';
    if (!ties.includes(rotation)) record.find(isPending ? 'incomplete' : 'tampered', `no checkpoint proves the rotation of entry ${rotation.index}`);
  }
  if (ties.length > 0 && signatureBy(checkpoint, ties.at(-1).to) === 'none') record.find('tampered', 'the checkpoint is not signed with the newest key');
  if (trusted.size > 0) checkSigned(record, checkpoint, 'checkpoint', trusted, 'tampered');
  published.forEach((key, place) => {
    if (!trusted.has(key.text) || (place === 0 && signatureBy(checkpoint, key) !== 'good')) record.find('tampered', `nothing ties ${key.name}+${key.id} of log-key.pub to the checkpoint`);
  });
  return trusted;
}

function checkSigned(record, note, name, trusted, none) {
  const states = [...trusted.values()].map((key) => signatureBy(note, key));
  if (states.includes('bad')) record.find('tampered', `${name} has a wrong signature`);
  else if (!states.includes('good')) record.find(none, `${name} is signed by no trusted key`);
  return states.includes('good') && !states.includes('bad');
}

function parseReceipt(bytes) {
  const receipt = Buffer.from(bytes.toString('utf8')).equals(bytes) ? parseJson(bytes) : undefined;
  const { v, session, index, entry, checkpoint, proof, key } = receipt ?? {};
  if (v !== 1 || Object.keys(receipt).length !== 7 || typeof session !== 'string' || !(Number.isSafeInteger(index) && index >= 0) || !/^[0-9a-f]{64}$/.test(entry)) return undefined;
  const [signer, note] = [parseKey(String(key)), parseCheckpoint(Buffer.from(String(checkpoint)))];
  const hashes = Array.isArray(proof) && proof.length <= 64 ? proof.map((one) => base64(String(one))) : [undefined];
  return signer && note && hashes.every((hash) => hash?.length === 32) ? { session, index, entry, note, hashes, signer } : undefined;
}

// ---- The whole (9) ----

class RecordFiles {
  findings = [];
  notes = [];
  constructor(files) {
    this.files = files;
  }
  find(severity, message) {
    this.findings.push({ severity, message });
  }
  /** Undefined where there is none, and where a finding says why it is not usable. */
  read(path, max) {
    try {
      const bytes = this.files.read(path, max + 1);
      if (!bytes || bytes.length <= max) return bytes;
      this.find('tampered', `${path} is too large`);
    } catch (error) {
      this.find('unknown', `${path} cannot be read: ${error.message}`);
    }
    return undefined;
  }
  list(path) {
    return this.files.list(path).filter(({ name, isDirectory }) => isDirectory || !name.endsWith('.new'));
  }
  end(facts = {}) {
    const has = (severity) => this.findings.some((finding) => finding.severity === severity);
    const exitCode = has('tampered') ? 1 : has('unknown') ? 3 : has('incomplete') ? 2 : 0;
    return { exitCode, result: ['intact', 'TAMPERED', 'incomplete', 'cannot tell'][exitCode], findings: this.findings, notes: this.notes, ...facts };
  }
}

/** `files`: read(path, bytesMax) answers a Buffer or undefined, list(path) answers [{ name, isDirectory }]. */
export function verifyRecord(files, { keys = [], keyBeside, checkpoints = [], receipts = [], witnesses = [], witnessesMin } = {}) {
  const record = new RecordFiles(files);
  const bytes = record.read('checkpoint', noteMax);
  const checkpoint = bytes && parseCheckpoint(bytes);
  if (!bytes && record.findings.length === 0) record.find('unknown', 'there is no checkpoint');
  if (bytes && !checkpoint) record.find('tampered', 'the checkpoint is not a signed checkpoint');
  if (checkpoint?.size > 2 ** 31) record.find('unknown', 'the checkpoint speaks of more entries than can be counted here');
  if (!checkpoint || checkpoint.size > 2 ** 31) return record.end();
  const usable = (texts, type) => texts.map((text) => parseKey(text.trim())).filter((key) => key?.type === type || record.find('unknown', 'a key cannot be used'));
  const publicFile = record.read('log-key.pub', noteMax);
  const lines = publicFile?.toString('utf8').split('\n') ?? [];
  const published = lines.slice(0, -1).map(parseKey).filter((key) => key?.type === 1);
  if (publicFile && (published.length === 0 || published.length !== lines.length - 1 || lines.at(-1) !== '')) record.find('tampered', 'log-key.pub does not hold one key in each line');
  const anchors = keys.length > 0 ? usable(keys, 1) : published[0] ? [published[0]] : keyBeside ? usable([keyBeside], 1) : [];
  if (keys.length === 0 && anchors.length === 0) record.find('unknown', 'there is no key to check signatures with');

  const tiles = listTiles(record);
  const tileLeaves = readLevel(record, tiles, 0, checkpoint.size);
  const bodies = readLevel(record, tiles, 'entries', checkpoint.size);
  const entryLeaves = bodies.map(leafHash);
  const truth = [tileLeaves, entryLeaves].find((leaves) => leaves.length === checkpoint.size && rootOf(leaves).equals(checkpoint.root));
  if (!truth) record.find('tampered', 'the tree does not lead to the root of the checkpoint');
  else checkTiles(record, tiles, truth);
  compareLeaves(record, 'tile/entries', truth ?? tileLeaves, entryLeaves);
  const story = readStory(record, bodies, tileLeaves);
  const segments = record.list('').filter(({ name, isDirectory }) => !isDirectory && /^log-\d{6,15}\.ndl$/.test(name));
  if (segments.length > 0) compareLeaves(record, 'segments', truth ?? tileLeaves, readSegments(record, story, segments.map(({ name }) => name), checkpoint.size));
  else if (publicFile) checkSealed(record, story);
  else record.find('tampered', 'there are neither segments nor log-key.pub');

  const kept = (list, parse) => list.map(({ name, bytes: own }) => ({ name, value: own && parse(own) })).filter(({ name, value }) => value || record.find('unknown', `${name} cannot be read`));
  const others = kept(checkpoints, parseCheckpoint);
  const bundled = record.list('receipts').map(({ name }) => ({ name: `receipts/${name}`, bytes: record.read(`receipts/${name}`, 4 * noteMax) }));
  const shown = kept([...receipts, ...bundled], parseReceipt);
  const notes = record.list('rotations').map(({ name }) => ({ path: `rotations/${name}`, size: Number(name), note: parseCheckpoint(record.read(`rotations/${name}`, noteMax) ?? Buffer.alloc(0)) }));
  const rotated = notes.filter(({ path, note }) => (note && path === `rotations/${note.size}`) || record.find('tampered', `${path} is not a checkpoint of that size`));
  const sizes = [...others.map(({ value }) => value), ...shown.map(({ value }) => value.note), ...rotated.map(({ note }) => note)].map(({ size }) => size);
  const roots = truth && rootsOf(truth, new Set(sizes));
  const checkRoot = (note, name) => {
    if (note.origin !== checkpoint.origin) record.find('tampered', `${name} is of another log`);
    else if (note.size > checkpoint.size) record.find('tampered', `${name} has seen ${note.size} entries, and the log has ${checkpoint.size}: it was cut`);
    else if (roots && !roots.get(note.size).equals(note.root)) record.find('tampered', `${name} is signed for other first ${note.size} entries: there were two logs`);
  };
  const trusted = checkKeys(record, { checkpoint, anchors, published, announced: story.rotations, notes: rotated, checkRoot });
  const checkKept = (note, name) => {
    if (note.origin !== checkpoint.origin) record.find('unknown', `${name} is of another log`);
    else if (trusted.size === 0 || checkSigned(record, note, name, trusted, 'unknown')) checkRoot(note, name);
  };
  for (const { name, value } of others) checkKept(value, name);
  for (const { name, value: { session, index, entry, note, hashes, signer } } of shown) {
    if (trusted.size > 0 && !trusted.has(signer.text)) record.find('unknown', `${name} names a key that is not trusted`);
    else if (signatureBy(note, signer) !== 'good') record.find('tampered', `${name} is not signed with the key that it names`);
    checkKept(note, name);
    const body = bodies[index];
    if (!body || hex(body) !== entry || parseEntry(body)?.session !== session) record.find('tampered', `entry ${index} is not the one of ${session} that ${name} is about, or was cut off`);
    else if (!rootFromProof(entryLeaves[index], index, note.size, hashes)?.equals(note.root)) record.find('tampered', `${name}: its proof does not lead to its checkpoint`);
  }
  const cosigned = usable(witnesses, 4).map((key) => signatureBy(checkpoint, key));
  const count = cosigned.filter((state) => state === 'good').length;
  if (cosigned.includes('bad')) record.find('tampered', 'the cosignature of a witness is wrong');
  if (count < (witnessesMin ?? witnesses.length)) record.find('incomplete', `${count} witnesses have cosigned the checkpoint`);
  return record.end({ origin: checkpoint.origin, size: checkpoint.size, root: checkpoint.root.toString('base64'), witnesses: count });
}

// ---- The command line ----

function filesOf(directory) {
  const orAbsent = (absent, work) => {
    try {
      return work();
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(error.code)) return absent;
      throw error;
    }
  };
  const readUpTo = (path, max) => {
    const descriptor = openSync(path, 'r');
    try {
      const bytes = Buffer.alloc(Math.min(max, fstatSync(descriptor).size));
      return bytes.subarray(0, readSync(descriptor, bytes, 0, bytes.length, 0));
    } finally {
      closeSync(descriptor);
    }
  };
  return {
    read: (path, max) => orAbsent(undefined, () => readUpTo(join(directory, path), max)),
    list: (path) => orAbsent([], () => readdirSync(join(directory, path), { withFileTypes: true }).map((one) => ({ name: one.name, isDirectory: one.isDirectory() }))),
  };
}

function main() {
  const many = { type: 'string', multiple: true, default: [] };
  const options = { key: many, checkpoint: many, receipt: many, witness: many, 'witnesses-min': { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (positionals.length !== 1) throw new Error('usage: audit-verify.mjs [--key K] [--checkpoint F] [--receipt F] [--witness K] [--witnesses-min N] DIRECTORY');
  const [directory] = positionals;
  const names = readdirSync(directory);
  const isState = names.includes('log') && !names.includes('checkpoint') && statSync(join(directory, 'log')).isDirectory();
  const texts = (list) => list.flatMap((text) => (text.startsWith('@') ? readFileSync(text.slice(1), 'utf8').split('\n').filter((line) => line.trim() !== '') : [text]));
  const kept = (list) => list.map((name) => ({ name, bytes: readFileSync(name) }));
  const { exitCode, result, findings, notes, ...facts } = verifyRecord(filesOf(isState ? join(directory, 'log') : directory), {
    keys: texts(values.key),
    checkpoints: kept(values.checkpoint),
    receipts: kept(values.receipt),
    witnesses: texts(values.witness),
    ...(values['witnesses-min'] !== undefined && { witnessesMin: Number(values['witnesses-min']) }),
  });
  const shown = [...Object.entries(facts).map(([name, value]) => `${name}: ${value}`), ...notes.map((note) => `note: ${note}`), ...findings.map(({ severity, message }) => `${severity}: ${message}`)];
  process.stdout.write([...shown, result].map((line) => `${line.replaceAll(/[\p{Cc}\p{Cf}]/gu, '\u{fffd}')}\n`).join(''));
  process.exitCode = exitCode;
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    main();
  } catch (error) {
    process.stderr.write(`audit-verify: ${error.message}\n`);
    process.exitCode = 3;
  }
}

#!/usr/bin/env node
/**
 * Verifies a record of gate from its files alone. Written from audit-format.md, to which the numbers in brackets refer;
 * needs Node 20 or later and nothing else. Exit codes: 0 intact, 1 tampered, 2 incomplete, 3 cannot tell.
 */
import { isUtf8 } from 'node:buffer';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const kinds = new Set(
  ('session.open connection.open statement hold outcome result cancel masks.detected masks.breach connection.close session.kill session.close ' +
    'request vote request.end grant grant.revoke grant.deny policy relay.start relay.stop login login.deny read key.rotate shred.request key.shred legal.hold').split(' '),
);
const states = ['ok', 'error', 'suspended', 'skipped', 'unknown'];
const [noteMax, tileMax, bundleMax, lineMax, fileMax] = [64 * 1024, 256 * 32, 256 * 65_537, 16 * 1024 * 1024, 256 * 1024 * 1024];

// Hashes (5)

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();
const hex = (bytes) => sha256(bytes).toString('hex');
const leafHash = (entry) => sha256(Buffer.from([0]), entry);
const nodeHash = (left, right) => sha256(Buffer.from([1]), left, right);
const sameAll = (some, others) => some.length === others.length && some.every((one, index) => one.equals(others[index]));

/** The roots of the first n leaves, for each n that is asked for; `onNode` is told of each complete subtree. */
function rootsOf(leaves, sizes, onNode = () => {}) {
  const [edge, roots] = [[], new Map([[0, sha256()]])];
  leaves.forEach((leaf, index) => {
    let node = { level: 0, hash: leaf };
    while (edge.at(-1)?.level === node.level) {
      node = { level: node.level + 1, hash: nodeHash(edge.pop().hash, node.hash) };
      onNode(node.level, node.hash);
    }
    edge.push(node);
    if (sizes.includes(index + 1)) roots.set(index + 1, edge.map(({ hash }) => hash).reduceRight((right, left) => nodeHash(left, right)));
  });
  return roots;
}

/** The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2). */
function rootFromProof(leaf, index, size, proof) {
  let [position, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last <= 0) return undefined;
    if (position % 2 === 1 || position === last) {
      hash = nodeHash(sibling, hash);
      while (position % 2 === 0 && position !== 0) [position, last] = [position / 2, Math.floor(last / 2)];
    } else hash = nodeHash(hash, sibling);
    [position, last] = [Math.floor(position / 2), Math.floor(last / 2)];
  }
  return last === 0 && index < size ? hash : undefined;
}

// Notes and keys (6)

/** Undefined for another spelling of the same bytes. */
function base64(text) {
  const bytes = Buffer.from(String(text), 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** Type 1 signs notes, type 4 is a witness; undefined for a text that is no key. */
function parseKey(text) {
  const [, name, id, data] = /^([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text) ?? [];
  const bytes = base64(data);
  const isKey = [1, 4].includes(bytes?.[0]) && sha256(`${name}\n`, bytes).toString('hex', 0, 4) === id;
  return isKey ? { text, name, id, type: bytes[0], bytes: bytes.subarray(1) } : undefined;
}

/** A checkpoint with its signatures; undefined for anything else. */
function parseCheckpoint(bytes) {
  const whole = bytes.toString('utf8');
  const at = whole.lastIndexOf('\n\n');
  if (at === -1 || !whole.endsWith('\n') || !Buffer.from(whole).equals(bytes) || /[\u0000-\u0009\u000b-\u001f]/.test(whole)) return undefined;
  const text = whole.slice(0, at + 1);
  const signatures = whole.slice(at + 2, -1).split('\n').map((line) => {
    const [, name, data] = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+=*)$/.exec(line) ?? [];
    const signed = base64(data);
    return signed?.length >= 5 && { name, id: signed.toString('hex', 0, 4), signature: signed.subarray(4) };
  });
  const [origin, size, root, ...others] = text.split('\n');
  const isGood = origin && /^(0|[1-9]\d{0,14})$/.test(size) && base64(root)?.length === 32 && others.pop() === '' && !others.includes('');
  if (!isGood || signatures.length > 64 || signatures.some((one) => !one)) return undefined;
  return { origin, size: Number(size), root: base64(root), text, signatures, states: new Map() };
}

/** good, bad or none. Asked for often, so each answer is kept. */
function signatureBy(note, key) {
  if (!note.states.has(key.text)) note.states.set(key.text, checkSignature(note, key));
  return note.states.get(key.text);
}

const publicKeys = new Map();
function publicKeyOf(bytes) {
  if (!publicKeys.has(bytes)) publicKeys.set(bytes, createPublicKey({ key: Buffer.from(`302a300506032b6570032100${bytes}`, 'hex'), format: 'der', type: 'spki' }));
  return publicKeys.get(bytes);
}

function checkSignature({ text, signatures }, { name, id, type, bytes }) {
  const own = signatures.filter((one) => one.name === name && one.id === id);
  if (own.length === 0) return 'none';
  const publicKey = publicKeyOf(bytes.toString('hex'));
  const isGood = ({ signature }) => {
    if (type === 1) return verify(null, Buffer.from(text), publicKey, signature);
    const seconds = signature.length === 72 ? signature.readBigUInt64BE(0) : undefined;
    return seconds !== undefined && verify(null, Buffer.from(`cosignature/v1\ntime ${seconds}\n${text}`), publicKey, signature.subarray(8));
  };
  return own.some(isGood) ? 'good' : 'bad';
}

// Tiles (5)

function tilePath(level, index, width) {
  const groups = [String(index % 1000).padStart(3, '0')];
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) groups.unshift(`x${String(rest % 1000).padStart(3, '0')}`);
  return `tile/${level}/${groups.join('/')}${width === 256 ? '' : `.p/${width}`}`;
}

function listTiles(record, folder = 'tile', tiles = new Map(), depth = 0) {
  for (const { name, isDirectory } of record.list(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory && depth < 7) {
      listTiles(record, path, tiles, depth + 1);
      continue;
    }
    const [, level, groups, width = '256'] = /^tile\/(entries|[0-5])\/((?:x\d{3}\/){0,4}\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path) ?? [];
    const tile = level && { level, index: Number(groups.replaceAll(/[x/]/g, '')), width: Number(width) };
    if (tile && !isDirectory && tile.width > 0 && tilePath(level, tile.index, tile.width) === path) tiles.set(path, tile);
    else record.tampered(`${path} is no tile`);
  }
  return tiles;
}

/** The items of one level in order. A partial tile that is missing may have been replaced by a wider one. */
function readLevel(record, tiles, level, nodes) {
  const items = [];
  let known = 0;
  for (const tile of tiles.values()) if (tile.level === String(level)) known = Math.max(known, tile.index + 1);
  for (let index = 0; index * 256 < nodes && index <= known; index++) {
    const width = Math.min(256, nodes - index * 256);
    const exact = tilePath(level, index, width);
    const path = Array.from({ length: 257 - width }, (_, more) => tilePath(level, index, width + more)).find((one) => tiles.has(one));
    const bytes = path && record.read(path, level === 'entries' ? bundleMax : tileMax);
    if (!bytes) record.tampered(`${exact} is missing`);
    const { own, isWhole } = splitTile(level, bytes ?? Buffer.alloc(0));
    if (bytes && (!isWhole || own.length < width || (own.length > width && path === exact))) record.tampered(`${path} does not hold ${width} items`);
    for (const item of path === exact ? own : own.slice(0, width)) items.push(item);
  }
  return items;
}

function splitTile(level, bytes) {
  const own = [];
  for (let at = 0; at < bytes.length; ) {
    const head = level === 'entries' ? 2 : 0;
    const length = level !== 'entries' ? 32 : at + 2 <= bytes.length ? bytes.readUInt16BE(at) : Infinity;
    if (at + head + length > bytes.length) return { own, isWhole: false };
    own.push(bytes.subarray(at + head, at + head + length));
    at += head + length;
  }
  return { own, isWhole: true };
}

/** Step 5: everything under `tile/` against the true leaves. */
function checkTiles(record, tiles, leaves) {
  const levels = [leaves];
  rootsOf(leaves, [], (level, hash) => level % 8 === 0 && (levels[level / 8] ??= []).push(hash));
  levels.forEach((hashes, level) => {
    if (!sameAll(readLevel(record, tiles, level, hashes.length), hashes)) record.tampered(`tile/${level} does not hold the hashes that lead to the root`);
  });
  for (const [path, { level, index, width }] of tiles) {
    const expected = (levels[level === 'entries' ? 0 : level] ?? []).slice(index * 256, (index + 1) * 256);
    const bytes = width === expected.length ? undefined : record.read(path, bundleMax);
    if (!bytes) continue;
    const { own, isWhole } = splitTile(level, bytes);
    const hashes = level === 'entries' ? own.map(leafHash) : own;
    const shared = Math.min(width, expected.length);
    if (!isWhole || own.length !== width || !sameAll(hashes.slice(0, shared), expected.slice(0, shared))) record.tampered(`${path} is not part of this tree`);
    else if (width > shared) record.incomplete(`${path} is not covered by the checkpoint`);
  }
}

/** The first entry that is not what it should be stands for all. */
function compareLeaves(record, where, expected, found) {
  if (sameAll(expected, found)) return;
  const index = expected.findIndex((leaf, place) => !found[place]?.equals(leaf));
  record.tampered(`${where}: from entry ${index === -1 ? expected.length : index} on, entries are changed, missing, added or moved`);
}

// Entries (3)

function parseJson(bytes) {
  try {
    return isUtf8(bytes) ? (JSON.parse(bytes.toString('utf8')) ?? undefined) : undefined;
  } catch {
    return undefined;
  }
}

function parseEntry(body) {
  const entry = parseJson(body);
  const { v, session, seq, prev, time, event, sealed } = entry ?? {};
  const isEntry = v === 1 && [session, prev, time].every((one) => typeof one === 'string') && Number.isFinite(seq) && typeof event === 'object' && event !== null && !Array.isArray(event);
  const isSealedGood = sealed === undefined || (typeof sealed?.sha256 === 'string' && Number.isFinite(sealed.bytes) && ['content', 'results'].includes(sealed.key));
  return isEntry && isSealedGood ? { ...entry, owner: `${event.statement?.session ?? session}/${sealed?.key}` } : undefined;
}

/** Whether an event is of a known kind, with the fields that its story needs. */
function isKnown({ kind, connection, statement, effect, state, grant, from, to, session, classes }) {
  const isNumbered = [connection, statement].every((number) => typeof number === 'number');
  if (kind === 'statement') return isNumbered && ['allow', 'deny'].includes(effect);
  if (kind === 'outcome') return isNumbered && states.includes(state);
  if (kind === 'session.open' || kind === 'grant') return typeof grant === 'string';
  if (kind === 'key.rotate') return typeof from === 'string' && typeof to === 'string';
  if (kind === 'key.shred') return typeof session === 'string' && Array.isArray(classes);
  return kinds.has(kind);
}

/** Step 6: the story that entries tell. */
class Story {
  constructor(record) {
    Object.assign(this, { record, chains: new Map(), grants: new Set(), shredded: new Set(), rotations: [], sealed: [], unread: 0 });
  }

  /** The chain of an entry, after a check of its place there. */
  follow(body, index, { session, seq, prev }) {
    const chain = this.chains.get(session) ?? { seq: 0, hash: '', running: new Set(), done: new Set(), opens: 0, closes: 0, last: 0, isUnsure: false };
    this.chains.set(session, chain);
    const name = `entry ${index} (${session} #${seq})`;
    const gap = seq - chain.seq - 1;
    if (gap > 0 && gap <= this.unread) this.record.unknown(`${name} follows #${chain.seq}: what is between may be what could not be read`);
    else if (gap !== 0) this.record.tampered(`${name} follows #${chain.seq}: entries are missing, repeated or moved`);
    else if (prev !== chain.hash) this.record.tampered(`${name} does not carry the hash of the entry before it`);
    if (seq > chain.seq) Object.assign(chain, { seq, hash: hex(body) });
    return chain;
  }

  tell(body, index, isAuthentic) {
    const { record } = this;
    const entry = parseEntry(body);
    const isUnknown = entry ? !isKnown(entry.event) : isAuthentic;
    if (isUnknown) record.unknown(`entry ${index} is of a version or kind that is not known`);
    if (isUnknown && !entry) this.unread++;
    if (!entry) return;
    const { session, seq, event, sealed, owner } = entry;
    const chain = this.follow(body, index, entry);
    const name = `entry ${index} (${session} #${seq})`;
    if (sealed) this.sealed.push({ name, session, owner, ...sealed });
    if (isUnknown) chain.isUnsure = true;
    else if (event.kind === 'session.open') {
      if (!this.grants.has(event.grant)) record.incomplete(`${name}: no entry before it grants ${event.grant}`);
      if (++chain.opens > 1) record.tampered(`${name} opens the session a second time`);
    } else if (event.kind === 'session.close' && ++chain.closes > 1) record.tampered(`${name} closes the session a second time`);
    else if (event.kind === 'statement' && event.effect === 'allow') {
      if (chain.running.has(event.statement) || chain.done.has(event.statement) || (chain.closes > 0 && event.statement <= chain.last)) record.tampered(`${name}: statement ${event.statement} was sent twice`);
      chain.running.add(event.statement);
      chain.last = Math.max(chain.last, event.statement);
    } else if (event.kind === 'outcome') {
      const isFirst = chain.running.delete(event.statement);
      const isUnsure = (chain.isUnsure || this.unread > 0) && !chain.done.has(event.statement);
      if (!isFirst) record[isUnsure ? 'unknown' : 'tampered'](`${name} is an outcome without a statement, or a second one`);
      chain.done.add(event.statement);
      if (event.state === 'unknown') record.notes.push(`${name}: nobody knows how statement ${event.statement} ended`);
    } else if (event.kind === 'grant') this.grants.add(event.grant);
    else if (event.kind === 'key.rotate') this.rotations.push({ index, from: parseKey(event.from), to: parseKey(event.to) });
    else if (event.kind === 'key.shred') for (const key of event.classes) this.shredded.add(`${event.session}/${key}`);
  }

  end() {
    for (const [session, { running, opens, closes }] of this.chains) {
      if (session === 'decisions') continue;
      for (const statement of running) this.record.incomplete(`statement ${statement} of ${session} has no outcome`);
      if (opens === 0) this.record.incomplete(`session ${session} has no session.open`);
      if (closes === 0) this.record.incomplete(`session ${session} has no session.close`);
    }
  }

  missSealed({ owner, name }) {
    if (this.shredded.has(owner)) this.record.notes.push(`${name}: what it has sealed was shredded`);
    else this.record.incomplete(`what ${name} has sealed is not here`);
  }
}

// Sealed contents (4) and segments (8)

function checkSealed(record, story) {
  const sessions = new Map();
  // Entries that cannot be read may have sealed what no other one has.
  const unclaimed = story.unread > 0 ? 'unknown' : 'tampered';
  for (const one of story.sealed) if (!sessions.get(one.session)?.push(one)) sessions.set(one.session, [one]);
  for (const { name } of record.list('sealed')) if (!name.endsWith('.ndl') || !sessions.has(name.slice(0, -4))) record[unclaimed](`sealed/${name} belongs to no session`);
  for (const [session, own] of sessions) {
    const file = /^[\w-]{1,100}$/.test(session) ? record.read(`sealed/${session}.ndl`, fileMax) : undefined;
    const places = new Map(own.map((one, place) => [one.sha256, place]));
    const there = new Set();
    let last = -1;
    for (const { line, isWhole } of linesOf(file ?? Buffer.alloc(0))) {
      const [, hash, data] = (isWhole && line.length < lineMax && /^\{"sha256":"([0-9a-f]{64})","data":"([A-Za-z0-9+/=]*)"\}$/.exec(line.toString('latin1'))) || [];
      const [place, bytes] = [places.get(hash) ?? -1, base64(data)];
      if (place === -1 && bytes && hex(bytes) === hash) record[unclaimed](`sealed/${session}.ndl: no entry has sealed what a line holds`);
      else if (place <= last || bytes?.length !== own[place].bytes || hex(bytes) !== hash) record.tampered(`sealed/${session}.ndl: a line is not what an entry has sealed, or not in order`);
      there.add(place);
      last = Math.max(last, place);
    }
    own.forEach((one, place) => there.has(place) || story.missSealed(one));
  }
}

const crcTable = Int32Array.from({ length: 256 }, (_, byte) => Array.from({ length: 8 }).reduce((crc) => (crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1), byte));
const crc32 = (bytes) => (bytes.reduce((crc, byte) => (crc >>> 8) ^ crcTable[(crc ^ byte) & 0xff], -1) ^ -1) >>> 0;

/** Without their line feeds; `to` is the byte behind. */
function* linesOf(bytes) {
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(0x0a, from);
    const line = bytes.subarray(from, end === -1 ? bytes.length : end);
    from = end === -1 ? bytes.length : end + 1;
    yield { line, isWhole: end !== -1, to: from };
  }
}

/** Lines of a segment: the JSON where line and checksum are whole, and the byte behind the line. */
function* segmentLines(bytes) {
  for (const { line, isWhole, to } of linesOf(bytes)) {
    const [sum, body] = [line.toString('latin1', 0, 9), line.subarray(9)];
    const isGood = isWhole && line.length < lineMax && /^[0-9a-f]{8} $/.test(sum) && crc32(body) === Number.parseInt(sum, 16);
    yield { body: isGood ? body : undefined, isWhole, to };
  }
}

/** The segments that count, oldest first. */
function linkSegments(record, names) {
  const chain = [];
  for (const name of names.toSorted((one, other) => other.length - one.length || (one < other ? 1 : -1))) {
    const bytes = record.read(name, fileMax) ?? Buffer.alloc(0);
    const [first] = segmentLines(bytes);
    const header = first?.body && parseJson(first.body);
    const number = Number(name.slice(4, -4));
    if (!first?.isWhole) chain.length > 0 || record.incomplete(`${name} was just being made`);
    else if (header && header.v !== 1) record.unknown(`${name} is of a version that is not known`);
    else if (header?.kind !== 'segment' || header.number !== number || (header.previous?.number ?? 0) >= number) record.tampered(`${name} has no good header`);
    else if (chain.length === 0 || chain[0].header.previous?.number === number) chain.unshift({ name, bytes, header, end: chain[0]?.header.previous });
  }
  if (chain[0]?.header.previous) record.tampered(`the segment before ${chain[0].name} is missing`);
  return chain;
}

/** Step 7. Answers the leaves that the checkpoint covers. */
function readSegments(record, story, names, size) {
  const leaves = [];
  for (const { name, bytes, header, end } of linkSegments(record, names)) {
    if (header.firstLeaf !== leaves.length) record.tampered(`${name} does not begin with entry ${leaves.length}`);
    let [sealed, isTorn, last, number] = [undefined, false, undefined, 0];
    for (const { body, to } of segmentLines(bytes.subarray(0, end?.bytes))) {
      const where = `${name}, line ${++number}`;
      // A torn write leaves nothing whole behind it.
      if (isTorn && (end || body)) record.tampered(`${where} follows a damaged one`);
      isTorn = body === undefined;
      if (isTorn) continue;
      if (number > 1 && body.toString('latin1', 0, 22) === '{"v":1,"kind":"sealed"') {
        if (sealed) record.tampered(`${where}: no entry has sealed what stands before it`);
        sealed = parseJson(body) ?? {};
        continue;
      }
      last = { to, hash: hex(body) };
      if (number === 1) continue;
      const entry = parseEntry(body);
      const content = base64(sealed?.data);
      const isOwn = content && entry?.sealed && hex(content) === entry.sealed.sha256 && content.length === entry.sealed.bytes && sealed.session === entry.session;
      // What an entry that cannot be read has sealed is not known; one that was changed is found by its hash.
      if (sealed && !isOwn && (entry || leaves.length >= size)) record.tampered(`${where}: what stands before entry ${leaves.length} is not what it has sealed`);
      if (!sealed && entry?.sealed) story.missSealed({ ...entry, name: `entry ${leaves.length}` });
      if (leaves.length >= size && !entry) record.tampered(`${where} is no entry`);
      else if (leaves.length >= size) story.follow(body, leaves.length, entry);
      sealed = undefined;
      leaves.push(leafHash(body));
    }
    if (end && (isTorn || last?.to !== end.bytes || last.hash !== end.hash)) record.tampered(`${name} does not end as the next segment says`);
    if (!end && (isTorn || sealed) && leaves.length >= size) record.incomplete(`${name} ends in the middle of a write`);
  }
  if (leaves.length > size) record.incomplete(`${leaves.length - size} entries are not covered by the checkpoint`);
  return leaves.slice(0, size);
}

// Trust (7)

/** Steps 9 and 11: signatures, and the keys that they tie together. */
class Trust {
  constructor(record, checkpoint, anchors) {
    Object.assign(this, { record, checkpoint, trusted: new Map(anchors.map((key) => [key.text, key])) });
  }

  rotate(announced, files, published) {
    const { record, checkpoint, trusted } = this;
    const isTie = ({ index, from, to }, note) => note.size > index && signatureBy(note, from) === 'good' && signatureBy(note, to) === 'good';
    const readable = announced.filter(({ from, to }) => from && to);
    if (readable.length < announced.length) record.unknown('a key.rotate entry holds a key that cannot be read');
    const ties = readable.filter((rotation) => [...files.map(({ value }) => value), checkpoint].some((note) => isTie(rotation, note)));
    for (const _ of ties) for (const { from, to } of ties) if (trusted.has(from.text) || trusted.has(to.text)) trusted.set(from.text, from).set(to.text, to);
    for (const { name, value } of files) {
      if (readable.some((rotation) => isTie(rotation, value))) this.checkRoot(value, name);
      else record.tampered(`${name} is not signed by both keys of a rotation`);
    }
    for (const rotation of readable.filter((one) => !ties.includes(one))) {
      const isPending = rotation === readable.at(-1) && signatureBy(checkpoint, rotation.to) === 'none';
      const isGivenUp = readable.some(({ index, from }) => index > rotation.index && from.text === rotation.from.text);
      if (isGivenUp) record.notes.push(`the key that entry ${rotation.index} announces was never used`);
      else record[isPending ? 'incomplete' : 'tampered'](`no checkpoint proves the rotation of entry ${rotation.index}`);
    }
    if (ties.length > 0 && signatureBy(checkpoint, ties.at(-1).to) === 'none') record.tampered('the checkpoint is not signed with the newest key');
    this.isSigned(checkpoint, 'checkpoint', 'tampered');
    // Without a single key that can be used nothing is tied to anything, and that was said.
    if (trusted.size > 0) published.forEach((key, place) => {
      if (!trusted.has(key.text) || (place === 0 && signatureBy(checkpoint, key) !== 'good')) record.tampered(`nothing ties ${key.text} of log-key.pub to the checkpoint`);
    });
  }

  /** Where no key is trusted, that was said before. */
  isSigned(note, name, otherwise) {
    const states = [...this.trusted.values()].map((key) => signatureBy(note, key));
    if (states.includes('bad')) this.record.tampered(`${name} has a wrong signature`);
    else if (states.length > 0 && !states.includes('good')) this.record[otherwise](`${name} is signed by no trusted key`);
    return states.every((state) => state !== 'bad') && (states.length === 0 || states.includes('good'));
  }

  checkRoot({ origin, size, root }, name) {
    const { record, checkpoint, roots } = this;
    if (origin !== checkpoint.origin) record.tampered(`${name} is of another log`);
    else if (size > checkpoint.size) record.tampered(`${name} has seen ${size} entries, and the log has ${checkpoint.size}: it was cut`);
    else if (roots && !roots.get(size).equals(root)) record.tampered(`${name} is signed for other first ${size} entries: there were two logs`);
  }

  checkKept(note, name) {
    if (note.origin !== this.checkpoint.origin) this.record.unknown(`${name} is of another log`);
    else if (this.isSigned(note, name, 'unknown')) this.checkRoot(note, name);
  }

  checkReceipt({ session, index, entry, note, proof, key }, name, body) {
    const { record, trusted } = this;
    if (trusted.size > 0 && !trusted.has(key.text)) record.unknown(`${name} names a key that is not trusted`);
    else if (signatureBy(note, key) !== 'good') record.tampered(`${name} is not signed with the key that it names`);
    this.checkKept(note, name);
    if (!body || hex(body) !== entry || parseEntry(body)?.session !== session) record.tampered(`${name} is about entry ${index} of ${session}, which was changed or cut off`);
    else if (!rootFromProof(leafHash(body), index, note.size, proof)?.equals(note.root)) record.tampered(`${name}: its proof does not lead to its checkpoint`);
  }
}

function parseReceipt(bytes) {
  const receipt = Buffer.from(bytes.toString('utf8')).equals(bytes) ? parseJson(bytes) : undefined;
  const { v, session, index, entry, checkpoint } = receipt ?? {};
  const isShaped = v === 1 && Object.keys(receipt).length === 7 && typeof session === 'string' && Number.isSafeInteger(index) && index >= 0 && /^[0-9a-f]{64}$/.test(entry);
  const [key, note] = [parseKey(receipt?.key), parseCheckpoint(Buffer.from(String(checkpoint)))];
  const proof = Array.isArray(receipt?.proof) && receipt.proof.length <= 64 ? receipt.proof.map(base64) : [undefined];
  return isShaped && key && note && proof.every((hash) => hash?.length === 32) ? { session, index, entry, note, proof, key } : undefined;
}

// The whole (9)

/** The files, and what was found in them. */
class Record {
  constructor(files) {
    Object.assign(this, { files, findings: [], notes: [] });
  }
  tampered = (message) => void this.findings.push({ severity: 'tampered', message });
  incomplete = (message) => void this.findings.push({ severity: 'incomplete', message });
  unknown = (message) => void this.findings.push({ severity: 'unknown', message });

  /** Undefined where there is no such file, and where a finding says why it is not usable. */
  read(path, max) {
    try {
      const bytes = this.files.read(path, max + 1);
      if (!bytes || bytes.length <= max) return bytes;
      this[max === fileMax ? 'unknown' : 'tampered'](`${path} is too large`);
    } catch (error) {
      this.unknown(`${path} cannot be read: ${error.message}`);
    }
    return undefined;
  }

  list = (path) => this.files.list(path).filter(({ name, isDirectory }) => isDirectory || !name.endsWith('.new'));

  /** Everything in a folder, parsed; what cannot be is a finding. */
  parseAll = (files, parse, find) => files.map(({ name, bytes }) => ({ name, value: bytes && parse(bytes, name) })).filter(({ name, value }) => value || find(`${name} cannot be read as what it should be`));
  folder = (path) => this.list(path).map(({ name }) => ({ name: `${path}/${name}`, bytes: this.read(`${path}/${name}`, 4 * noteMax) }));

  end(facts = {}) {
    const has = (severity) => this.findings.some((finding) => finding.severity === severity);
    const exitCode = has('tampered') ? 1 : has('unknown') ? 3 : has('incomplete') ? 2 : 0;
    return { exitCode, result: ['intact', 'TAMPERED', 'incomplete', 'cannot tell'][exitCode], findings: this.findings, notes: this.notes, facts };
  }
}

/** `files`: read(path, bytesMax) answers a Buffer or undefined, list(path) answers [{ name, isDirectory }]. */
export function verifyRecord(files, { keys = [], checkpoints = [], receipts = [], witnesses = [], witnessesMin } = {}) {
  const record = new Record(files);
  // Whoever is named twice is one witness all the same.
  const cosigners = [...new Set(witnesses.map((text) => text.trim()))];
  const bytes = record.read('checkpoint', noteMax);
  const checkpoint = bytes && parseCheckpoint(bytes);
  if (!bytes) record.unknown('there is no checkpoint that can be read');
  else if (!checkpoint) record.tampered('the checkpoint is not a signed checkpoint');
  else if (checkpoint.size > 2 ** 31) record.unknown('the checkpoint speaks of more entries than can be counted here');
  if (record.findings.length > 0) return record.end();
  const usable = (texts, type) => texts.map((text) => parseKey(text.trim())).filter((key) => key?.type === type || record.unknown('a key cannot be used'));
  const publicFile = record.read('log-key.pub', noteMax);
  const published = publicFile?.toString('utf8').split('\n').slice(0, -1).map(parseKey) ?? [];
  const isPublicGood = publicFile?.toString('utf8').endsWith('\n') && published.every((key) => key?.type === 1);
  if (publicFile && !isPublicGood) record.tampered('log-key.pub does not hold one key in each line');
  const good = published.filter((key) => key?.type === 1);
  const anchors = keys.length > 0 ? usable(keys, 1) : good.slice(0, 1);
  if (keys.length + anchors.length === 0) record.unknown('there is no key to check signatures with');

  const tiles = listTiles(record);
  const tileLeaves = readLevel(record, tiles, 0, checkpoint.size);
  const bodies = readLevel(record, tiles, 'entries', checkpoint.size);
  const entryLeaves = bodies.map(leafHash);
  const isTrue = (leaves) => leaves.length === checkpoint.size && rootsOf(leaves, [checkpoint.size]).get(checkpoint.size).equals(checkpoint.root);
  const truth = [tileLeaves, entryLeaves].find(isTrue);
  if (truth) checkTiles(record, tiles, truth);
  else record.tampered('the tree does not lead to the root of the checkpoint');
  compareLeaves(record, 'tile/entries', truth ?? tileLeaves, entryLeaves);
  const story = new Story(record);
  bodies.forEach((body, index) => story.tell(body, index, tileLeaves[index]?.equals(entryLeaves[index])));
  story.end();
  const segments = record.list('').filter(({ name, isDirectory }) => !isDirectory && /^log-\d{6,15}\.ndl$/.test(name)).map(({ name }) => name);
  if (segments.length > 0) compareLeaves(record, 'segments', truth ?? tileLeaves, readSegments(record, story, segments, checkpoint.size));
  else if (publicFile) checkSealed(record, story);
  else record.tampered('there are neither segments nor log-key.pub');

  const trust = new Trust(record, checkpoint, anchors);
  const rotations = record.parseAll(record.folder('rotations'), (note, name) => [parseCheckpoint(note)].find((one) => `rotations/${one?.size}` === name), record.tampered);
  const kept = record.parseAll(checkpoints, parseCheckpoint, record.unknown);
  const shown = record.parseAll([...receipts, ...record.folder('receipts')], parseReceipt, record.unknown);
  trust.roots = truth && rootsOf(truth, [...rotations, ...kept, ...shown].map(({ value }) => (value.note ?? value).size));
  trust.rotate(story.rotations, rotations, good);
  for (const { name, value } of kept) trust.checkKept(value, name);
  for (const { name, value } of shown) trust.checkReceipt(value, name, bodies[value.index]);
  const least = witnessesMin ?? cosigners.length;
  const cosigned = usable(cosigners, 4).map((key) => signatureBy(checkpoint, key));
  const count = cosigned.filter((state) => state === 'good').length;
  if (cosigned.includes('bad')) record.tampered('the cosignature of a witness is wrong');
  if (count < least) record.incomplete(`${count} witnesses have cosigned the checkpoint, of ${least} that are asked for`);
  return record.end({ origin: checkpoint.origin, size: checkpoint.size, root: checkpoint.root.toString('base64'), witnesses: count });
}

// The command line

function orAbsent(absent, work) {
  try {
    return work();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(error.code)) return absent;
    throw error;
  }
}

/** What is too large is not read at all: its length says so. Pipes and devices may never end. */
function readFile(path, max) {
  const found = statSync(path);
  if (!found.isFile()) throw new Error('it is not a file');
  return found.size >= max ? { length: max } : readFileSync(path);
}

function main() {
  const many = { type: 'string', multiple: true, default: [] };
  const options = { key: many, checkpoint: many, receipt: many, witness: many, 'witnesses-min': { type: 'string' } };
  const { values, positionals: [given, ...more] } = parseArgs({ options, allowPositionals: true });
  if (!given || more.length > 0) throw new Error('usage: audit-verify.mjs [--key K] [--checkpoint F] [--receipt F] [--witness K] [--witnesses-min N] DIRECTORY');
  const names = readdirSync(given);
  const placeOf = (path) => join(given, names.includes('log') && !names.includes('checkpoint') ? 'log' : '', path);
  const texts = (list) => list.flatMap((text) => (text.startsWith('@') ? readFileSync(text.slice(1), 'utf8').trim().split('\n') : [text]));
  const kept = (list) => list.map((name) => ({ name, bytes: orAbsent(undefined, () => readFileSync(name)) }));
  const files = {
    read: (path, max) => orAbsent(undefined, () => readFile(placeOf(path), max)),
    list: (path) => orAbsent([], () => readdirSync(placeOf(path), { withFileTypes: true }).map((one) => ({ name: one.name, isDirectory: one.isDirectory() }))),
  };
  const min = values['witnesses-min'];
  const own = { keys: texts(values.key), checkpoints: kept(values.checkpoint), receipts: kept(values.receipt), witnesses: texts(values.witness) };
  const { exitCode, result, findings, notes, facts } = verifyRecord(files, { ...own, witnessesMin: min && Number(min) });
  const lines = [...Object.entries(facts).map((fact) => fact.join(': ')), ...notes.map((note) => `note: ${note}`), ...findings.map((one) => `${one.severity}: ${one.message}`), result];
  process.stdout.write(lines.map((line) => `${line.replaceAll(/[\p{Cc}\p{Cf}]/gu, '\u{fffd}')}\n`).join(''));
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

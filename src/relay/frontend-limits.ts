/** How large a client's messages may be, checked on the header before any of the body is held, and how long its names. */
import { GateError } from '../errors/errors.ts';

/** Largest message that is held whole: Query and Parse by the parser's limit, Bind for large parameters. */
export const frontendBodyBytesMax = 64 * 1024 * 1024;
/** The server's own limit for messages that are small by nature (PQ_SMALL_MESSAGE_LIMIT). */
export const smallBodyBytesMax = 10_000;
/** PostgreSQL's limit for any message (PQ_LARGE_MESSAGE_LIMIT). CopyData is streamed, never held. */
export const copyBodyBytesMax = 0x3fffffff;

/** Whether a message is wanted whole or as it comes. Fails with `protocol-violation` or `too-large`. */
export function beginFrontend(type: number, bodyLength: number): 'whole' | 'raw' {
  const letter = String.fromCharCode(type);
  if (letter === 'd') {
    if (bodyLength > copyBodyBytesMax) throw tooLarge(letter, bodyLength, copyBodyBytesMax);
    return 'raw';
  }
  if (!'QPBDECSHcfXF'.includes(letter)) {
    throw new GateError('protocol-violation', `a client may not send message type 0x${type.toString(16)} here`);
  }
  const limit = 'QPBF'.includes(letter) ? frontendBodyBytesMax : smallBodyBytesMax;
  if (bodyLength > limit) throw tooLarge(letter, bodyLength, limit);
  return 'whole';
}

function tooLarge(letter: string, bodyLength: number, limit: number): GateError {
  return new GateError('too-large', `a message of type '${letter}' has ${bodyLength} bytes; at most ${limit} are taken`);
}

/** The server would cut a longer name and take two names for one. Fails with `name-too-long`. */
export function checkedName(name: string): string {
  if (Buffer.byteLength(name) > 63) {
    throw new GateError('name-too-long', 'names of statements and portals may have at most 63 bytes');
  }
  return name;
}

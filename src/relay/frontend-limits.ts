/** How large each message of a client may be, checked on its header before any of its body is held. */
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

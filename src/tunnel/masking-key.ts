/** The mask that lies over all that a client sends (RFC 6455, 5.3). A key is four bytes, read as a little-endian number. */

/** Up to this many bytes a view of words costs more than it saves. */
const bytewiseMax = 48;
const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** Puts the mask on, or takes it off, in place. Answers the key as it stands for the byte behind. */
export function applyMask(bytes: Buffer, start: number, end: number, key: number): number {
  if (key === 0) return 0;
  let at = start;
  let turned = key;
  const words = end - start > bytewiseMax && isLittleEndian ? (end - start - 3) >>> 2 : 0;
  if (words > 0) {
    for (; ((bytes.byteOffset + at) & 3) !== 0; at++) {
      (bytes[at] as number) ^= turned & 0xff;
      turned = turn(turned);
    }
    const view = new Int32Array(bytes.buffer, bytes.byteOffset + at, words);
    for (let index = 0; index < words; index++) (view[index] as number) ^= turned;
    at += words * 4;
  }
  for (; at < end; at++) {
    (bytes[at] as number) ^= turned & 0xff;
    turned = turn(turned);
  }
  return turned;
}

const turn = (key: number): number => (key >>> 8) | (key << 24);

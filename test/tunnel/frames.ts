/** Frames of RFC 6455 written out by its section 5.2 alone, for tests that need them right, or wrong. */

export type Frame = {
  readonly opcode: number;
  readonly payload: Buffer;
  readonly isFinal?: boolean;
  /** Four bytes; a frame without them has no mask. */
  readonly key?: Buffer;
  readonly reserved?: number;
  /** The length in a form that is longer than it must be, or in place of the true one. */
  readonly length?: { readonly bytes: 2 | 8; readonly value?: bigint };
};

export function encodeFrame({ opcode, payload, isFinal = true, key, reserved = 0, length }: Frame): Buffer {
  const first = Buffer.from([(isFinal ? 0x80 : 0) | (reserved << 4) | opcode]);
  const value = length?.value ?? BigInt(payload.length);
  const form = length?.bytes ?? (value < 126n ? 0 : value < 65536n ? 2 : 8);
  const mask = key === undefined ? 0 : 0x80;
  const size = Buffer.alloc(1 + form);
  size[0] = mask | (form === 0 ? Number(value) : form === 2 ? 126 : 127);
  if (form === 2) size.writeUInt16BE(Number(value), 1);
  if (form === 8) size.writeBigUInt64BE(value, 1);
  const masked = key === undefined ? payload : Buffer.from(payload.map((byte, index) => byte ^ (key[index % 4] as number)));
  return Buffer.concat([first, size, key ?? Buffer.alloc(0), masked]);
}

export function closePayload(code: number, reason: string | Buffer = ''): Buffer {
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]);
}

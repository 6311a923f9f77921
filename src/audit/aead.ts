/** AES-256-GCM (NIST SP 800-38D) as everything sealed here uses it: nonce (12 bytes), ciphertext, tag (16 bytes), bound to a context. Pure. */
import { createCipheriv, createDecipheriv } from 'node:crypto';

export const nonceBytes = 12;
const tagBytes = 16;

/** A nonce must never come twice under one key. */
export function encrypt(text: Buffer | string, context: string, key: Buffer, nonce: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
  const body = typeof text === 'string' ? cipher.update(text, 'utf8') : cipher.update(text);
  // In this mode nothing is left for the end but the tag.
  cipher.final();
  return Buffer.concat([nonce, body, cipher.getAuthTag()]);
}

/** Throws for bytes that were not encrypted with this key in this context. */
export function decrypt(bytes: Buffer, context: string, key: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, nonceBytes)).setAAD(Buffer.from(context));
  decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
  return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, bytes.length - tagBytes)), decipher.final()]);
}

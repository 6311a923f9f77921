/** Seals columns of the state that hold SQL: encrypted with the sealing key, bound to their row. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { GateError } from '../errors/errors.ts';
import { nonceBytes } from '../audit/seal.ts';

const tagBytes = 16;

export class ColumnSeal {
  readonly #key: Buffer;

  /** The sealing key of the record, 32 bytes. */
  constructor(key: Buffer) {
    this.#key = key;
  }

  /** `row`: table and key, so that no row can be put in the place of another. */
  seal(text: string, row: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce).setAAD(Buffer.from(`gate/column/v1\n${row}`));
    return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
  }

  /** Throws `record-damaged` for what was not sealed with this key for this row. */
  open(sealed: string, row: string): string {
    const bytes = Buffer.from(sealed, 'base64');
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, bytes.subarray(0, nonceBytes)).setAAD(Buffer.from(`gate/column/v1\n${row}`));
      decipher.setAuthTag(bytes.subarray(-tagBytes));
      return Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]).toString('utf8');
    } catch (error) {
      throw new GateError('record-damaged', `the state of ${row} does not open with the sealing key of this relay`, { cause: error });
    }
  }
}

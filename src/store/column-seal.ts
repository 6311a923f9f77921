/** Seals columns of the state that hold SQL: encrypted with the sealing key, bound to their row. */
import { randomBytes } from 'node:crypto';
import { decrypt, encrypt, nonceBytes } from '../audit/aead.ts';
import { GateError } from '../errors/errors.ts';

export class ColumnSeal {
  readonly #key: Buffer;

  /** The sealing key of the record, 32 bytes. */
  constructor(key: Buffer) {
    this.#key = key;
  }

  /** `row`: table and key, so that no row can be put in the place of another. */
  seal(text: string, row: string): string {
    return encrypt(Buffer.from(text), contextOf(row), this.#key, randomBytes(nonceBytes)).toString('base64');
  }

  /** Throws `record-damaged` for what was not sealed with this key for this row. */
  open(sealed: string, row: string): string {
    try {
      return decrypt(Buffer.from(sealed, 'base64'), contextOf(row), this.#key).toString('utf8');
    } catch (error) {
      throw new GateError('record-damaged', `the state of ${row} does not open with the sealing key of this relay`, { cause: error });
    }
  }
}

function contextOf(row: string): string {
  return `gate/column/v1\n${row}`;
}

/** The key of hash masks: made once, kept in the state directory, and handed to database sessions as the two blocks of its HMAC. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GateError, messageOf } from '../errors/errors.ts';
import { hashKeySettings } from '../mask/expressions.ts';
import { fsyncDirectory } from '../store/log-files.ts';

const keyBytes = 32;
/** Of SHA-256, RFC 2104 section 2. */
const blockBytes = 64;

/** Reads the key, or makes one (0600) where there is none yet. Fails with `config-invalid`: another key would be another hash. */
export async function loadMaskKey(stateDirectory: string): Promise<Buffer> {
  const file = join(stateDirectory, 'mask-key');
  try {
    const key = Buffer.from((await readFile(file, 'utf8')).trim(), 'hex');
    if (key.length !== keyBytes) throw new Error(`it does not hold ${keyBytes} bytes in hex`);
    return key;
  } catch (error) {
    if ((error as { code?: string }).code !== 'ENOENT') {
      throw new GateError('config-invalid', `the key of masks ${file} cannot be used: ${messageOf(error)}`, { cause: error });
    }
  }
  const key = randomBytes(keyBytes);
  await writeFile(file, `${key.toString('hex')}\n`, { mode: 0o600, flag: 'wx', flush: true });
  await fsyncDirectory(stateDirectory);
  return key;
}

/**
 * Start-up parameters of a masked database session. They stand in no text: neither statements nor their plans nor the
 * record show the key, and no masked client may read settings of this name.
 */
export function maskKeyParameters(key: Buffer): Record<string, string> {
  const padded = (pad: number) => Buffer.alloc(blockBytes, pad).map((byte, at) => byte ^ (key[at] ?? 0));
  return {
    [hashKeySettings.inner]: Buffer.from(padded(0x36)).toString('hex'),
    [hashKeySettings.outer]: Buffer.from(padded(0x5c)).toString('hex'),
  };
}

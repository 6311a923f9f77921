/** The real file operations with faults on demand: what a disk may do to the log. */
import { realLogFiles, type LogFiles } from '../../src/store/log-files.ts';

export type Operation = keyof LogFiles;

const words = { EIO: 'i/o error', ENOSPC: 'no space left on device', EDQUOT: 'disk quota exceeded' };

/** `lost`: nothing happens. `kept`: it happens, yet is reported as failed. `short`: half of a write happens. */
export type Fault = { readonly mode: 'lost' | 'kept' | 'short'; readonly code: keyof typeof words };

/** Asked before each operation, with its number from 0 on, whether it fails. */
export type Chooser = (operation: Operation, number: number) => Fault | undefined;

export class FaultyFiles implements LogFiles {
  /** Every operation so far. */
  readonly calls: Operation[] = [];
  failures = 0;
  readonly #choose: Chooser;

  constructor(choose: Chooser) {
    this.#choose = choose;
  }

  create(path: string): number {
    return this.#run('create', () => realLogFiles.create(path));
  }

  async createLater(path: string): Promise<number> {
    return this.#run('create', () => realLogFiles.createLater(path));
  }

  write(descriptor: number, bytes: Buffer, offset: number): number {
    return this.#run('write', (part) => {
      const size = Math.ceil((bytes.length - offset) * part);
      return realLogFiles.write(descriptor, bytes.subarray(0, offset + size), offset);
    });
  }

  async fdatasync(descriptor: number): Promise<void> {
    await this.#run('fdatasync', () => realLogFiles.fdatasync(descriptor));
  }

  async fsyncDirectory(path: string): Promise<void> {
    await this.#run('fsyncDirectory', () => realLogFiles.fsyncDirectory(path));
  }

  close(descriptor: number): void {
    this.#run('close', () => realLogFiles.close(descriptor));
  }

  remove(path: string): void {
    this.#run('remove', () => realLogFiles.remove(path));
  }

  rename(from: string, to: string): void {
    this.#run('rename', () => realLogFiles.rename(from, to));
  }

  makeDirectory(path: string): string | undefined {
    return this.#run('makeDirectory', () => realLogFiles.makeDirectory(path));
  }

  #run<Result>(operation: Operation, work: (part: number) => Result): Result {
    const fault = this.#choose(operation, this.calls.length);
    this.calls.push(operation);
    if (fault === undefined) return work(1);
    this.failures += 1;
    const error = new Error(`${fault.code}: ${words[fault.code]}, ${operation}`);
    if (fault.mode === 'lost') throw error;
    const result = work(fault.mode === 'short' ? 0.5 : 1);
    if (result instanceof Promise) {
      const failed = result.then(() => {
        throw error;
      });
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a promise that rejects has every type
      return failed as Result;
    }
    throw error;
  }
}

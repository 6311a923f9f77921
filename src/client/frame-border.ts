/** Knows whether a stream of backend messages stands between two messages, without keeping any of its bytes. */

const headerBytes = 5;
/** The server's bare answer to an encryption request. NoticeResponse has the same letter, but never comes first. */
const refusedEncryption = 0x4e;

export class FrameBorder {
  #hasBegun = false;
  #headerSeen = 0;
  #length = 0;
  #bodyLeft = 0;

  /** No message is half sent, so that another one may be added. */
  get isAtBorder(): boolean {
    return this.#headerSeen === 0 && this.#bodyLeft === 0;
  }

  push(chunk: Buffer): void {
    let at = 0;
    if (!this.#hasBegun) {
      while (chunk[at] === refusedEncryption) at += 1;
      if (at === chunk.length) return;
      this.#hasBegun = true;
    }
    while (at < chunk.length) {
      if (this.#bodyLeft > 0) {
        const skipped = Math.min(this.#bodyLeft, chunk.length - at);
        this.#bodyLeft -= skipped;
        at += skipped;
      } else if (this.#headerSeen === 0 && chunk.length - at >= headerBytes) {
        this.#bodyLeft = Math.max(0, chunk.readUInt32BE(at + 1) - 4);
        at += headerBytes;
      } else {
        this.#pushHeaderByte(chunk[at] as number);
        at += 1;
      }
    }
  }

  #pushHeaderByte(byte: number): void {
    if (this.#headerSeen > 0) this.#length = this.#length * 256 + byte;
    this.#headerSeen += 1;
    if (this.#headerSeen < headerBytes) return;
    this.#bodyLeft = Math.max(0, this.#length - 4);
    this.#headerSeen = 0;
    this.#length = 0;
  }
}

/** The border between two messages is found however the stream is cut. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameBorder } from '../../src/client/frame-border.ts';

const frame = fc
  .tuple(fc.constantFrom('R', 'S', 'K', 'Z', 'D', 'N', 'E'), fc.uint8Array({ maxLength: 40 }))
  .map(([type, body]) => {
    const head = Buffer.alloc(5);
    head.write(type);
    head.writeUInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  });

test('any frames, any cuts: at a border exactly where a frame ends', () => {
  fc.assert(
    fc.property(fc.nat(2), fc.array(frame, { minLength: 1, maxLength: 12 }), fc.array(fc.nat(20), { minLength: 1 }), (refusals, frames, steps) => {
      // NoticeResponse is never the first message of a server.
      const messages = frames[0]?.[0] === 0x4e ? frames.slice(1) : frames;
      const stream = Buffer.concat([Buffer.from('N'.repeat(refusals)), ...messages]);
      const borders = new Set<number>(Array.from({ length: refusals + 1 }, (_, index) => index));
      let at = refusals;
      for (const message of messages) borders.add((at += message.length));
      fc.pre(messages.length === 0 || messages[0]?.[0] !== 0x4e);
      const border = new FrameBorder();
      for (let sent = 0, turn = 0; sent < stream.length; turn++) {
        const step = 1 + (steps[turn % steps.length] as number);
        border.push(stream.subarray(sent, sent + step));
        sent = Math.min(sent + step, stream.length);
        expect(border.isAtBorder).toBe(borders.has(sent));
      }
    }),
  );
});

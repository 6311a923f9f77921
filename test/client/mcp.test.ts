/** The pure parts of gate mcp: lines and their limits, names of agents, cuts of results, advice on failures. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { adviceOn } from '../../src/client/mcp/advice.ts';
import { lineBytesMax, LineReader, parseLine } from '../../src/client/mcp/json-rpc.ts';
import { agentName, protocolVersions } from '../../src/client/mcp/mcp-server.ts';
import { cellBytesMax, cutToBytes, resultBytesMax, ResultTaker } from '../../src/client/mcp/result.ts';
import { describeTools } from '../../src/client/mcp/tools.ts';
import { ERRORS, GateError, type ErrorCode } from '../../src/errors/errors.ts';
import { asAgent } from '../../src/relay/agents.ts';

describe('lines', () => {
  test('cut anywhere, they come out whole', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\n', ''))), fc.array(fc.nat(40), { minLength: 1 }), (lines, sizes) => {
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        const reader = new LineReader();
        const read: (string | undefined)[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = (sizes[turn % sizes.length] ?? 0) + 1;
          read.push(...reader.read(bytes.subarray(at, at + size)));
          at += size;
        }
        expect(read).toEqual(lines);
      }),
      { numRuns: 50 },
    );
  });

  test('one at the limit is read, one byte more is passed over, and the next is read', () => {
    const reader = new LineReader();
    const line = 'x'.repeat(lineBytesMax);
    expect([...reader.read(Buffer.from(`${line}\n`))].map((text) => text?.length)).toEqual([lineBytesMax]);
    expect([...reader.read(Buffer.from(`${line}x`)), ...reader.read(Buffer.from(`${line}\nnext\n`))]).toEqual([undefined, 'next']);
  });

  test.each(['null', '1', '"text"', '{}', '{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":{},"method":"ping"}', '{"jsonrpc":"2.0","id":1,"method":7}', '{"jsonrpc":"2.0","id":1,"method":"x","params":3}'])('%s is invalid', (line) => {
    expect(parseLine(line, false).messages).toEqual([expect.objectContaining({ kind: 'invalid' })]);
  });
});

describe('the name of an agent', () => {
  test.each([
    [{ name: 'Claude Code', version: '2.0.1' }, 'Claude-Code/2.0.1'],
    [{ name: '', version: '' }, 'unnamed-agent'],
    [{ name: '../../x\r\nAuthorization: y' }, 'x-Authorization-y'],
    [{ name: 'ünï', version: 'é' }, 'n-/-'],
    [undefined, 'unnamed-agent'],
    ['text', 'unnamed-agent'],
  ])('%j is %s', (info, name) => {
    expect(agentName(info)).toBe(name);
  });

  test('whatever a client says, the relay takes it', () => {
    const person = { issuer: 'i', subject: 's', kind: 'human', name: 'Ann', groups: [] } as const;
    fc.assert(
      fc.property(fc.anything(), fc.string(), fc.string(), (anything, name, version) => {
        for (const info of [anything, { name, version }]) expect(asAgent(person, agentName(info)).kind).toBe('agent');
      }),
      { numRuns: 200 },
    );
  });
});

describe('results', () => {
  test('a value at the limit is whole, one byte more is cut between characters', () => {
    const taker = new ResultTaker(10);
    taker.take([['x'.repeat(cellBytesMax), `${'x'.repeat(cellBytesMax - 1)}é`, null]]);
    expect(taker.rows).toEqual([['x'.repeat(cellBytesMax), `${'x'.repeat(cellBytesMax - 1)}…`, null]]);
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), fc.nat(20), (text, most) => {
      const cut = cutToBytes(text, Math.min(most, Buffer.byteLength(text)));
      expect([text.startsWith(cut), Buffer.byteLength(cut) <= most]).toEqual([true, true]);
    }));
  });

  test('a result at the limit is whole, one row more is left off', () => {
    const taker = new ResultTaker(1000);
    const row = ['x'.repeat(1024)];
    taker.take(Array.from({ length: resultBytesMax / 1024 }, () => row));
    expect(taker.toResult(undefined, []).structuredContent).toMatchObject({ rowCount: 64, truncated: false });
    taker.take([['x']]);
    expect(taker.toResult(undefined, []).structuredContent).toMatchObject({ rowCount: 64, truncated: true });
  });
});

test('the documentation shows configurations that start the server, and names every tool', async () => {
  const text = await readFile(join(import.meta.dirname, '../../docs/mcp.md'), 'utf8');
  const blocks = [...text.matchAll(/```json\n([^]*?)```/g)].map(([, json = '']) => JSON.parse(json) as Record<string, { gate: { command: string; args: string[] } }>);
  expect(blocks.flatMap((block) => Object.values(block).map(({ gate }) => [gate.command, gate.args[0]]))).toEqual([['gate', 'mcp'], ['gate', 'mcp']]);
  for (const { name } of describeTools({ isReadOnly: true })) expect(text).toContain(`\`${name}\``);
  for (const version of protocolVersions) expect(text).toContain(version);
});

test('every failure comes with something to do next', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const { next } = adviceOn(new GateError(code, 'message'), { isReadOnly: true });
    expect([code, next.length > 15 || next === 'Tell the person.']).toEqual([code, true]);
  }
  expect(adviceOn(new Error('a bug'), { isReadOnly: true })).toMatchObject({ code: 'internal' });
});

/** gate sessions list and show on a whole stack: real sessions, made through a tunnel with a real client. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runSessionsList } from '../../src/cli/commands/sessions/list.ts';
import { runSessionsShow } from '../../src/cli/commands/sessions/show.ts';
import { displayWidth } from '../../src/cli/output.ts';
import { longReason, startStage, type Stage } from './sessions-stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await startStage();
});
afterAll(() => stage?.stop());

/** The parts that differ from run to run, by names. */
function steady(text: string): string {
  return text
    .replaceAll(stage.worked, '<worked>')
    .replaceAll(stage.idle, '<idle>')
    .replaceAll(stage.stack.issuer, '<issuer>')
    .replaceAll(/\bg_[0-9a-z]+/g, '<grant>')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, '<time>')
    .replaceAll(/"subject":"[^"]+"/g, '"subject":"<subject>"');
}

describe('gate sessions list', () => {
  test('newest first, one line each, as wide as it takes where stdout is no terminal', async () => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'list');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [head = '', first = '', second = '', ...rest] = stdout.trimEnd().split('\n');
    expect(rest).toEqual([]);
    expect(head.split(/ {2,}/)).toEqual(
      ['SESSION', 'USER', 'TARGET', 'ROLE', 'COMMAND', 'STARTED', 'STATE', 'STATEMENTS', 'REFUSED', 'REASON'],
    );
    const ago = expect.stringMatching(/^\d+ (s|min) ago$/);
    const who = expect.stringMatching(/engineer|Erin/);
    expect(first.split(/ {2,}/)).toEqual(
      [stage.idle, who, 'prod-db', 'engineer', 'exec', ago, 'open', '0', '0', 'later'],
    );
    expect(second.split(/ {2,}/)).toEqual(
      [stage.worked, who, 'prod-db', 'engineer', 'connect', ago, 'ended', '4', '1', longReason],
    );
  });

  test('on a terminal no line is wider than it, and the reason gives way', async () => {
    const { context, out } = stage.openTerminal('engineer');
    await runSessionsList(context, { limit: 50, columns: 140 });
    const lines = out.join('').trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    const width = Math.max(...lines.map(displayWidth));
    // A blank before the cut is not written, and where it falls depends on how long ago it was.
    expect([139, 140]).toContain(width);
    expect(lines[2]).toMatch(/ {2}ticket 4711: \S.*…$/);
    const narrow = stage.openTerminal('engineer');
    await runSessionsList(narrow.context, { limit: 50, columns: 40 });
    expect(narrow.out.join('').split('\n')[2]).toMatch(/ {2}ticket 4711…$/);
  });

  test('--json, as the API gives it', async () => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'list', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({ sessions: await stage.relayOf('engineer').sessions() });
    await expect(steady(stdout).replaceAll('},{"id"', '},\n{"id"')).toMatchFileSnapshot('golden/sessions-list.ndjson');
  });

  test('--limit cuts and says so', async () => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'list', '--limit', '1');
    expect(code).toBe(0);
    expect(stdout).toContain(stage.idle);
    expect(stdout).not.toContain(stage.worked);
    expect(stderr).toContain('--limit');
    for (const limit of ['0', '1001', 'many']) {
      expect(await stage.gate('engineer', 'sessions', 'list', '--limit', limit)).toMatchObject({ code: 2, stdout: '' });
    }
  });

  test('everybody sees their own sessions, an auditor all', async () => {
    const dba = await stage.gate('dba', 'sessions', 'list');
    expect(dba).toMatchObject({ code: 0, stdout: '' });
    expect(dba.stderr).toContain('gate connect');
    expect(JSON.parse((await stage.gate('dba', 'sessions', 'list', '--json')).stdout)).toEqual({ sessions: [] });
    const { stdout } = await stage.gate('operator', 'sessions', 'list');
    for (const id of [stage.worked, stage.idle, stage.foreign]) expect(stdout).toContain(id);
  });
});

describe('gate sessions show', () => {
  test('all that is known about a session', async () => {
    const { code, stdout, stderr } = await stage.gate('engineer', 'sessions', 'show', stage.worked);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.trimEnd().split('\n');
    const fields = Object.fromEntries(lines.map((line) => [line.slice(0, 12).trim(), line.slice(13)]));
    expect(fields).toMatchObject({
      session: stage.worked,
      state: 'ended',
      issuer: stage.stack.issuer,
      groups: 'engineering',
      reason: longReason,
      target: 'prod-db',
      role: 'engineer',
      command: 'gate connect',
      ended: expect.stringMatching(/^\d{4}-.*Z \(/),
      connections: '1',
      statements: '4, 1 of them refused',
    });
    expect(fields['end reason']).not.toBe('-');
  });

  test('--json, by a prefix that no other session has', async () => {
    const others = [stage.idle, stage.foreign];
    let prefix = stage.worked;
    while (others.every((other) => !other.startsWith(prefix.slice(0, -1)))) prefix = prefix.slice(0, -1);
    expect(prefix.length).toBeLessThan(stage.worked.length);
    const { code, stdout } = await stage.gate('operator', '--json', 'sessions', 'show', prefix);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toEqual(await stage.relayOf('operator').session(stage.worked));
    await expect(steady(stdout)).toMatchFileSnapshot('golden/sessions-show.ndjson');
  });

  test('a prefix of several sessions is refused', async () => {
    const { code, stdout, stderr } = await stage.gate('operator', 'sessions', 'show', 's_');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('s_');
  });

  test.each(['show', 'replay'])('%s: an unknown session and a foreign one look the same', async (command) => {
    const unknown = await stage.gate('dba', 'sessions', command, 's_nothing');
    const theirs = await stage.gate('dba', '--json', 'sessions', command, stage.worked);
    expect(unknown).toMatchObject({ code: 3, stdout: '' });
    expect(unknown.stderr).toContain('there is no session "s_nothing"');
    expect(theirs).toMatchObject({ code: 3, stdout: '' });
    expect(JSON.parse(theirs.stderr)).toMatchObject({ error: { code: 'not-found' } });
  });

  test('stored text cannot drive the terminal', async () => {
    const real = stage.relayOf('engineer');
    const session = await real.session(stage.worked);
    const reason = 'a\u001b[2Jb\nstate        forged';
    const relay = { ...real, session: () => Promise.resolve({ ...session, reason }) };
    const { context, out } = stage.openTerminal('engineer', { relay });
    await runSessionsShow(context, stage.worked);
    expect(out.join('')).toContain('\nreason       a\u{FFFD}[2Jb state forged\n');
  });
});

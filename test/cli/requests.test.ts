/** Asking, deciding and revoking on the command line: the built program, two people, and what scripts rely on. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatRequest } from '../../src/cli/commands/requests/details.ts';
import type { RequestInfo } from '../../src/api/request-api.ts';
import { ended, eventually, startExecStage, type ExecStage } from './exec-stage.ts';

let stage: ExecStage;
beforeAll(async () => {
  stage = await startExecStage();
});
afterAll(async () => stage?.[Symbol.asyncDispose]());

type Json = Record<string, unknown>;
const lines = (text: string) => text.split('\n').filter(Boolean).map((line) => JSON.parse(line) as Json);
const admin = ['prod-db', '--role', 'admin', '--reason', 'a change'] as const;

/** A gate process whose lines are read as they come. */
function follow(account: string, words: readonly string[]) {
  const child = stage.start(account, words);
  const texts = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (texts.stderr += chunk.toString()));
  const end = ended(child);
  const event = async (name: string, from: 'stdout' | 'stderr' = 'stdout') => {
    const find = () => lines(texts[from].slice(0, texts[from].lastIndexOf('\n') + 1)).find((line) => line['event'] === name);
    await eventually(`it says ${name}`, () => find() !== undefined || child.exitCode !== null);
    const found = find();
    if (found === undefined) throw new Error(`it ended without ${name}: ${texts.stdout}${texts.stderr}`);
    return found;
  };
  return { child, texts, end, event };
}

async function ask(): Promise<string> {
  const { stdout } = await stage.run('engineer', ['requests', 'create', ...admin, '--json']);
  return (JSON.parse(stdout) as RequestInfo).id;
}

describe('gate connect', () => {
  test('waits for its approval, goes on by itself, and ends when it is revoked', async () => {
    const connect = follow('engineer', ['connect', ...admin, '--port', '0', '--json']);
    const asked = await connect.event('approval-requested');
    expect(asked).toEqual({
      event: 'approval-requested',
      requestId: expect.stringMatching(/^r_/),
      target: 'prod-db',
      role: 'admin',
      approvers: ['dbas (dba)'],
      count: 1,
      expiresAt: expect.any(String),
      approve: `gate approve ${String(asked['requestId'])}`,
    });
    const approved = await stage.run('dba', ['approve', String(asked['requestId']).slice(0, 7), '--reason', 'fine']);
    expect([approved.code, approved.stdout]).toEqual([0, '']);
    expect(approved.stderr).toBe(`Request ${String(asked['requestId'])} is approved: engineer gets a grant on prod-db as admin for 1 h.\n`);
    expect(await connect.event('approved')).toEqual({ event: 'approved', requestId: asked['requestId'], by: ['dba'] });
    const { grant } = await connect.event('ready');
    const revoked = await stage.run('dba', ['grants', 'revoke', String(grant), '--reason', 'enough', '--json']);
    expect(JSON.parse(revoked.stdout)).toMatchObject({ id: grant, state: 'revoked', revokedBy: 'dba', revokeReason: 'enough', sessions: 0 });
    const { code } = await connect.end;
    expect(code).toBe(3);
    expect(await connect.event('ended')).toMatchObject({ message: expect.stringContaining('enough') });
  });

  test('tells people what to do, and Ctrl-C withdraws the request', async () => {
    const connect = follow('engineer', ['connect', ...admin, '--port', '0']);
    await eventually('it waits', () => connect.texts.stderr.includes('Ctrl-C withdraws it'));
    const id = /request (r_\w+)/.exec(connect.texts.stderr)?.[1] as string;
    expect(connect.texts.stderr).toContain(`needs the approval of one of dbas (dba). You asked in request ${id}.`);
    expect(connect.texts.stderr).toContain(`gate approve ${id}`);
    connect.child.kill('SIGINT');
    const { code, stderr } = await connect.end;
    expect([code, stderr.includes(`Request ${id} is withdrawn.`)]).toEqual([130, true]);
    expect(await stage.relayOf('engineer').request(id)).toMatchObject({ state: 'withdrawn' });
  });

  test('before a command as well, and the command is not run', async () => {
    const connect = follow('engineer', ['connect', ...admin, '--', process.execPath, '-e', 'process.stdout.write("ran")']);
    await eventually('it waits', () => connect.texts.stderr.includes('Ctrl-C withdraws it'));
    connect.child.kill('SIGINT');
    expect(await connect.end).toMatchObject({ code: 130, stdout: '' });
    const waiting = await stage.relayOf('engineer').requests({ states: ['pending'], isMine: true });
    expect(waiting).toEqual([]);
  });
});

describe('gate exec', () => {
  test('without a terminal asks, exits with 8, and runs with the request once it is approved', async () => {
    const asked = await stage.run('engineer', ['exec', ...admin, '--sql', 'select 1 as one', '--json']);
    expect([asked.code, asked.stdout]).toEqual([8, '']);
    const [{ error }] = lines(asked.stderr) as [{ error: { code: string; requestId: string; hint: string } }];
    expect(error).toMatchObject({ code: 'approval-pending', requestId: expect.stringMatching(/^r_/), hint: expect.stringContaining(`--request ${error.requestId}`) });
    const early = await stage.run('engineer', ['exec', 'prod-db', '--request', error.requestId, '--sql', 'select 1', '--no-wait']);
    expect(early.code).toBe(8);
    await stage.run('dba', ['approve', error.requestId]);
    const ran = await stage.run('engineer', ['exec', 'prod-db', '--request', error.requestId, '--sql', 'select 1 as one', '--output', 'csv']);
    expect([ran.code, ran.stdout]).toEqual([0, 'one\n1\n']);
    const again = await stage.run('engineer', ['exec', 'prod-db', '--request', error.requestId, '--sql', 'select 1']);
    expect([again.code, again.stderr.includes('has been used already')]).toEqual([3, true]);
  });

  test('with --wait goes on when it is approved, its events on stderr', async () => {
    const exec = follow('engineer', ['exec', ...admin, '--sql', 'select 2 as two', '--wait', '5m', '--json']);
    const { requestId } = await exec.event('approval-requested', 'stderr');
    await stage.run('dba', ['approve', String(requestId)]);
    const { code, stdout } = await exec.end;
    expect([code, stdout.includes('"two"')]).toEqual([0, true]);
    expect(await exec.event('approved', 'stderr')).toMatchObject({ by: ['dba'] });
  });

  test('with --wait ends with 5 when it is denied, and with 8 when the time is up', async () => {
    const exec = follow('engineer', ['exec', ...admin, '--sql', 'select 2', '--wait', '5m', '--json']);
    const { requestId } = await exec.event('approval-requested', 'stderr');
    const denied = await stage.run('dba', ['deny', String(requestId), '--reason', 'use the replica']);
    expect([denied.code, denied.stderr]).toEqual([0, `Request ${String(requestId)} of engineer is denied.\n`]);
    const { code, stderr } = await exec.end;
    expect(code).toBe(5);
    expect(lines(stderr).at(-1)).toMatchObject({ error: { code: 'approval-rejected', message: expect.stringContaining('use the replica'), requestId } });
    const late = await stage.run('engineer', ['exec', ...admin, '--sql', 'select 2', '--wait', '1s']);
    expect([late.code, /--request r_\w+/.test(late.stderr)]).toEqual([8, true]);
  });
});

describe('gate requests', () => {
  test('are made, listed, shown, waited for and withdrawn', async () => {
    const id = await ask();
    const list = await stage.run('dba', ['requests', 'list', '--to-approve']);
    expect(list.stdout).toContain(`${id}  pending  engineer  prod-db  admin  a grant for 1 h  0 of 1`);
    expect(list.stderr).toContain('gate approve <id>');
    const { requests } = JSON.parse((await stage.run('dba', ['requests', 'list', '--json'])).stdout) as { requests: Json[] };
    expect(requests[0]).toEqual({
      id,
      kind: 'grant',
      state: 'pending',
      requester: { issuer: stage.stack.issuer, subject: expect.any(String), kind: 'human', name: 'engineer', groups: ['engineering'] },
      target: 'prod-db',
      role: 'admin',
      reason: 'a change',
      rule: 'prod-db/admin/approval',
      approval: { by: ['dbas (dba)'], count: 1, denials: 1 },
      approvals: 0,
      denials: 0,
      createdAt: expect.any(String),
      expiresAt: expect.any(String),
      durationSeconds: 3600,
      mayVote: true,
    });
    const show = await stage.run('engineer', ['requests', 'show', id.slice(0, 6)]);
    expect(show.stdout).toContain(`request      ${id}\nstate        pending\nasks for     a grant for 1 h\n`);
    expect(show.stderr).toBe('');
    const late = await stage.run('engineer', ['requests', 'wait', id, '--timeout', '1s']);
    expect(late.code).toBe(8);
    const cancelled = await stage.run('engineer', ['requests', 'cancel', id, '--reason', 'done otherwise']);
    expect([cancelled.code, cancelled.stderr]).toEqual([0, `Request ${id} is withdrawn.\n`]);
    expect((await stage.run('engineer', ['requests', 'wait', id])).code).toBe(5);
    expect((await stage.run('dba', ['requests', 'list', '--to-approve'])).stdout).not.toContain(id);
  });

  test('wait ends with 0 when it is approved', async () => {
    const id = await ask();
    const wait = follow('engineer', ['requests', 'wait', id, '--json']);
    await wait.event('approval-requested', 'stderr');
    await stage.run('dba', ['approve', id]);
    const { code, stdout } = await wait.end;
    expect([code, (JSON.parse(stdout) as Json)['state']]).toEqual([0, 'approved']);
  });

  test.each([
    ['a denial without a reason', ['deny', 'r_ooo'], 2],
    ['a revocation without a reason', ['grants', 'revoke', 'g_ooo'], 2],
    ['uses that are no number', ['approve', 'r_ooo', '--uses', 'many'], 2],
    ['a request that is not there', ['approve', 'r_ooo'], 3],
    ['a grant that is not there', ['grants', 'revoke', 'g_ooo', '--reason', 'x'], 3],
    ['a state that is none', ['requests', 'list', '--state', 'odd'], 2],
  ])('%s is refused', async (_, words, code) => {
    expect((await stage.run('dba', words)).code).toBe(code);
  });

  test('uses are for statements', async () => {
    const id = await ask();
    const approved = await stage.run('dba', ['approve', id, '--uses', '3', '--for', '1h']);
    expect([approved.code, approved.stderr.includes('requests of one statement')]).toEqual([2, true]);
    await stage.run('engineer', ['requests', 'cancel', id]);
  });
});

test('a statement is shown as it will run, with everything around it, and cannot forge a line', () => {
  const person = { issuer: 'i', subject: 'u1', kind: 'human', name: 'erin', groups: ['engineering'] } as const;
  const request: RequestInfo = {
    id: 'r_1',
    kind: 'statement',
    state: 'pending',
    requester: { ...person, groups: [...person.groups] },
    target: 'prod-db',
    role: 'engineer',
    reason: 'clean up\nstate        approved',
    ticket: 'OPS-7',
    rule: 'prod-db/engineer/wide-writes',
    approval: { by: ['leads (dba)'], count: 2, denials: 1 },
    approvals: 1,
    denials: 0,
    createdAt: '2026-11-02T10:00:00.000Z',
    expiresAt: '2026-11-02T10:30:00.000Z',
    mayVote: true,
    votes: [{ by: { ...person, name: 'dora', groups: [] }, decision: 'approve', reason: 'ok', at: '2026-11-02T10:05:00.000Z' }],
    statement: {
      session: 's_1',
      connection: 2,
      grant: 'g_1',
      sql: 'delete from users\nParameters:\n where note = $1 \u202e\u001b[2J',
      parameters: ["it's", null, { base64: 'AAE=' }, { bytes: 9 }],
      fingerprint: 'f'.repeat(64),
      parameterHash: 'a'.repeat(64),
      facts: [
        {
          command: 'DELETE',
          commands: ['DELETE', 'SELECT'],
          kinds: ['write', 'read'],
          reads: ['public.users'],
          writes: ['public.users'],
          functions: ['now'],
          locking: false,
          settings: [],
          changesRole: false,
          runsCode: true,
        },
      ],
      transaction: 'T',
      locks: ['RowExclusiveLock on public.users'],
      rowEstimate: 1200,
      isWaiting: true,
    },
  };
  expect(formatRequest(request, new Date('2026-11-02T10:10:00.000Z'))).toBe(`request      r_1
state        pending
asks for     this statement to run
user         erin
subject      u1
groups       engineering
target       prod-db
role         engineer
reason       clean up state approved
ticket       OPS-7
rule         prod-db/engineer/wide-writes
approvers    2 of leads (dba)
approved     by dora 5 min ago: ok
made         2026-11-02T10:00:00.000Z (10 min ago)
ends         2026-11-02T10:30:00.000Z (in 20 min)

SQL, exactly as it will run:
    delete from users
    Parameters:
     where note = $1 \\u{202e}\\x1b[2J
Parameters:
    $1 = 'it''s'
    $2 = NULL
    $3 = binary AAE= (base64)
    $4 = 9 bytes, not kept
What it does:
    DELETE (write, read)
      with: SELECT
      reads: public.users
      writes: public.users
      rows: no bound is proven
      calls: now
      runs code that its text does not show: yes
transaction  inside an open transaction
locks held   RowExclusiveLock on public.users
row estimate 1200 by the planner
session      s_1, connection 2; a client waits for it
fingerprint  ${'f'.repeat(64)}
`);
});

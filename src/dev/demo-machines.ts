/** The acts of the demo about machines: a pipeline that comes with its token alone, and what becomes of it when its person leaves. */
import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CiIssuer } from './ci-issuer.ts';
import type { TokenClaims } from './ci-tokens.ts';
import { neutralEnvironment } from './config.ts';
import type { Play } from './play.ts';
import type { Run } from './stage.ts';

export type Pipeline = {
  readonly issuer: CiIssuer;
  /** What the next tokens say, on top of a usual run. */
  claims: TokenClaims;
};

const erinsAccount = { actor: 'erin-c', actor_id: '1815' };

/** What the demo's policy says of the issuer, beside the targets. */
export function machinesOfDemo(issuer: string, erin: string): Record<string, unknown> {
  return {
    issuers: { github: { preset: 'github-actions', url: issuer, audience: 'gate-demo' } },
    workloads: {
      nightly: {
        issuer: 'github',
        claims: { repository_id: '4711', repository_owner_id: '9001', ref: 'refs/heads/main' },
        groups: ['ci'],
        owner: 'erin',
      },
    },
    people: { erin: { subject: erin, accounts: { github: erinsAccount.actor_id } } },
  };
}

/** A job of its own each time: an empty home, and two variables of the platform. No login, no secret. */
function job({ issuer }: Pipeline, play: Play, home: string, ...args: string[]): Run {
  const { argv, shown } = play.gate('engineer', ...args);
  const { requestUrl, requestToken } = issuer.github;
  const env = { HOME: home, GATE_CONFIG_DIR: join(home, 'gate'), GATE_RELAY: play.stack.relayUrl, CI: 'true', GITHUB_ACTIONS: 'true' };
  return { argv, shown, env: neutralEnvironment({ ...env, ACTIONS_ID_TOKEN_REQUEST_URL: requestUrl, ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken }) };
}

export async function actMachines(play: Play, pipeline: Pipeline): Promise<string> {
  const { stage, gate } = play;
  await stage.act(
    'A pipeline that leads back to a human',
    'A nightly job has no password and no login either. Its platform vouches for it with a token that lives for minutes and ' +
      'counts once; the policy says which repository and branch may do what, and which account there is Erin. The job runs in an empty home.',
  );
  const home = await mkdtemp(join(tmpdir(), 'gate-demo-job-'));
  try {
    pipeline.claims = { ...erinsAccount, run_id: '501' };
    const count = ['exec', 'prod-db', '--role', 'ci', '--reason', 'nightly count', '--output', 'csv', '--sql', 'select count(*) as orders from orders'];
    const read = await stage.run(job(pipeline, play, home, ...count));
    await stage.check('it reads, with nothing but the token of its platform', /^orders\n\d+\n$/.test(read.stdout));
    const clean = ['exec', 'prod-db', '--role', 'ci', '--reason', 'OPS-4713: nightly clean-up', '--sql', "delete from payments where method = 'voucher'"];
    const held = await stage.run(job(pipeline, play, home, ...clean), 8);
    const id = /\b(r_\w+)\b/.exec(held.stderr)?.[1] ?? '';
    await stage.say('Erin, who started the run, cannot approve it. Dario sees who stands behind it, and does. The job is run again.');
    await stage.run(gate('engineer', 'approve', id), 3);
    const shown = await stage.run(gate('dba', 'requests', 'show', id));
    await stage.check('the approver sees the person behind the job, and that it is proven', /human +verified by policy +erin /.test(shown.stdout));
    await stage.run(gate('dba', 'approve', id));
    pipeline.claims = { ...erinsAccount, run_id: '502' };
    const done = await stage.run(job(pipeline, play, home, ...clean));
    await stage.check('the same statement of the same person runs, once', done.exitCode === 0);
    pipeline.claims = { ...erinsAccount, run_id: '503', event_name: 'pull_request', ref: 'refs/pull/7/merge', head_ref: 'fork' };
    const fork = await stage.run(job(pipeline, play, home, ...count), 3);
    await stage.check('a pull request of the same repository gets nothing', fork.stderr.includes('ref'));
    const list = await stage.run(gate('operator', 'sessions', 'list', '--human', 'erin', '--limit', '1'));
    const session = /^(s_\w+)/m.exec(list.stdout)?.[1] ?? '';
    const answer = await stage.run(gate('operator', 'sessions', 'show', session));
    await stage.check('who, why, allowed by whom, what came back, and which of it is proven', /verified by token/.test(answer.stdout) && answer.stdout.includes('OPS-4713') && answer.stdout.includes(`(request ${id})`));
    return session;
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

export async function actLeaving(play: Play, pipeline: Pipeline): Promise<void> {
  const { stage, stack, gate } = play;
  await stage.act('Erin leaves', 'One line in the policy. It takes back what she has, and what acts for her: the pipeline that she owns has nobody to answer for it.');
  await appendFile(join(stack.stateDirectory, 'policy.yaml'), 'offboarded:\n  - { person: erin, reason: left the company on Friday }\n');
  const home = await mkdtemp(join(tmpdir(), 'gate-demo-job-'));
  try {
    pipeline.claims = { actor: 'somebody', actor_id: '7', run_id: '504' };
    const run = job(pipeline, play, home, 'exec', 'prod-db', '--role', 'ci', '--reason', 'nightly count', '--sql', 'select 1');
    await stack.policyTaken();
    const refused = await stage.run(run, 3);
    await stage.check('the next run is refused, and says why', refused.stderr.includes('left the company on Friday'));
    const person = await stage.run(gate('engineer', 'exec', 'prod-db', '--reason', 'one more look', '--sql', 'select 1'), 3);
    await stage.check('so is Erin herself, with a login that still lives', person.stderr.includes('left'));
    const inventory = await stage.run(gate('operator', 'inventory'));
    await stage.check('the inventory names both, and why', inventory.stdout.includes('nightly') && inventory.stdout.includes('offboarded'));
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

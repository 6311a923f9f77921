/** The examples of docs/ci.md parse, its policies are taken, and the action hands its inputs on without running them. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { platformNames } from '../../src/client/platform.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { presetNames } from '../../src/workload/workload.ts';
import { makeScratch } from './fixtures.ts';

const root = join(import.meta.dirname, '../..');
const text = readFileSync(join(root, 'docs/ci.md'), 'utf8');
const examples = [...text.matchAll(/```yaml\n(?:# (\S+)\n)?([^]*?)```/g)].map(([, name = 'targets', yaml = '']) => ({ name, yaml }));
const named = (pattern: RegExp) => examples.filter(({ name }) => pattern.test(name));
const targets = named(/^targets$/)[0]?.yaml ?? '';

describe('policies', () => {
  test.each(named(/^policy\.yaml$/))('$yaml', ({ yaml }) => {
    const policy = parsePolicy(`${yaml}${targets}`, 'docs/ci.md');
    expect(policy.machines.workloads).toHaveLength(1);
    // Groups that no role has would let nobody in.
    const roles = [...policy.targets.values()].flat();
    expect(policy.machines.workloads.flatMap(({ groups }) => groups).every((group) => roles.some((role) => role.groups.includes(group)))).toBe(true);
  });

  test('there is one for each platform', () => {
    const presets = named(/^policy\.yaml$/).flatMap(({ yaml }) => [...parsePolicy(`${yaml}${targets}`, 'docs/ci.md').machines.issuers.values()].map(({ preset }) => preset));
    expect(presets.toSorted()).toEqual(platformNames.toSorted());
    expect(presetNames.filter((name) => name !== 'generic').toSorted()).toEqual(platformNames.toSorted());
    for (const name of platformNames) expect(text).toContain(`| \`${name}\` |`);
  });
});

describe('pipelines', () => {
  test.each(examples.filter(({ name }) => name !== 'policy.yaml'))('$name is YAML', ({ yaml }) => {
    expect(parse(yaml)).toBeTypeOf('object');
  });

  test.each(named(/workflows/))('$name may ask for a token', ({ yaml }) => {
    expect(parse(yaml)).toMatchObject({ permissions: { 'id-token': 'write' } });
  });

  test('audiences of jobs are those of the policies', () => {
    expect(parse(named(/gitlab/)[0]?.yaml ?? '')).toMatchObject({ cleanup: { id_tokens: { GATE_ID_TOKEN: { aud: 'gate-relay' } } } });
    expect(named(/cronjob/)[0]?.yaml).toContain('audience: gate-relay');
    expect(named(/cronjob/)[0]?.yaml).toContain('mountPath: /var/run/secrets/gate,');
  });
});

describe('the action', () => {
  type Action = { inputs: Record<string, { required?: boolean }>; runs: { steps: { run: string; env: Record<string, string> }[] } };
  const action = async () => parse(await readFile(join(root, '.github/actions/gate-exec/action.yml'), 'utf8')) as Action;

  test('no input is written into a script', async () => {
    const { inputs, runs } = await action();
    for (const { run } of runs.steps) expect(run).not.toContain('${{');
    const used = runs.steps.flatMap(({ env }) => Object.values(env).flatMap((value) => /inputs\.([a-z]+)/.exec(value)?.[1] ?? []));
    expect([...new Set(used)].toSorted()).toEqual(Object.keys(inputs).toSorted());
    const workflow = named(/report/)[0]?.yaml ?? '';
    const given = Object.keys((parse(workflow) as { jobs: { report: { steps: { with: object }[] } } }).jobs.report.steps[0]?.with ?? {});
    expect(Object.keys(inputs)).toEqual(expect.arrayContaining(given));
    expect(given).toEqual(expect.arrayContaining(Object.entries(inputs).flatMap(([name, { required }]) => (required === true ? [name] : []))));
  });

  test('hostile inputs are arguments and nothing else; a version must be exact', async () => {
    await using scratch = await makeScratch();
    const bin = join(scratch.directory, 'node_modules/.bin');
    await mkdir(bin, { recursive: true });
    await writeFile(join(bin, 'gate'), `#!/bin/sh\nprintf '%s\\n' "$@"\n`);
    await chmod(join(bin, 'gate'), 0o755);
    const [install, run] = (await action()).runs.steps;
    const hostile = `x'; touch ${scratch.directory}/ran; $(touch ${scratch.directory}/ran) "\`touch ${scratch.directory}/ran\``;
    const blank = { GATE_INPUT_FILE: '', GATE_INPUT_ROLE: '', GATE_INPUT_TICKET: '', GATE_INPUT_WAIT: '' };
    const env = { PATH: process.env['PATH'], GATE_INPUT_DIRECTORY: scratch.directory, ...blank, GATE_INPUT_OUTPUT: 'csv', GATE_INPUT_SQL: hostile, GATE_INPUT_REASON: '--role=dba', GATE_INPUT_TARGET: '--relay=https://evil.test' };
    const bash = (script: string | undefined, more: object = {}) =>
      promisify(execFile)('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', script ?? ''], { env: { ...env, ...more } });
    const { stdout } = await bash(run?.run);
    expect(stdout.split('\n')).toEqual(['exec', '--output=csv', `--sql=${hostile}`, '--reason=--role=dba', '--', '--relay=https://evil.test', '']);
    await expect(readFile(join(scratch.directory, 'ran'))).rejects.toMatchObject({ code: 'ENOENT' });
    for (const version of ['latest', '1.2.3 --registry=https://evil.test', 'file:../x', '']) {
      await expect(bash(install?.run, { GATE_INPUT_VERSION: version })).rejects.toMatchObject({ code: 2 });
    }
  });
});

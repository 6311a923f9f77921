/** Every example of a policy that documents show is taken, every example of a test passes, and the schema is current. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { sessionNames } from '../../src/policy/catalog-file.ts';
import { examineParsed } from '../../src/policy/examined.ts';
import { policyJsonSchema } from '../../src/policy/json-schema.ts';
import { CaseFile, runCase } from '../../src/policy/policy-test.ts';
import { parsePolicy } from '../../src/policy/policy.ts';
import { loadParser, loadSyntaxParser, type ParsedSql, type Syntax } from '../../src/sql/parser.ts';
import { parseYaml } from '../../src/yaml/yaml-file.ts';
import { now } from './some.ts';

const root = join(import.meta.dirname, '../..');

function examplesOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/```yaml\n([^]*?)```/g)].map(([, yaml = '']) => yaml);
}

const examples = ['README.md', 'docs/policy.md', 'docs/automation.md'].flatMap((file) => examplesOf(file).map((yaml, index) => ({ file, index, yaml })));
const policies = examples.filter(({ yaml }) => /^targets:/m.test(yaml) && !/^issuer:/m.test(yaml));
const tests = examples.filter(({ yaml }) => /^cases:/m.test(yaml));

let parse: (sql: string) => ParsedSql;
let parseSyntax: (sql: string) => Syntax | undefined;
beforeAll(async () => {
  [parse, parseSyntax] = await Promise.all([loadParser(), loadSyntaxParser()]);
});

test('there are examples to hold', () => {
  expect(policies.length).toBeGreaterThanOrEqual(5);
  expect(tests.length).toBeGreaterThanOrEqual(1);
});

describe('policies', () => {
  test.each(policies)('$file, example $index', ({ file, yaml }) => {
    expect(parsePolicy(yaml, file).targets.size).toBeGreaterThan(0);
  });
});

describe('tests pass on the policy that stands before them', () => {
  test.each(tests)('$file, example $index', ({ file, index, yaml }) => {
    const before = policies.findLast((one) => one.file === file && one.index < index);
    const policy = parsePolicy(before?.yaml ?? '', file);
    const { cases, catalog } = parseYaml(yaml, file, CaseFile);
    for (const one of cases) {
      const names = sessionNames(catalog);
      const result = runCase(policy, one, { examined: examineParsed(parse(one.sql), names), now, names, parse: parseSyntax });
      expect(result.problems).toEqual([]);
    }
  });
});

test('docs/policy.schema.json is what the code says: npm run docs', () => {
  expect(JSON.parse(readFileSync(join(root, 'docs/policy.schema.json'), 'utf8'))).toEqual(policyJsonSchema());
});

test('the tables of the document name every key of roles and rules', () => {
  const text = readFileSync(join(root, 'docs/policy.md'), 'utf8');
  const { $defs = {} } = policyJsonSchema() as { $defs?: Record<string, { properties?: object }> };
  const keys = Object.values($defs).flatMap(({ properties }) => Object.keys(properties ?? {}));
  expect(keys.length).toBeGreaterThan(25);
  expect(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(text))).toEqual([]);
});

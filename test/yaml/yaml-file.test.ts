/** Errors of YAML files in the words and at the places that the writer of the file needs. */
import { describe, expect, test } from 'vitest';
import * as z from 'zod/mini';
import { GateError } from '../../src/errors/errors.ts';
import { parseYaml, yamlLengthMax } from '../../src/yaml/yaml-file.ts';

const Schema = z.strictObject({
  name: z.string().check(z.minLength(1)),
  count: z._default(z.int().check(z.minimum(1), z.maximum(9)), 1),
  mode: z.optional(z.enum(['on', 'off'])),
  list: z.optional(z.array(z.string()).check(z.minLength(1))),
  url: z.optional(z.url()),
  either: z.optional(z.union([z.string(), z.boolean()])),
  map: z.optional(z.record(z.string().check(z.regex(/^[a-z]+$/, 'a to z only')), z.strictObject({ deep: z.int() }))),
});

function problemOf(text: string): string {
  try {
    parseYaml(text, 'f.yaml', Schema);
  } catch (error) {
    if (error instanceof GateError && error.code === 'config-invalid') return error.message;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('what is wrong, and where', () => {
  test.each([
    ['', 'f.yaml:1:1: name: missing, write text'],
    ['# nothing', 'f.yaml:1:1: name: missing, write text'],
    ['count: 3', 'f.yaml:1:1: name: missing, write text'],
    ['just text', 'f.yaml:1:1: expected a mapping of keys to values'],
    ['- a', 'f.yaml:1:1: expected a mapping of keys to values'],
    ['name: 3', 'f.yaml:1:7: name: expected text'],
    ['name:', 'f.yaml:1:6: name: expected text'],
    ['name: ""', 'f.yaml:1:7: name: must not be empty'],
    ['name: [a]', 'f.yaml:1:7: name: expected text'],
    ['name: x\ncount: 1.5', 'f.yaml:2:8: count: expected a whole number'],
    ['name: x\ncount: 0', 'f.yaml:2:8: count: must be at least 1'],
    ['name: x\ncount: 10', 'f.yaml:2:8: count: must be at most 9'],
    ['name: x\nmode: yes', 'f.yaml:2:7: mode: expected on or off'],
    ['name: x\nlist: []', 'f.yaml:2:7: list: write at least one entry'],
    ['name: x\nlist: y', 'f.yaml:2:7: list: expected a list'],
    ['name: x\nlist:\n  - y\n  - 7', 'f.yaml:4:5: list.1: expected text'],
    ['name: x\nurl: nowhere', 'f.yaml:2:6: url: expected a URL, as in https://example.com'],
    ['name: x\neither: 3', 'f.yaml:2:9: either: expected text, or expected true or false'],
    ['name: x\nmap:\n  A: { deep: 1 }', 'f.yaml:3:3: map.A: the name is not valid: a to z only'],
    ['name: x\nmap:\n  a: { deep: x }', 'f.yaml:3:14: map.a.deep: expected a number'],
    ['name: x\nmap:\n  a: {}', 'f.yaml:3:6: map.a.deep: missing, write a number'],
    ['name: x\nmap:\n  a: { deep: 1, deeper: 2 }', 'f.yaml:3:17: map.a: unknown key "deeper", did you mean "deep"?'],
    ['name: x\nnmae: y', 'f.yaml:2:1: unknown key "nmae", did you mean "name"?'],
    ['name: x\na: 1\nb: 2', 'f.yaml:2:1: unknown key "a", "b": write name, count, mode, list, url, either, map'],
    ['name: x\n<<: { count: 2 }', 'f.yaml:2:1: unknown key "<<": write name, count, mode, list, url, either, map'],
    ['name: x\n__proto__: { count: 2 }', 'f.yaml:2:1: unknown key "__proto__": write name, count, mode, list, url, either, map'],
    ['name: x\n7: y', 'f.yaml:2:1: unknown key "7": write name, count, mode, list, url, either, map'],
    ['name: x\nname: y', 'f.yaml:2:1: Map keys must be unique'],
    ['name: !!js/function x', /^f\.yaml:1:7: Unresolved tag/],
    ['name: x\n---\nname: y', /^f\.yaml:2:1: .*multiple documents/],
    ['name: x\n  count: 3', /^f\.yaml:\d:\d+: /],
    ['name: "x', /^f\.yaml:1:9: Missing closing "quote/],
    ['name: *nowhere', /^f\.yaml: Unresolved alias .*nowhere/],
    ['name: x\nlist: &l [*l]', /^f\.yaml/],
    ['\tname: x', /^f\.yaml:1:1: Tabs are not allowed/],
  ])('%j', (text, problem) => {
    if (typeof problem === 'string') expect(problemOf(text)).toBe(problem);
    else expect(problemOf(text)).toMatch(problem);
  });

  test('all problems are told at once, one a line', () => {
    expect(problemOf('name: 3\ncount: x\nmode: 1').split('\n')).toEqual([
      'f.yaml:1:7: name: expected text',
      'f.yaml:2:8: count: expected a number',
      'f.yaml:3:7: mode: expected on or off',
    ]);
  });

  test('a problem behind an alias is shown where the anchor is', () => {
    expect(problemOf('name: x\nmap:\n  a: &m { deep: x }\n  b: *m')).toContain('f.yaml:3:17: map.b.deep');
  });
});

describe('hostile files', () => {
  test('an alias bomb is refused before it goes off', () => {
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
    for (let level = 1; level < 12; level++) {
      const [to, from] = [97 + level, 96 + level].map((code) => String.fromCharCode(code));
      bomb.push(`${to}: &${to} [${`*${from},`.repeat(9)}]`);
    }
    expect(problemOf(bomb.join('\n'))).toMatch(/Excessive alias count/);
  });

  test.each(['[', '{a: ', '- ', '? '])('%j nested without an end is an error, not a crash', (open) => {
    expect(problemOf(open.repeat(50_000))).toMatch(/^f\.yaml/);
  });

  test('the length is bounded', () => {
    const text = `name: x\n#${'x'.repeat(yamlLengthMax)}`;
    expect(problemOf(text)).toBe(`f.yaml: the file is longer than ${yamlLengthMax} characters`);
    expect(parseYaml(text.slice(0, yamlLengthMax), 'f.yaml', Schema)).toEqual({ name: 'x', count: 1 });
  });
});

test('values are plain: only true and false are booleans, dates stay text', () => {
  const Free = z.record(z.string(), z.unknown());
  expect(parseYaml('a: yes\nb: true\nc: 2026-01-01\nd: 010\ne: 0x10\nf: ~', 'f.yaml', Free)).toEqual({
    a: 'yes',
    b: true,
    c: '2026-01-01',
    d: 10,
    e: 16,
    f: null,
  });
});

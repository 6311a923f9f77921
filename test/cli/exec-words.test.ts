/** The words of an exec on their own: which parameter belongs to which text, what each type takes, and lines for a runner. */
import { describe, expect, test } from 'vitest';
import { readActions } from '../../src/cli/config.ts';
import { parametersOfJson, readParameter } from '../../src/cli/commands/exec/parameters.ts';
import { RunRecord } from '../../src/cli/commands/exec/run-record.ts';
import { planTexts, type Word } from '../../src/cli/commands/exec/sources.ts';
import { formatSummary } from '../../src/cli/commands/exec/summary.ts';
import { disarm, disarmJson, formatAnnotation } from '../../src/cli/workflow-command.ts';
import { GateError } from '../../src/errors/errors.ts';

const noFile = () => Promise.reject(new Error('no file is read'));
const read = (word: string) => readParameter(word, 1, noFile);

describe('a parameter', () => {
  test.each<[string, number, string | null]>([
    ['text:', 25, ''],
    ['text:@/etc/passwd', 25, '@/etc/passwd'],
    ['text:null', 25, 'null'],
    ['auto:a:b', 0, 'a:b'],
    ['null', 0, null],
    ['null:int', 23, null],
    ['int:-2147483648', 23, '-2147483648'],
    ['int: 7\n', 23, '7'],
    ['bigint:9223372036854775807', 20, '9223372036854775807'],
    ['numeric:1.10', 1700, '1.10'],
    ['float:-Infinity', 701, '-Infinity'],
    ['bool:TRUE', 16, 'TRUE'],
    ['date:2000-02-29', 1082, '2000-02-29'],
    ['timestamp:2026-01-31 09:30', 1114, '2026-01-31 09:30'],
    ['timestamptz:2026-01-31T09:30:00.5+05:30', 1184, '2026-01-31T09:30:00.5+05:30'],
    ['uuid:0190c5a0-1111-7222-8333-444455556666', 2950, '0190c5a0-1111-7222-8333-444455556666'],
    ['json:{"a": 1}', 114, '{"a": 1}'],
  ])('%j', async (word, typeOid, value) => {
    expect(await read(word)).toEqual({ typeOid, value });
  });

  test.each(['bytea:\\x00Ff', 'bytea:00ff', 'base64:AP8='])('%j is bytes', async (word) => {
    expect(await read(word)).toEqual({ typeOid: 17, value: Buffer.from([0, 255]) });
  });

  test.each([
    '', '42', 'http://x', 'constructor:1', 'null:nothing', 'null@file', 'int', 'int:', 'int:2147483648', 'int:1.0', 'int:0x10', 'smallint:32768',
    'bigint:9223372036854775808', 'numeric:1,0', 'numeric:.', 'bool:yes', 'date:2023-02-29', 'date:2026-1-1', 'timestamp:2026-01-31T24:00',
    'timestamptz:2026-02-28T09:30:00', 'uuid:0190c5a0', 'json:{a}', 'bytea:abc', 'base64:AP8', 'text:a\0b',
  ])('%j is refused without being repeated', async (word) => {
    const failure = await read(word).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'usage', message: expect.stringMatching(/^parameter \$1 /) });
    const value = word.replace(/^\w*[:@]?/, '');
    if (value.length > 1) expect((failure as GateError).message).not.toContain(value);
  });

  test('of a file is what stands in it, and must be text where its type is', async () => {
    const holding = (bytes: Buffer) => (word: string) => readParameter(word, 1, () => Promise.resolve(bytes));
    const line = holding(Buffer.from('12\n'));
    expect([await line('text@f'), await line('int@f')]).toEqual([{ typeOid: 25, value: '12\n' }, { typeOid: 23, value: '12' }]);
    const binary = holding(Buffer.from([0xff, 0]));
    expect(await binary('bytea@f')).toEqual({ typeOid: 17, value: Buffer.from([0xff, 0]) });
    await expect(binary('text@f')).rejects.toThrow('not UTF-8');
  });

  test.each([
    'secret', '{"a": "secret"}', '["a", 1.5]', '[9007199254740993]', '[{"type": "int", "value": 1}]', '[{"type": "itn", "value": "1"}]',
    '[{"value": "1"}]', '[["secret"]]', '["a\\u0000"]', '[{"type": "int", "value": "1", "more": 1}]',
  ])('of a JSON file like %j is refused', (text) => {
    expect(() => parametersOfJson(text, 'p.json', 1)).toThrow(GateError);
    expect(() => parametersOfJson(text, 'p.json', 1)).not.toThrow('secret');
  });
});

describe('the plan', () => {
  const word = (text: string): Word => {
    const [flag, value] = text.split('=') as [Word['flag'], string];
    return { flag, value };
  };
  const shape = (operand: string | undefined, ...texts: string[]) => {
    return planTexts(operand, texts.map(word)).map(({ source, parameters }) => [source, ...parameters.map(({ value }) => value)]);
  };

  test('gives a parameter to the text before it, and else to the first', () => {
    expect(shape(undefined, 'param=1', 'sql=a', 'param=2', 'file=b', 'sql=c', 'param-file=3')).toEqual([
      [{ text: 'a' }, '1', '2'],
      [{ file: 'b' }],
      [{ text: 'c' }, '3'],
    ]);
    expect(shape('-', 'param=1')).toEqual([['stdin', '1']]);
  });
});

describe('for the runner of GitHub Actions', () => {
  test.each([
    ['::error::x', '\\x3a:error::x'],
    ['a\n  ::stop-commands::t\r::x', 'a\n  \\x3a:stop-commands::t\r\\x3a:x'],
    ['\u0085::x\n\u0085 ::y', '\u0085\\x3a:x\n\u0085 \\x3a:y'],
    ['a ::x and ###[y]', 'a ::x and ##\\x23[y]'],
  ])('%j is no command', (text, expected) => {
    expect(disarm(text)).toBe(expected);
  });

  test('JSON keeps its values', () => {
    const value = { a: '##[add-mask]b ###[c]' };
    const line = disarmJson(JSON.stringify(value));
    expect([line.includes('##['), JSON.parse(line)]).toEqual([false, value]);
  });

  test('a remark stays one line whatever is in it', () => {
    expect(formatAnnotation('error', 'a:b,c%\n', 'x\r\n::y 100%')).toBe('::error title=a%3Ab%2Cc%25%0A::x%0D%0A::y 100%25');
  });

  test('is asked for by its variable only', () => {
    expect(readActions({ GITHUB_STEP_SUMMARY: '/s' })).toBeUndefined();
    expect(readActions({ GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: '/s' })).toEqual({ summaryFile: '/s' });
  });

  test('the summary stays far below what GitHub takes', () => {
    const texts = Array.from({ length: 500 }, () => ({ name: 'a|`b', sql: '`'.repeat(100_000) }));
    const record = new RunRecord(texts, false);
    texts.forEach((_, index) => {
      record.begin(index);
      for (let count = 0; count < 500; count++) record.addResult({ tag: 'INSERT 0 1', rows: undefined });
    });
    const summary = formatSummary({ target: 't', role: 'r', reason: 'x'.repeat(10_000), ticket: undefined, session: 's_1', record, failure: undefined, exitCode: 0 });
    expect(summary.length).toBeLessThan(1024 * 1024);
    expect(summary).toContain('and 450 more');
  });
});

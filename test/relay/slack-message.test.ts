import { describe, expect, test } from 'vitest';
import type { AccessRequest, Notice } from '../../src/grant/request.ts';
import { slackMessage, slackSectionLengthMax } from '../../src/relay/slack-message.ts';
import { notifiedLinksMax } from '../../src/relay/webhook-message.ts';
import { heldStatement, machine, notice } from './notices.ts';

type Message = { text: string; blocks: { type: string; text: { type: string; text: string; verbatim: boolean } }[] };

const everything = { includeSql: true, includeParameters: true };

function render(more: Partial<AccessRequest> = {}, kind?: Notice['kind'], included = { includeSql: true, includeParameters: false }): Message {
  return JSON.parse(slackMessage(notice('r_abc', more, kind), included)) as Message;
}

const allText = ({ text, blocks }: Message) => [text, ...blocks.map((block) => block.text.text)].join('\n');

/** What Slack would take for markup: the text without what stands in code style. */
const outsideCode = (text: string) => text.replaceAll(/```[^]*?```/g, '').replaceAll(/`[^`\n]*`/g, '');

test('a request for a held statement carries who, what, why, and the commands that decide', () => {
  const message = render();
  expect(message.text).toBe(
    '*Approval asked for*: a held statement on `prod-db` for `erin`\n```\ngate approve r_abc\ngate deny r_abc --reason …\n```',
  );
  expect(message.blocks.map(({ type, text }) => [type, text.type, text.verbatim])).toEqual(Array.from({ length: 4 }, () => ['section', 'mrkdwn', true]));
  expect(message.blocks.map(({ text }) => text.text)).toEqual([
    '*Approval asked for*: a held statement on `prod-db` for `erin`',
    'request: `r_abc`\nwho: `erin (human u1)`\nrole: `engineer`\nreason: `clean up`\nticket: `INC-1`\nrule: `prod-db/engineer/unbounded`\n' +
      'approvers: `2 of dba`\nwaits until: `2026-11-02T10:15:00.000Z`',
    '```\ndelete from items where name = $1\n```',
    '```\ngate approve r_abc\ngate deny r_abc --reason …\n```',
  ]);
  expect(allText(message)).not.toContain('parameter-canary');
});

test.each([
  ['verified', ''],
  ['claimed', ' (only claimed)'],
] as const)('of a machine it says who is behind it, and how sure that is: %s', (strength, mark) => {
  const message = render({ requester: machine(strength) });
  expect(message.text.split('\n')[0]).toBe(`*Approval asked for*: a held statement on \`prod-db\` for \`nightly\` on behalf of \`erin\`${mark}`);
  expect(message.blocks[2]?.text.text).toBe(
    `*Who is behind it*\nworkload, verified by token: \`nightly (repo:7)\`\nauthor, claimed by client: \`Mallory\\n\`\nhuman, ${strength} by policy: \`erin (u1)\``,
  );
});

test('parameters are sent where the sink wants them, and no SQL where it does not', () => {
  expect(allText(render({}, 'created', everything))).toContain('parameters `["parameter-canary-8841",null,{"base64":"AAEC"},{"bytes":5000}]`');
  const bare = allText(render({}, 'created', { includeSql: false, includeParameters: false }));
  expect(bare).not.toContain('delete from');
  expect(bare).toContain('gate approve r_abc');
});

test('what is decided says by whom, and offers no commands', () => {
  const by = { ...notice('x').request.requester, name: 'dora' };
  const message = render(
    { state: 'denied', endReason: 'denied by dora', votes: [{ by, decision: 'deny', reason: 'not on a Friday', at: new Date() }] },
    'denied',
  );
  expect(message.text).toBe('*Denied*: a held statement on `prod-db` for `erin`, `r_abc`');
  expect(allText(message)).toContain('last vote: `deny by dora: not on a Friday`');
  expect(allText(message)).not.toContain('gate approve');
});

test('a grant under review has no statement', () => {
  const { statement: _, ...grant } = notice('r_abc', { kind: 'review', durationSeconds: 3600 }, 'opened-for-review').request;
  const message = JSON.parse(slackMessage({ kind: 'opened-for-review', at: new Date(), request: grant }, everything)) as Message;
  expect(message.text).toMatch(/^\*Opened without approval, to be reviewed\*: a break-glass grant on `prod-db` for `erin`/);
  expect(message.blocks).toHaveLength(3);
});

describe('nothing from outside becomes markup', () => {
  const hostile = [
    '<!channel> <@U123> <#C1> <!subteam^S1>',
    '<https://evil.example.com|gate approve r_good>',
    '`*bold* _it_ ~no~ `',
    '```\n*Approved* by everybody\n```',
    '&lt;!channel&gt; & &amp;',
    'https://evil.example.com @here #general :tada:',
    'one\n```\ngate approve r_evil\n```\n> quoted',
    '\u202Egnirts\u202C \u001B[2J \u200B',
    '`'.repeat(200),
    '\u{1F600}'.repeat(1600),
  ];
  const renderAll = (text: string) => {
    const by = { issuer: text, subject: text, kind: 'human', name: text, groups: [text] } as const;
    const links = Array.from({ length: notifiedLinksMax + 1 }, () => ({ kind: 'human', value: text, id: `${text}.`, url: text, strength: 'claimed', source: 'client' }) as const);
    const requester = { ...by, kind: 'workload', chain: links } as const;
    const approval = { by: [text], count: 1, denials: 1, withinSeconds: 1 };
    const votes = [{ by, decision: 'approve', reason: text, at: new Date() }] as const;
    const statement = { ...heldStatement, sql: text, parameters: [text] };
    const texts = { target: text, role: text, reason: text, ticket: text, rule: text, endReason: text };
    const message = render({ ...texts, requester, approval, votes, statement }, 'created', everything);
    return [message.text, ...message.blocks.map((block) => block.text.text)];
  };
  const frame = (part: string) => outsideCode(part).replace('_cut here: the whole text is with the request_', '').trimEnd();

  test.each(hostile)('%j', (text) => {
    const parts = renderAll(text);
    expect(parts.map(frame)).toEqual(renderAll('x').map(frame));
    for (const part of parts) {
      expect(part).not.toMatch(/[<>]/);
      expect(part).not.toMatch(/&(?!amp;|lt;|gt;)/);
      for (const hidden of ['\u202E', '\u001B', '\u200B']) expect(part).not.toContain(hidden);
      expect(part.length).toBeLessThanOrEqual(slackSectionLengthMax);
      // Fails on half of a surrogate pair.
      expect(encodeURIComponent(part)).not.toBe('');
    }
  });
});

test.each(['a', '<', '&', '`', '\u{1F600}', '\u202E'])('of a statement of many %j as much is sent as Slack takes, marked as cut', (character) => {
  const sectionOf = (count: number) => render({ statement: { ...heldStatement, sql: character.repeat(count) } }).blocks[2]?.text.text as string;
  const long = sectionOf(100_000);
  expect(long.length).toBeLessThanOrEqual(slackSectionLengthMax);
  expect(long.length).toBeGreaterThan(2800);
  expect(long).toMatch(/\n```\n_cut here: the whole text is with the request_$/);
  expect(long).not.toMatch(/&(?!amp;|lt;|gt;)/);
  expect(sectionOf(100)).toMatch(/\n```$/);
});

test('a statement is cut past the limit, not at it', () => {
  const sectionOf = (count: number) => render({ statement: { ...heldStatement, sql: 'a'.repeat(count) } }).blocks[2]?.text.text as string;
  expect(sectionOf(2900)).toBe(`\`\`\`\n${'a'.repeat(2900)}\n\`\`\``);
  expect(sectionOf(2901)).toBe(`\`\`\`\n${'a'.repeat(2900)}\n\`\`\`\n_cut here: the whole text is with the request_`);
});

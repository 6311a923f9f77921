/** A parsed text as policy sees it where no relay stands behind it: facts, or a refusal that no policy can lift. Pure. */
import type { StatementFacts } from '../sql/facts.ts';
import type { StatementOutline } from '../sql/outline.ts';
import type { ParsedSql } from '../sql/parser.ts';
import { resolveFacts, type SessionNames } from '../sql/resolve.ts';

export type Examined =
  | { readonly ok: true; readonly facts: readonly StatementFacts[] }
  | { readonly ok: false; readonly rule: string; readonly reason: string };

/** `names.prepared`: what EXECUTE may stand for from before; what the text itself prepares is added. */
export function examineParsed(parsed: ParsedSql, names: SessionNames): Examined {
  if (!parsed.ok) return { ok: false, rule: 'parse', reason: parsed.message };
  const { outlines, nameChanges, pinnedSetting } = parsed.statement;
  if (pinnedSetting !== undefined) {
    return { ok: false, rule: 'pinned-settings', reason: `the setting ${pinnedSetting} cannot be changed in a session` };
  }
  const prepared = new Map<string, readonly StatementOutline[]>(names.prepared);
  for (const change of nameChanges) {
    if (change.tag === 'PREPARE') prepared.set(change.name, [...(prepared.get(change.name) ?? []), change.outline]);
  }
  return { ok: true, facts: outlines.map((outline) => resolveFacts(outline, { ...names, prepared })) };
}

/** The policy file's schema for editors, as JSON Schema. */
import * as z from 'zod/mini';
import { PolicyFile } from './policy-file.ts';

/** JSON Schema 2020-12 of what may be written; what spans several keys is checked by `gate policy check` alone. */
export function policyJsonSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(PolicyFile, { io: 'input', unrepresentable: 'any', reused: 'ref' });
  return { $schema, title: 'Policy of gate', description: 'Who may take which role on which target, and what runs under it. See docs/policy.md.', ...schema };
}

/** The arguments of the tools, checked: what a model got wrong comes back as a result that says so. */
import * as z from 'zod/mini';
import { reasonLengthMax } from '../../api/api.ts';
import { GateError } from '../../errors/errors.ts';
import type { Params } from './json-rpc.ts';
import { rowsMax } from './result.ts';

const text = (lengthMax = 200) => z.string().check(z.minLength(1), z.maxLength(lengthMax));
const wish = { target: z.optional(text()), role: z.optional(text()), reason: z.optional(text(reasonLengthMax)) };
/** The relay's limit is lower and may differ. */
const sqlLengthMax = 1024 * 1024;

export const inputs = {
  list_targets: z.strictObject({}),
  describe_schema: z.strictObject({ ...wish, schema: z.optional(text()), table: z.optional(text()) }),
  query: z.strictObject({
    ...wish,
    sql: text(sqlLengthMax),
    params: z.optional(z.array(z.union([z.string(), z.number(), z.boolean(), z.null()])).check(z.maxLength(1000))),
    max_rows: z.optional(z.int().check(z.minimum(1), z.maximum(rowsMax))),
  }),
  request_approval: z.strictObject(wish),
  check_request: z.strictObject({ id: z.string().check(z.regex(/^r_\w{1,64}$/)) }),
} as const;

/** Fails with `usage`. */
export function readInput<T extends z.ZodMiniType>(schema: T, input: Params): z.infer<T> {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  const what = issue?.code === 'unrecognized_keys' ? `there is no argument ${issue.keys.join(', ')}` : (issue?.message ?? 'not valid');
  throw new GateError('usage', `${where}${what}`, { hint: 'Correct the arguments as the input schema of the tool says, and call again.' });
}

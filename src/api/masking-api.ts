/** GET /v1/targets/:name/masking: how surely a target's columns are masked, and what stands in the way. */
import * as z from 'zod/mini';

export const MaskingInfo = z.object({
  target: z.string(),
  /** Absent where the target masks nothing. */
  level: z.optional(z.enum(['display', 'proven', 'airtight'])),
  /** For administrators and auditors of the policy only, as all that follows: it names columns. */
  reasons: z.optional(z.array(z.string())),
  findings: z.optional(z.array(z.object({ severity: z.enum(['problem', 'advice']), what: z.string(), fix: z.string() }))),
  /** That would make it airtight; empty where it is. */
  sql: z.optional(z.string()),
});
export type MaskingInfo = z.infer<typeof MaskingInfo>;

/** One exchange over HTTP: its body read within limits and checked, and failures as bodies. */
import type { Context } from 'hono';
import type * as z from 'zod/mini';
import { requestBytesMax, type ErrorBody } from '../api/api.ts';
import { GateError } from '../errors/errors.ts';

export function errorBody(error: GateError): ErrorBody {
  const { code, message, hint, rule, requestId } = error;
  return {
    error: {
      code,
      message,
      ...(hint !== undefined && { hint }),
      ...(rule !== undefined && { rule }),
      ...(requestId !== undefined && { requestId }),
    },
  };
}

/** Fails with `usage` for anything but JSON of this shape, `too-large` for more than `bytesMax` of it. */
export async function readBody<Schema extends z.ZodMiniType>(context: Context, schema: Schema, bytesMax = requestBytesMax): Promise<z.infer<Schema>> {
  const text = await readLimited(context.req.raw, bytesMax);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new GateError('usage', 'the request body is not JSON');
  }
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new GateError('usage', `${issue?.path.join('.') || 'request'}: ${issue?.message ?? 'is not valid'}`);
}

/** At most `bytesMax` are read, whatever the headers claim. */
async function readLimited(request: Request, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > bytesMax) throw new GateError('too-large', `the request body is larger than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A number of rows out of `?limit=`. */
export function readLimit(context: Context, limitMax: number): number {
  const asked = Number(context.req.query('limit') ?? 50);
  if (!Number.isInteger(asked) || asked < 1) throw new GateError('usage', 'limit must be a positive whole number');
  return Math.min(asked, limitMax);
}

/** A flag out of the query: `?name`, `?name=true`. */
export function isSet(context: Context, name: string): boolean {
  const value = context.req.query(name);
  if (value === undefined || value === 'false') return false;
  if (value === '' || value === 'true') return true;
  throw new GateError('usage', `${name} must be true or false`);
}

/** A reader must never take a part for the whole: what is damaged is said in the last line, a bug breaks the answer off. */
export async function* encodeLines(lines: AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  try {
    for await (const line of lines) yield Buffer.from(`${line}\n`);
  } catch (error) {
    if (!(error instanceof GateError)) throw error;
    yield Buffer.from(`${JSON.stringify(errorBody(error))}\n`);
  }
}

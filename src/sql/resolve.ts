/** Looks up the names of an outline in a catalog: the facts that policy decides on. Pure, total, and rather too much than too little. */
import type { Catalog } from './catalog.ts';
import { Effects } from './effects.ts';
import type { StatementFacts } from './facts.ts';
import { functionKind, runsText } from './functions.ts';
import type { FunctionUse, ObjectName, StatementOutline } from './outline.ts';
import type { SessionNames } from './session-names.ts';

export type { SessionNames };

/** Of one statement. EXECUTE is followed to what `prepared` says, one step. */
export function resolveFacts(outline: StatementOutline, names: SessionNames): StatementFacts {
  const effects = new Effects(names);
  const outlines = [outline];
  for (const name of outline.executes) {
    const executed = names.prepared?.get(name);
    if (executed === undefined || executed.some(({ executes }) => executes.length > 0)) effects.runUnknown();
    else outlines.push(...executed);
  }
  let rows = 0;
  for (const one of outlines) {
    for (const use of one.reads) effects.read(use);
    const types = one === outline ? names.parameterTypes : one.parameterTypes;
    for (const change of one.changes) rows += effects.change(change, types);
    for (const lock of one.locks) rows += effects.lock(lock, types);
    for (const use of one.functions) noteFunction(use, effects, names);
    for (const operator of one.operators) noteOperator(operator, effects, names);
    for (const type of one.types) noteType(type, effects, names);
    if (one.isUnbounded || one.runsCode) effects.isUnproven = true;
  }
  if (outlines.some((one) => one.reads.length + one.changes.length + one.functions.length + one.operators.length > 0)) {
    for (const cast of names.catalog?.data.implicitCasts ?? []) effects.run(cast);
  }
  const kinds = unique([...outlines.flatMap((one) => one.kinds), ...effects.kinds]);
  const isCounted = !effects.isUnproven && Number.isSafeInteger(rows) && kinds.every((kind) => kind === 'read' || kind === 'write');
  return {
    command: outline.command,
    commands: unique(outlines.flatMap((one) => one.commands)),
    kinds,
    reads: [...effects.reads],
    writes: [...effects.writes],
    functions: [...effects.functions],
    ...(isCounted && { rowsMax: rows }),
    locking: outlines.some((one) => one.isLocking),
    ...(outline.transaction !== undefined && { transaction: outline.transaction }),
    settings: unique(outlines.flatMap((one) => one.settings)),
    changesRole: outlines.some((one) => one.changesRole) || effects.changesRole,
    runsCode: effects.runsCode || outlines.some((one) => one.runsCode),
  };
}

/**
 * A call without a schema may be any function of that name in sight, because the best match of the arguments wins over
 * the order of the path.
 */
function noteFunction({ schema, name, as }: FunctionUse, effects: Effects, { catalog, path, isUncertain }: SessionNames): void {
  if (schema === 'pg_catalog') return effects.nameBuiltin(name);
  const known = catalog?.functionsNamed(name) ?? [];
  const fits = known.filter((one) => as === 'call' || (as === 'field' ? one.isUnary === true : one.takesRow === true));
  if (schema !== undefined) {
    const meant = fits.filter((one) => one.schema === schema);
    effects.nameFunction({ schema, name });
    if (catalog !== undefined && meant.length === 0) effects.nameFunction({ name });
    if (isUncertain === true || !isTrusted(meant)) effects.runsUnproven();
    return;
  }
  const builtins = fits.filter((one) => one.schema === 'pg_catalog');
  const others = fits.filter((one) => one.schema !== 'pg_catalog' && isInSight(one.schema, path, catalog));
  if (as !== 'call') {
    // Most of these are columns. A row's column hides what pg_catalog has of that name.
    if (as === 'field' && builtins.length > 0) effects.nameBuiltin(name);
    else if (catalog === undefined && (functionKind(name) !== undefined || runsText(name))) effects.nameFunction({ name });
    for (const one of others) effects.run(one);
    return;
  }
  if (builtins.length > 0) effects.nameBuiltin(name);
  const counting = builtins.length > 0 ? others.filter((one) => one.isTrusted !== true) : others;
  for (const one of counting) effects.run(one);
  if ((builtins.length === 0 && others.length === 0) || isUncertain === true) {
    effects.nameFunction({ name });
    effects.runsUnproven();
  }
}

function noteOperator({ schema, name }: ObjectName, effects: Effects, { catalog, path }: SessionNames): void {
  if (schema === 'pg_catalog') return;
  if (catalog === undefined) {
    effects.isUnproven = true;
    if (schema !== undefined) effects.runsUnproven();
    return;
  }
  for (const one of catalog.operatorsNamed(name)) {
    const isMeant = schema === undefined ? isInSight(one.schema, path, catalog) : one.schema === schema;
    if (isMeant && one.isTrusted !== true) effects.run(one.runs);
  }
}

/** Casts to a type run the functions of its checks, and those that users made for it. */
function noteType({ schema, name }: ObjectName, effects: Effects, { catalog }: SessionNames): void {
  for (const one of catalog?.typesNamed(name) ?? []) {
    if (schema === undefined || one.schema === schema) for (const run of one.runs ?? []) effects.run(run);
  }
}

function isTrusted(functions: readonly { readonly schema: string; readonly isTrusted?: true }[]): boolean {
  return functions.length > 0 && functions.every((one) => one.schema === 'pg_catalog' || one.isTrusted === true);
}

function isInSight(schema: string, path: readonly string[] | undefined, catalog: Catalog | undefined): boolean {
  return path === undefined ? !schema.startsWith('pg_temp') : path.includes(schema) && catalog?.hasSchema(schema) === true;
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

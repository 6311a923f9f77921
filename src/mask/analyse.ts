/** Decides on a masked principal's text node by node: admitted whole, with masks spliced in, or refused. Pure and total. */
import { firstUserId, type Catalog } from '../sql/catalog.ts';
import type { RelationDetails } from '../sql/catalog-details.ts';
import type { Syntax } from '../sql/parser.ts';
import type { SessionNames } from '../sql/session-names.ts';
import { applyEdits, charactersIn, sortEdits, Tokens } from './edits.ts';
import type { Edit, Masked } from './masked.ts';
import type { MaskPlan } from './plan.ts';
import { askForRole, Refusal } from './refusal.ts';
import { findRelation } from './relations.ts';
import { isReplaced } from './splice.ts';
import { StatementWalk } from './statements.ts';
import type { ExpandedView } from './walk.ts';
import { kindOf, listOf, type Node } from './tree.ts';
import { checkRewritten, type Rewritten } from './verify.ts';

/** Longest text of a masked principal, in bytes. */
export const maskedSqlBytesMax = 128 * 1024;
/** Views of views are taken in so deep. */
const viewDepthMax = 16;
/** All views that a statement takes in come to so much at most, views in views counted again. */
export const viewsCharactersMax = 256 * 1024;

export type MaskedText = {
  readonly sql: string;
  readonly syntax: Syntax;
  /** Of the session; its path is pinned, and never unknown. `prepared` holds the names that EXECUTE may run. */
  readonly names: SessionNames;
  readonly plan: MaskPlan;
  /** Type OIDs that Parse declares. */
  readonly parameterTypes: readonly number[];
  /** People have to approve the statement: then it may change and lock any rows of tables without masks. */
  readonly isHeld: boolean;
  /** Parses definitions of views. */
  readonly parse: (sql: string) => Syntax | undefined;
};

/** Parses each text that is asked for, and does not let go before the end. */
export function maskStatement(text: MaskedText): Masked {
  return finish(maskInTurns(text), text);
}

/**
 * The same in pieces that are short unless a single statement is long. It yields what came out to see it checked, or
 * undefined where others may go on in between.
 */
export function* maskInTurns(text: MaskedText): Turns<Masked> {
  try {
    return yield* mask(text, { left: viewsCharactersMax, known: new Map() });
  } catch (error) {
    if (error instanceof Refusal) return refusal(error, text.sql);
    // The tree is deeper than the stack.
    if (error instanceof RangeError) return refusal(new Refusal('syntax', 'the statement is nested too deeply', 'Split it.'), text.sql);
    throw error;
  }
}

/** A text that came of edits. Without any, it is the client's own. */
export type CameOut = { readonly rewritten: string; readonly edits: readonly Edit[] };
export type Turns<T> = Generator<CameOut | undefined, T, Rewritten | undefined>;

function finish<T>(turns: Turns<T>, { syntax, parse }: Pick<MaskedText, 'syntax' | 'parse'>): T {
  const check = ({ rewritten, edits }: CameOut) => checkRewritten(syntax, edits.length === 0 ? syntax : parse(rewritten), edits);
  let step = turns.next();
  while (step.done !== true) step = turns.next(step.value === undefined ? undefined : check(step.value));
  return step.value;
}

/** What the views of one text have come to so far, each worked out once. */
type Views = { left: number; readonly known: Map<string, ExpandedView> };

function* mask(text: MaskedText, views: Views, depth = 0): Turns<Extract<Masked, { ok: true }>> {
  const { sql, syntax, names, plan, parse } = text;
  const bytes = Buffer.from(sql, 'utf8');
  if (bytes.length > maskedSqlBytesMax) throw tooLong();
  if (bytes.toString('utf8') !== sql) throw new Refusal('syntax', 'the statement is not valid Unicode', 'Send UTF-8.');
  if (plan.problem !== undefined) throw new Refusal('catalog', plan.problem.reason, plan.problem.hint);
  if (names.path === undefined || names.catalog?.data.details === undefined) throw new Refusal('catalog', 'what names stand for is not known', 'Connect again.');
  for (const type of text.parameterTypes) checkParameterType(type, plan);
  const expandView = (definition: string) => {
    const view = views.known.get(definition) ?? expand(definition);
    views.known.set(definition, view);
    views.left -= view.sql.length;
    if (views.left < 0) throw new Refusal('relation', `the views that it reads come to more than ${viewsCharactersMax} characters`, 'Read their tables.');
    return view;
  };
  const expand = (definition: string) => {
    if (depth >= viewDepthMax) throw new Refusal('relation', 'views are nested too deeply', 'Read its tables.');
    const inner = asDefinition(definition);
    const parsed = parse(inner);
    if (parsed === undefined) throw new Refusal('relation', 'the definition of the view cannot be read', askForRole);
    // Names that the definition writes without a schema are looked up by the server where the client's are.
    return finish(mask({ ...text, sql: inner, syntax: parsed, parameterTypes: [] }, views, depth + 1), { syntax: parsed, parse });
  };
  const tokens = new Tokens(syntax.tokens);
  yield undefined;
  const walk = new StatementWalk({ bytes, tokens, names, plan, expandView, isStored: depth > 0, isHeld: text.isHeld });
  for (const item of listOf(syntax.tree.stmts)) {
    yield undefined;
    const found = kindOf((item as Node)['stmt']);
    if (found !== undefined) walk.run(...found, item as Node);
  }
  yield undefined;
  const edits = sortEdits(bytes, walk.edits);
  const out = applyEdits(bytes, edits);
  const isMasked = (relation: Node) => isReplaced(findRelation(relation, { names, plan }));
  // Also where there is nothing to edit: a relation that the walk has passed by would be read as it is.
  const checked = yield { rewritten: out, edits };
  if (checked?.isSame !== true || checked.relations.some(isMasked)) {
    throw new Refusal('syntax', 'the rewritten statement is not what it should be', 'Write it in plainer words.');
  }
  return { ok: true, sql: out, edits, columns: [...walk.masked.values()], stored: walk.stored, isWrite: walk.isWrite };
}

/** What a text that is longer than `maskedSqlBytesMax` comes to, known before it is parsed. */
export function refusedAsTooLong(sql: string): Masked | undefined {
  return Buffer.byteLength(sql) > maskedSqlBytesMax ? refusal(tooLong(), sql) : undefined;
}

function tooLong(): Refusal {
  return new Refusal('syntax', `the statement is longer than ${maskedSqlBytesMax} bytes`, 'Split it, or send values as parameters.');
}

/** pg_get_viewdef ends it as a statement. */
export function asDefinition(definition: string): string {
  return definition.replace(/;\s*$/, '');
}

/** Values of a type are read by its input function, and by the checks of a domain. */
function checkParameterType(type: number, plan: MaskPlan): void {
  if (type >= 0 && type < firstUserId) return;
  const problem = plan.typeProblem(type);
  if (problem !== undefined) throw new Refusal('type', `the type of a parameter (${type}) is not known to be safe: ${problem}`, 'Declare it as text.');
}

function refusal({ element, message, hint, at }: Refusal, sql: string): Masked {
  const before = at === undefined ? undefined : charactersIn(Buffer.from(sql, 'utf8').subarray(0, at));
  return { ok: false, rule: `masks/${element}`, reason: message, hint, ...(before !== undefined && { position: before + 1 }) };
}

/** Code that is stored in the catalog: an expression over `relation`'s columns, or a whole query of a view. */
export type StoredText = {
  readonly sql: string;
  readonly kind: 'expression' | 'query';
  readonly syntax: Syntax | undefined;
  readonly catalog: Catalog;
  readonly relation?: RelationDetails;
  /** Functions of users that policy trusts, "schema.name". */
  readonly trusts: ReadonlySet<string>;
  /** As in MaskPlan. */
  readonly typeProblem: (id: number) => string | undefined;
};

/** `columns`: of `relation`, as far as the text tells; `relations`: what it reads, by OID. */
export type StoredCode =
  | { readonly ok: true; readonly columns: readonly string[]; readonly isWholeRow: boolean; readonly relations: readonly number[] }
  | { readonly ok: false; readonly reason: string };

/** `syntax`: of "SELECT <expression>", or of the query. Names are looked up nowhere but where they say. */
export function checkStored({ sql, kind, syntax, catalog, relation, trusts, typeProblem }: StoredText): StoredCode {
  if (syntax === undefined) return { ok: false, reason: 'it cannot be parsed' };
  const found = kindOf((listOf(syntax.tree.stmts)[0] as Node | undefined)?.['stmt']);
  if (found?.[0] !== 'SelectStmt' || syntax.tree.stmts?.length !== 1) return { ok: false, reason: 'it is no expression' };
  try {
    const walk = new StatementWalk({
      bytes: Buffer.from(sql, 'utf8'),
      tokens: new Tokens(syntax.tokens),
      names: { catalog, path: [] },
      plan: openPlan(catalog, trusts, typeProblem),
      expandView: () => ({ sql: '', columns: [] }),
      isStored: true,
      isHeld: false,
    });
    walk.run(...found, {});
    if (kind === 'expression' && walk.sources.relations.length > 0) return { ok: false, reason: 'it reads other rows' };
    const names = walk.sources.references.map((reference) => reference.names.at(-1));
    const isWholeRow = names.some((name) => name === undefined || (relation !== undefined && !relation.columns.some((column) => column.name === name)));
    return { ok: true, columns: [...new Set(names.filter((name) => name !== undefined))], isWholeRow, relations: [...walk.reads] };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, reason: error.message };
    if (error instanceof RangeError) return { ok: false, reason: 'it is nested too deeply' };
    throw error;
  }
}

/** For code that only has to be understood: every relation is read as it is. */
function openPlan(catalog: Catalog, trusts: ReadonlySet<string>, typeProblem: MaskPlan['typeProblem']): MaskPlan {
  return {
    digest: '',
    level: 'proven',
    serverMajor: catalog.data.details?.serverMajor ?? 0,
    trusts,
    images: [],
    rawColumns: new Set(),
    relation: (id) => {
      const known = catalog.relation(id);
      return known === undefined ? undefined : { id, schema: known.schema, name: known.name, access: 'clean' };
    },
    writeProblem: () => undefined,
    typeProblem,
  };
}

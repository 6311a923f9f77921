/** References to columns: those that could call a function, those that are hidden, and names that need their schema taken off. */
import type { SessionNames } from '../sql/session-names.ts';
import { isUnsafeAsField } from './functions.ts';
import type { MaskPlan } from './plan.ts';
import { Refusal } from './refusal.ts';
import type { Found } from './relations.ts';
import { listOf, locationOf, nodeOf, stringOf, type Node } from './tree.ts';

/** A relation of a FROM under the name by which the statement speaks of it. */
export type Source = { readonly alias: string; readonly found: Found; readonly hasAlias: boolean };

type Reference = { readonly names: readonly (string | undefined)[]; readonly at: number | undefined };

const systemColumns = new Set(['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid']);

/** What a statement reads from, and which columns it names, collected over the whole of it: an alias may stand for several. */
export class Sources {
  readonly #relations: Source[] = [];
  readonly #others = new Set<string>();
  readonly references: Reference[] = [];
  readonly fields: { readonly name: string; readonly at: number | undefined }[] = [];
  readonly #levels: Source[][] = [];

  /** Of one SELECT; the function that is returned answers the relations of its own FROM. */
  beginSelect(): () => readonly Source[] {
    const level: Source[] = [];
    this.#levels.push(level);
    return () => {
      this.#levels.splice(this.#levels.indexOf(level), 1);
      return level;
    };
  }

  addRelation(found: Found, node: Node): void {
    const alias = node['alias'] as Node | undefined;
    const source = { alias: String(alias?.['aliasname'] ?? node['relname']), found, hasAlias: alias !== undefined };
    // Names of columns are given anew.
    if (listOf(alias?.['colnames']).length > 0) this.#others.add(source.alias);
    else this.#relations.push(source);
    this.#levels.at(-1)?.push(source);
  }

  addOther(alias: Node | undefined): void {
    if (alias !== undefined) this.#others.add(String(alias['aliasname']));
  }

  noteColumn(node: Node): void {
    this.references.push({ names: listOf(node['fields']).map(stringOf), at: locationOf(node) });
  }

  noteFields(node: Node): void {
    for (const item of listOf(node['indirection'])) {
      const name = stringOf(item);
      if (name !== undefined) this.fields.push({ name, at: undefined });
    }
  }

  /** Undefined where the name could also be something else than these relations. */
  named(alias: string): readonly Source[] | undefined {
    return this.#others.has(alias) ? undefined : this.#relations.filter((source) => source.alias === alias);
  }

  get relations(): readonly Source[] {
    return this.#relations;
  }

  get hasOthers(): boolean {
    return this.#others.size > 0;
  }
}

export function checkColumns(sources: Sources, look: { readonly names: SessionNames; readonly plan: MaskPlan }): void {
  for (const { name, at } of sources.fields) {
    if (isUnsafeAsField(name, look)) throw callsFunction(name, at);
  }
  for (const { names, at } of sources.references) {
    const name = names.at(-1);
    if (name === undefined) continue;
    const alias = names.length > 1 ? names.at(-2) : undefined;
    if (names.length > 1 && isUnsafeAsField(name, look) && !isColumnOf(sources, names, name)) throw callsFunction(name, at);
    if (name === 'attmissingval') throw new Refusal('column', 'attmissingval holds values of columns', 'Leave it out.', at);
    checkVisible(sources, alias, name, at);
  }
}

function isColumnOf(sources: Sources, names: readonly (string | undefined)[], name: string): boolean {
  if (names.length > 3) return false;
  const named = sources.named(names.at(-2) ?? '');
  return named !== undefined && named.length > 0 && named.every(({ found }) => found.columns?.includes(name) === true);
}

/** For a clear word only: the sub-select does not hold these columns. */
function checkVisible(sources: Sources, alias: string | undefined, name: string, at: number | undefined): void {
  const candidates = alias === undefined ? sources.relations : (sources.named(alias) ?? []);
  const hiding = candidates.find(({ found }) => found.hidden?.includes(name) === true);
  if (hiding !== undefined && !candidates.some(({ found }) => found.columns?.includes(name) === true) && (alias !== undefined || !sources.hasOthers)) {
    const { schema, name: relation } = hiding.found;
    throw new Refusal('column', `the column ${schema}.${relation}.${name} is not classified by the policy, or its type is not proven, so it is hidden`, 'Whoever keeps the policy can name it in a rule of masks, as clear or with a mask.', at);
  }
  if (!systemColumns.has(name)) return;
  const spliced = candidates.find(({ found }) => found.planned !== undefined && found.planned.access !== 'clean');
  if (spliced === undefined || candidates.some(({ found }) => found.planned === undefined || found.planned.access === 'clean')) return;
  throw new Refusal('column', `${name} of ${spliced.found.schema}.${spliced.found.name} tells how raw values are stored`, 'Use the key of the table.', at);
}

function callsFunction(name: string, at: number | undefined): Refusal {
  return new Refusal('function', `.${name} could call a function of that name, which is not known to be safe`, 'Give the column another name, or name it without its table.', at);
}

/** Whether a reference names the schema of a relation that is spliced without an alias. */
export function isSplicedWithSchema(sources: Sources, { names }: Reference): boolean {
  const [schema, relation] = names;
  return (
    names.length === 3 &&
    sources.relations.some(({ found, hasAlias }) => !hasAlias && found.name === relation && found.schema === schema && found.planned !== undefined && found.planned.access !== 'clean')
  );
}

export function isStar(item: unknown): boolean {
  return nodeOf(item, 'A_Star') !== undefined;
}

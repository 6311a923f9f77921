/** What a relation's name stands for: looked up as the server does under a pinned search_path, then asked of the plan. */
import type { SessionNames } from '../sql/session-names.ts';
import type { RelationDetails } from '../sql/catalog-details.ts';
import { catalogRelations, refusedInformation } from './lists.ts';
import type { MaskedColumn } from './masked.ts';
import type { MaskPlan, PlannedRelation } from './plan.ts';
import { askForRole, Refusal } from './refusal.ts';
import { locationOf, type Node } from './tree.ts';

export type Found = {
  /** Absent for relations of the catalog's own schemas. */
  readonly id?: number;
  readonly schema: string;
  readonly name: string;
  readonly planned?: PlannedRelation;
  readonly details?: RelationDetails;
  /** Columns that a statement may name; undefined where that is not known. */
  readonly columns?: readonly string[];
  /** Hidden from principals with masks. */
  readonly hidden?: readonly string[];
  readonly masked?: readonly MaskedColumn[];
  /** Of the catalog's own relations: their columns depend on it. */
  readonly serverMajor?: number;
};

const ownSchemas = new Set(['pg_catalog', 'information_schema']);

export type Look = { readonly names: SessionNames; readonly plan: MaskPlan };

/** Fails with the reason for one that is not there, not known, or not to be read. */
export function findRelation(node: Node, look: Look): Found {
  const name = String(node['relname']);
  const at = locationOf(node);
  const schema = node['schemaname'] === undefined ? undefined : String(node['schemaname']);
  if (schema?.startsWith('pg_temp') === true || schema?.startsWith('pg_toast') === true) throw unknownRelation(`${schema}.${name}`, at);
  const relation = look.names.catalog?.relationsNamed(name).filter((one) => schema === undefined || one.schema === schema) ?? [];
  const [first] = schema === undefined ? searchOrder(look.names).flatMap((one) => relation.filter((each) => each.schema === one)) : relation;
  if (first === undefined) throw unknownRelation(schema === undefined ? name : `${schema}.${name}`, at);
  if (ownSchemas.has(first.schema)) return { ...findOwn(first.schema, name, at), serverMajor: look.plan.serverMajor };
  const planned = look.plan.relation(first.id);
  if (planned === undefined) throw unknownRelation(`${first.schema}.${name}`, at);
  if (planned.access === 'refused') throw new Refusal('relation', `${first.schema}.${name} cannot be read with masks: ${planned.reason}`, planned.hint ?? askForRole, at);
  const details = look.names.catalog?.detailsOf(first.id);
  const found = { id: first.id, schema: first.schema, name, planned, ...(details && { details }) };
  if (planned.access !== 'masked') return { ...found, columns: details?.columns.map((column) => column.name) ?? [], hidden: [] };
  const masked = planned.columns.flatMap((column) =>
    column.mask === undefined ? [] : [{ column: `${first.schema}.${name}.${column.name}`, rule: column.mask.rule, kind: column.mask.kind }],
  );
  return { ...found, columns: planned.columns.map((column) => column.name), hidden: planned.hidden, masked };
}

/** Schemas in the order in which the server looks a bare name up. Temporary relations come last and cannot be made. */
export function searchOrder({ path = [] }: SessionNames): readonly string[] {
  return path.includes('pg_catalog') ? path : ['pg_catalog', ...path];
}

function findOwn(schema: string, name: string, at: number | undefined): Found {
  const isShown = schema === 'pg_catalog' ? catalogRelations.has(name) : !refusedInformation.has(name) && !name.startsWith('_pg_');
  if (isShown || name === 'pg_settings') return { schema, name };
  throw new Refusal(
    'relation',
    `${schema}.${name} can show data, statistics of it, or what others run`,
    'With masks, catalogs that describe the database can be read: pg_class, pg_attribute, information_schema and the like.',
    at,
  );
}

function unknownRelation(name: string, at: number | undefined): Refusal {
  return new Refusal('relation', `the relation ${name} is not known`, 'Check its name and schema; one that was made a moment ago is known within seconds.', at);
}

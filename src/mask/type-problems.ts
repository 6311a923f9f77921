/** Which types outside pg_catalog are safe to make values of: enums, those of pure extensions, and domains and rows made of such. */
import type { TypeDetails } from '../sql/catalog-details.ts';
import type { StoredCode } from './analyse.ts';

/** OID of a type or its array → why it is not safe; undefined for one that is. */
export function typeProblems(types: readonly TypeDetails[], check: (sql: string) => StoredCode): ReadonlyMap<number, string | undefined> {
  const byName = new Map(types.map((type) => [`${type.schema}.${type.name}`, type]));
  const known = new Map<TypeDetails, string | undefined>();
  const problemOf = (type: TypeDetails): string | undefined => {
    if (known.has(type)) return known.get(type);
    // A type that holds itself is judged by its other parts.
    known.set(type, undefined);
    const problem = ownProblem(type, check) ?? fieldProblem(type);
    known.set(type, problem);
    return problem;
  };
  const fieldProblem = (type: TypeDetails): string | undefined => {
    for (const { name, baseType } of type.fields ?? []) {
      const field = baseType.includes('.') ? byName.get(baseType.replace(/\._/, '.')) : undefined;
      if (baseType.includes('.') && field === undefined) return `its field ${name} has a type that is not known`;
      const problem = field && problemOf(field);
      if (problem !== undefined) return `its field ${name}: ${problem}`;
    }
    return undefined;
  };
  return new Map(types.flatMap((type) => [[type.id, problemOf(type)], [type.arrayId, problemOf(type)]] as [number, string | undefined][]).filter(([id]) => id !== 0));
}

function ownProblem({ kind, isTrusted, checks, base }: TypeDetails, check: (sql: string) => StoredCode): string | undefined {
  switch (kind) {
    case 'e':
    case 'c':
      return undefined;
    case 'd': {
      if (base?.startsWith('pg_catalog.') !== true && !/^[a-z ]+(?:\(|$)/.test(base ?? '.')) return 'it is a domain over a type outside pg_catalog';
      const failed = checks?.map(({ name, sql }) => ({ name, code: check(sql) })).find(({ code }) => !code.ok);
      return failed === undefined || failed.code.ok ? undefined : `its check ${failed.name} is not proven: ${failed.code.reason}`;
    }
    default:
      return isTrusted === true ? undefined : 'its values are made by code that is not known';
  }
}

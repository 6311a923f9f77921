/** Conditions of the policy file: CEL, compiled and type-checked once, bounded in cost, with RE2 behind `matches`. */
import { Environment, type ASTNode } from '@marcbachmann/cel-js';
import { messageOf } from '../errors/errors.ts';
import { nearest } from '../yaml/nearest.ts';
import { createTextPattern, textPatternLengthMax, type TextPattern } from './pattern.ts';
import { registerShapes, shapeFields } from './condition-values.ts';

/** Longest text of a condition. */
export const conditionLengthMax = 4000;
const limits = { maxAstNodes: 400, maxDepth: 24, maxListElements: 200, maxMapEntries: 1, maxCallArguments: 4 };
/** exists, all, filter and map inside one another: each level multiplies the work by the length of a list. */
const loopDepthMax = 2;

/** The variables that a condition may speak of, by the place where it stands. */
const places = {
  role: ['principal', 'target', 'now'],
  rule: ['principal', 'grant', 'target', 'statement', 'now'],
  approvers: ['approver', 'request'],
} as const;
export type Place = keyof typeof places;

export type Condition = {
  readonly source: string;
  /** Whether the result may change with time alone. */
  readonly readsTime: boolean;
  /** `problem`: it could not be evaluated, and neither answer is right. Never throws. */
  test(scope: object): { readonly holds: boolean; readonly problem?: string };
};

/** What is wrong with a condition, and at which offset of its text. */
export class ConditionError extends Error {
  constructor(
    message: string,
    readonly offset: number,
  ) {
    super(message);
  }
}

/** What a condition may call; everything else of CEL is left out because its cost or its meaning is not plain enough. */
const functions = new Set(
  `has all exists exists_one filter map size startsWith endsWith contains matches lowerAscii upperAscii timestamp duration
  int double string getHours getMinutes getSeconds getDayOfWeek getDate getDayOfMonth getMonth getFullYear`.split(/\s+/),
);
const loops = new Set(['all', 'exists', 'exists_one', 'filter', 'map']);
const re2Name = 'matchesRe2';

const environments = new Map<Place, Environment>();

function environmentFor(place: Place): Environment {
  let environment = environments.get(place);
  if (environment === undefined) {
    environment = new Environment({ limits });
    registerShapes(environment);
    environment.registerFunction(`string.${re2Name}(string): bool`, (text: string, pattern: string) =>
      patternOf(pattern).matches(text),
    );
    for (const name of places[place]) {
      environment.registerVariable(name, name === 'now' ? 'google.protobuf.Timestamp' : shapeOf(name));
    }
    environments.set(place, environment);
  }
  return environment;
}

function shapeOf(variable: string): string {
  return variable === 'approver' ? 'Principal' : `${variable.charAt(0).toUpperCase()}${variable.slice(1)}`;
}

const patterns = new Map<string, TextPattern>();

/** Patterns are literals of the policy file: there are few, and each is compiled once. */
function patternOf(source: string): TextPattern {
  let pattern = patterns.get(source);
  if (pattern === undefined) {
    pattern = createTextPattern(source, { isWhole: false });
    if (patterns.size >= 10_000) patterns.clear();
    patterns.set(source, pattern);
  }
  return pattern;
}

/** Compiles and checks a condition. Fails with ConditionError, which says what to write instead. */
export function compileCondition(source: string, place: Place): Condition {
  if (source.length > conditionLengthMax) throw new ConditionError(`the condition is longer than ${conditionLengthMax} characters`, 0);
  const environment = environmentFor(place);
  let parsed: ReturnType<Environment['parse']>;
  try {
    parsed = environment.parse(source);
  } catch (error) {
    throw conditionError(error, place, source);
  }
  const names = examine(parsed.ast, 0);
  const checked = parsed.check();
  if (!checked.valid) throw conditionError(checked.error, place, source);
  if (checked.type !== 'bool') {
    throw new ConditionError(`a condition must be true or false, this is of type ${checked.type}: compare it with something`, 0);
  }
  return {
    source,
    readsTime: names.has('now'),
    test(scope) {
      try {
        const value: unknown = parsed(scope);
        return typeof value === 'boolean' ? { holds: value } : { holds: false, problem: 'it gives neither true nor false' };
      } catch (error) {
        return { holds: false, problem: summaryOf(error) };
      }
    },
  };
}

/** Walks the tree before it is compiled: refuses what is not for policies, and puts RE2 in place of `matches`. */
function examine(root: ASTNode, depth: number, names = new Set<string>()): Set<string> {
  const node = root as unknown as { op: string; args: unknown; start?: number };
  if (node.op === 'id') names.add(String(node.args));
  let inner = depth;
  if (node.op === 'call' || node.op === 'rcall') {
    const args = node.args as unknown[];
    const name = String(args[0]);
    if (!functions.has(name)) {
      const near = nearest(name, [...functions]);
      throw new ConditionError(`${name}() is not available in conditions${near === undefined ? '' : `, did you mean ${near}()?`}`, node.start ?? 0);
    }
    if (name === 'has') checkField(args[1]);
    if (node.op === 'rcall' && name === 'matches') usePattern(node, args);
    if (node.op === 'rcall' && loops.has(name) && ++inner > loopDepthMax) {
      throw new ConditionError(`${[...loops].join(', ')} may stand in one another ${loopDepthMax} deep`, node.start ?? 0);
    }
  }
  for (const child of childrenOf(node.args)) examine(child, inner, names);
  return names;
}

/** The library takes any name in has(…); one that no value ever has would be false for ever. */
function checkField(list: unknown): void {
  const [field] = list as { op: string; args: unknown; start?: number; pos?: number }[];
  const name = field?.op === '.' ? String((field.args as unknown[])[1]) : undefined;
  if (name === undefined || shapeFields.has(name)) return;
  const near = nearest(name, shapeFields);
  throw new ConditionError(`No such key: ${name}${near === undefined ? '' : `, did you mean ${near}?`}`, field?.pos ?? 0);
}

function usePattern(node: { start?: number }, args: unknown[]): void {
  const pattern = (args[2] as { op: string; args: unknown; start?: number }[])[0];
  if (pattern?.op !== 'value' || typeof pattern.args !== 'string') {
    throw new ConditionError('write the pattern of matches() as a literal text', pattern?.start ?? node.start ?? 0);
  }
  if (pattern.args.length > textPatternLengthMax) {
    throw new ConditionError(`the pattern is longer than ${textPatternLengthMax} characters`, pattern.start ?? 0);
  }
  try {
    patternOf(pattern.args);
  } catch (error) {
    throw new ConditionError(`this is no RE2 pattern: ${messageOf(error)}`, pattern.start ?? 0);
  }
  args[0] = re2Name;
}

function childrenOf(args: unknown): ASTNode[] {
  if (Array.isArray(args)) return args.flatMap(childrenOf);
  return typeof args === 'object' && args !== null && 'op' in args ? [args as ASTNode] : [];
}

type CelFailure = { readonly code?: string; readonly summary?: string; readonly range?: { readonly start: number } };

function conditionError(error: unknown, place: Place, source: string): ConditionError {
  const { code, range } = error as CelFailure;
  const offset = range?.start ?? 0;
  return new ConditionError(`${summaryOf(error)}${adviceFor(code, summaryOf(error), place, source)}`, offset);
}

function adviceFor(code: string | undefined, summary: string, place: Place, source: string): string {
  const name = summary.split(': ').at(-1) ?? '';
  if (code === 'unknown_variable') {
    const near = nearest(name, places[place]);
    return near === undefined ? `, write one of ${places[place].join(', ')}` : `, did you mean ${near}?`;
  }
  if (code === 'no_such_key') {
    const near = nearest(name, [...shapeFields]);
    return near === undefined ? `, see docs/policy.md for the fields` : `, did you mean ${near}?`;
  }
  if (summary.startsWith('Exceeded')) return ': split the condition into several rules';
  if (/ ==? ?null\b/.test(source)) return ', ask has(…) whether a field is there';
  return '';
}

function summaryOf(error: unknown): string {
  return (error as CelFailure).summary ?? messageOf(error);
}

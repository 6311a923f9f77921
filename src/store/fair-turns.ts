/** Lets the rest of the process have a turn between two writes: each one keeps the event loop until the disk has it. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { KyselyPlugin, PluginTransformQueryArgs, PluginTransformResultArgs, QueryResult, RootOperationNode, UnknownRow } from 'kysely';

const writes: readonly RootOperationNode['kind'][] = ['InsertQueryNode', 'UpdateQueryNode', 'DeleteQueryNode'];

/** Many writes at once would else follow each other without a break, and sockets would not be served for seconds. */
export class FairTurns implements KyselyPlugin {
  readonly #writing = new WeakSet<object>();

  transformQuery({ node, queryId }: PluginTransformQueryArgs): RootOperationNode {
    if (writes.includes(node.kind)) this.#writing.add(queryId);
    return node;
  }

  async transformResult({ result, queryId }: PluginTransformResultArgs): Promise<QueryResult<UnknownRow>> {
    if (this.#writing.has(queryId)) await nextTurn();
    return result;
  }
}

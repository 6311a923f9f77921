/** gate policy schema: the JSON Schema of policy files, for editors. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';

export function schemaCommand(context: Context): Command {
  return new Command('schema')
    .summary('print the JSON Schema of policy files')
    .description('For editors: begin a policy file with  # yaml-language-server: $schema=./policy.schema.json')
    .action(() => runPolicySchema(context));
}

export async function runPolicySchema({ io }: Context): Promise<void> {
  const { policyJsonSchema } = await import('../../../policy/json-schema.ts');
  if (io.json) return io.writeJson(policyJsonSchema());
  await io.write(`${JSON.stringify(policyJsonSchema(), null, 2)}\n`);
}

/** gate audit receipt: the proof that a session stands in the record, to keep or to hand on. */
import { Command } from 'commander';
import type { Context } from '../../context.ts';

type Flags = { readonly output?: string };

export function receiptCommand(context: Context): Command {
  return new Command('receipt')
    .summary('fetch the receipt of a session')
    .description('The receipt ties the last entry of a session to a signed checkpoint. For its owner, and for auditors.')
    .argument('<session>', 'its id, or as much of the beginning as no other session shares')
    .option('--output <file>', 'a new file to write it to, in place of stdout')
    .action((id: string, flags: Flags) => runAuditReceipt(context, id, flags));
}

/** One line of JSON, with and without `--json`. */
export async function runAuditReceipt(context: Context, id: string, { output }: Flags): Promise<void> {
  const { io } = context;
  const [client, { checkReceipt }, { writeNewFile }] = await Promise.all([
    context.relay(),
    import('../../../client/receipts.ts'),
    import('../../output-file.ts'),
  ]);
  const receipt = await client.receipt(id);
  const origin = checkReceipt(receipt);
  const text = `${JSON.stringify(receipt)}\n`;
  if (output === undefined) return io.write(text);
  await writeNewFile(output, (write) => write(text));
  io.say(`The receipt of session ${receipt.session} is in ${output}: entry ${receipt.index} of ${origin}.`);
}

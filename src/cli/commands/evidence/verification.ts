/** What the verifier says of the bundle in a collection of evidence. */
import type { Report } from '../../../audit/verify-report.ts';
import { formatReport, verifyDirectory } from '../audit/verify.ts';

export type Verification = { readonly text: string; readonly result: Report['result'] };

/** A record that is still written has open sessions: that makes it incomplete, not intact. */
export async function verifyBundle(directory: string): Promise<Verification> {
  const report = await verifyDirectory(directory, { key: [], checkpoint: [], receipt: [], witness: [] });
  const advice = 'Checked with the key beside the bundle. With one that you have from elsewhere: gate audit verify bundle --key KEY\n';
  return { text: `${formatReport(report)}\n${advice}`, result: report.result };
}

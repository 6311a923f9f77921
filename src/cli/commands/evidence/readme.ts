/** README.txt of a collection of evidence: what is what, and how somebody else can check it. */

export type ReadmeFacts = {
  readonly origin: string;
  readonly size: number;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly period: string;
  readonly missingPolicies: number;
};

export function formatReadme({ origin, size, createdAt, createdBy, period, missingPolicies }: ReadmeFacts): string {
  return `Evidence of access to databases, out of the record of gate.

Log:      ${origin}
Entries:  ${size}
Period:   ${period}
Made:     ${createdAt} by ${createdBy}

WHAT IS WHAT

bundle/            The whole record, of all times: entries, tree and signed checkpoint. All else here was made from it.
policies/          Each version of the policy of the period, in order: <n>-<digest>.yaml, and what changed from the one
                   before it as <n>-<digest>.diff. The digest is the beginning of the SHA-256 of the file.
grants.csv         Who was given which role on which target, why, until when, approved by whom, revoked by whom.
requests.csv       Requests for grants and for single statements, with the votes on them.
denials.csv        Grants and statements that were refused, with the rule. Reasons of statements are sealed in the record.
sessions.csv       Each use of a grant: who, why, approved by whom, from when to when, level of masking, masked columns.
reads.csv          Who read the record.
keys.csv           Keys of the record: rotations, shredding of the keys of sessions, legal holds.
summary.json       The numbers of all this.
verification.txt   What the verifier said of bundle/.

"index" is the place of an entry in the record. Times are in UTC, by the clock of the relay. A person is a name, the
issuer of the identity, and the subject there. A text that a spreadsheet would take for a formula has an apostrophe in
front of it.${missingPolicies === 0 ? '' : `\n\n${missingPolicies} versions of the policy are on record by their digest only: the relay has no text of them.`}

HOW TO CHECK IT

1. Get the verifier key of the log from somebody else than whoever gave you this: it stands in bundle/log-key.pub, in
   the answer of the relay (gate audit key), and in each receipt that a user's machine has kept.
2. Run: gate audit verify bundle
   It checks every entry, chain and signature. The format is open (C2SP tlog-tiles, signed notes; docs/audit-format.md),
   so that a tool of your own can do the same.
3. Hold receipts against it, which users of the databases have kept: they show that nothing was taken away.
4. Compare policies/*.yaml with their digests: sha256sum policies/*.yaml
`;
}

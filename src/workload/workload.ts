/** What policy says of machines: the issuers whose tokens count, the workloads among them, and the people behind them. */

/** Platforms whose tokens are known: their claims, what of them never changes, and which runs are not to be trusted. */
export const presetNames = ['github-actions', 'gitlab-ci', 'google', 'kubernetes', 'circleci', 'buildkite', 'terraform-cloud', 'generic'] as const;
export type PresetName = (typeof presetNames)[number];

export type TrustedIssuer = {
  readonly name: string;
  readonly preset: PresetName;
  /** Exactly as in the token's `iss`. */
  readonly url: string;
  /** The only audience that a token may have. */
  readonly audience: string;
  readonly algorithms: readonly string[];
  /** From `iat` to `exp`, at most. */
  readonly lifetimeSecondsMax: number;
  /** On top of those that the preset needs. */
  readonly requiredClaims: readonly string[];
  /** Where the issuer has no discovery document that the relay can reach. */
  readonly jwksUrl?: string;
};

/** The claims of a token, nested ones under `outer/inner`. One that is neither text, number, truth value nor list of texts is not there. */
export type Claims = ReadonlyMap<string, string | readonly string[]>;

/** One service principal: whoever shows a token of this issuer with these claims. */
export type Workload = {
  readonly name: string;
  /** Name of a TrustedIssuer. */
  readonly issuer: string;
  /** Claim → the values of which it must have one. */
  readonly claims: ReadonlyMap<string, readonly string[]>;
  readonly groups: readonly string[];
  /** Name of the Person who answers for it. */
  readonly owner?: string;
  /** Longest life of a login that comes of one token. */
  readonly sessionSeconds: number;
  /** The person behind a run must be verified, and of one of these groups by what the relay knows of them. */
  readonly humanGroups?: readonly string[];
  /** Also runs that somebody outside can cause: pull requests, forks, unprotected refs. */
  readonly allowsUntrusted: boolean;
  /** Finds the reason and the ticket in the commit's message. */
  readonly reasonFrom?: Finder;
  readonly ticketFrom?: Finder;
};

/** The first group of a pattern, or the whole match where it has none. */
export type Finder = { readonly source: string; find(text: string): string | undefined };

/** Somebody whom the relay's own issuer knows, and their accounts elsewhere. */
export type Person = {
  readonly name: string;
  /** The `sub` of their login. */
  readonly subject: string;
  /** Name of a TrustedIssuer → the ids that its tokens have for them. */
  readonly accounts: ReadonlyMap<string, readonly string[]>;
  readonly emails: readonly string[];
  /** SSH public keys that they sign commits with, as in authorized_keys. */
  readonly keys: readonly string[];
};

/** Who has left: nobody and nothing acts for them any more. */
export type Offboarded = {
  /** Name of a Person, or the `sub` of a login. */
  readonly person?: string;
  readonly subject?: string;
  readonly reason: string;
};

export type Workloads = {
  readonly issuers: ReadonlyMap<string, TrustedIssuer>;
  /** In the order of the file: the first that a token meets counts. */
  readonly workloads: readonly Workload[];
  readonly people: ReadonlyMap<string, Person>;
  readonly offboarded: readonly Offboarded[];
};

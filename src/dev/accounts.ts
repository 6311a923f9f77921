/** The people of the demo and the groups that they are in. */

export type Account = {
  /** What is clicked on the sign-in page and typed after `gate dev login`; `preferred_username` in tokens. */
  readonly name: string;
  readonly groups: readonly string[];
  readonly fullName: string;
  readonly email: string;
};

export const DEMO_ACCOUNTS: readonly Account[] = [
  { name: 'engineer', groups: ['engineering'], fullName: 'Erin Castillo', email: 'erin@example.com' },
  { name: 'dba', groups: ['dba'], fullName: 'Dario Bianchi', email: 'dario@example.com' },
  { name: 'dba2', groups: ['dba'], fullName: 'Dunja Berg', email: 'dunja@example.com' },
  { name: 'operator', groups: ['operations', 'audit'], fullName: 'Oana Petrescu', email: 'oana@example.com' },
];

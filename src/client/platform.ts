/** Which platform this process runs on, and where it keeps a token for it; nothing is asked of anybody here. */
import { stat } from 'node:fs/promises';
import type { PresetName } from '../workload/workload.ts';
import { isCi } from './ci.ts';

export const platformNames = ['github-actions', 'gitlab-ci', 'circleci', 'buildkite', 'terraform-cloud', 'kubernetes', 'google'] as const;
export type PlatformName = (typeof platformNames)[number] & PresetName;

/** Where a token comes from. What holds a token or a secret is never shown. */
export type TokenPlace =
  | { readonly kind: 'given'; readonly token: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'request'; readonly url: string; readonly bearer: string }
  | { readonly kind: 'metadata'; readonly host: string }
  | { readonly kind: 'agent'; readonly environment: NodeJS.ProcessEnv }
  /** The platform is evident, but it was not told to give this job a token. `hint` takes the audience. */
  | { readonly kind: 'missing'; readonly message: string; hint(audience: string): string };

export type Platform = {
  /** `token` and `token-file` may hold the token of any platform, one of the relay's own, or one of a person. */
  readonly name: 'token' | 'token-file' | PlatformName;
  /** The variable, file or program that it comes from: what people are shown. */
  readonly source: string;
  readonly place: TokenPlace;
  /** It goes before a stored login: somebody asked for it, or nobody can be logged in here. */
  readonly isFirst: boolean;
};

/** By convention; a projected volume is mounted there. */
export const kubernetesTokenFile = '/var/run/secrets/gate/token';

const titles: Readonly<Record<PlatformName, string>> = {
  'github-actions': 'GitHub Actions',
  'gitlab-ci': 'GitLab CI',
  circleci: 'CircleCI',
  buildkite: 'Buildkite',
  'terraform-cloud': 'Terraform Cloud',
  kubernetes: 'Kubernetes',
  google: 'Google Cloud',
};

/** As people write it. */
export function titleOf(name: PlatformName): string {
  return titles[name];
}

type Found = Pick<Platform, 'source' | 'place'>;
type Finder = {
  readonly name: PlatformName;
  readonly isEvident: (environment: NodeJS.ProcessEnv) => boolean;
  readonly find: (environment: NodeJS.ProcessEnv) => Found;
};

/** In the order in which they are looked for. Cluster and cloud come last, since runners of the others live there. */
const finders: readonly Finder[] = [
  { name: 'github-actions', isEvident: (environment) => environment['GITHUB_ACTIONS'] === 'true' || Boolean(environment[requestUrl]), find: findGitHub },
  { name: 'gitlab-ci', isEvident: (environment) => environment['GITLAB_CI'] === 'true', find: findGitLab },
  { name: 'circleci', isEvident: (environment) => environment['CIRCLECI'] === 'true' || Boolean(environment['CIRCLE_OIDC_TOKEN_V2']), find: findCircle },
  { name: 'buildkite', isEvident: (environment) => environment['BUILDKITE'] === 'true', find: findBuildkite },
  { name: 'terraform-cloud', isEvident: (environment) => Boolean(environment['TFC_RUN_ID'] || terraformVariables.some((name) => environment[name])), find: findTerraform },
  { name: 'google', isEvident: isGoogleEvident, find: findGoogle },
];

/** Undefined on a person's machine. `tokenFile` is a parameter only for tests. */
export async function findPlatform(environment: NodeJS.ProcessEnv, tokenFile = kubernetesTokenFile): Promise<Platform | undefined> {
  const file = environment['GATE_TOKEN_FILE'];
  if (file) return { name: 'token-file', source: 'GATE_TOKEN_FILE', place: { kind: 'file', path: file }, isFirst: true };
  const wished = readWish(environment['GATE_PLATFORM']);
  if (wished === 'none') return undefined;
  const mounted: Found = { source: tokenFile, place: { kind: 'file', path: tokenFile } };
  if (wished === 'kubernetes') return { name: 'kubernetes', ...mounted, isFirst: true };
  const isFirst = wished !== undefined || isCi(environment);
  const finder = finders.find(({ name, isEvident }) => (wished === undefined ? isEvident(environment) : name === wished));
  if (finder !== undefined && finder.name !== 'google') return { name: finder.name, ...finder.find(environment), isFirst };
  if (wished === undefined && (await isFile(tokenFile))) return { name: 'kubernetes', ...mounted, isFirst };
  return finder && { name: finder.name, ...finder.find(environment), isFirst };
}

/** The platform whose variables tell about the run, whatever token is used. */
export function evidentPlatform(environment: NodeJS.ProcessEnv): PlatformName | undefined {
  const evident = finders.find(({ isEvident }) => isEvident(environment))?.name;
  if (evident !== undefined && evident !== 'google') return evident;
  return environment['KUBERNETES_SERVICE_HOST'] ? 'kubernetes' : evident;
}

/** Text that is no platform's name is an error of the caller, who reads the environment. */
export function isPlatformWish(text: string): boolean {
  return text === 'none' || platformNames.some((name) => name === text);
}

function readWish(text: string | undefined): PlatformName | 'none' | undefined {
  return text === 'none' ? text : platformNames.find((name) => name === text);
}

const requestUrl = 'ACTIONS_ID_TOKEN_REQUEST_URL';
const requestToken = 'ACTIONS_ID_TOKEN_REQUEST_TOKEN';

function findGitHub(environment: NodeJS.ProcessEnv): Found {
  const [url, bearer] = [environment[requestUrl], environment[requestToken]];
  if (url && bearer) return { source: requestUrl, place: { kind: 'request', url, bearer } };
  return missing('GITHUB_ACTIONS', 'this job of GitHub Actions may not ask for a token', () =>
    'Add to the job: permissions: { id-token: write, contents: read }. Runs of forks never get one.');
}

function findGitLab(environment: NodeJS.ProcessEnv): Found {
  const name = 'GATE_ID_TOKEN';
  return given(environment, [name]) ?? missing('GITLAB_CI', `this job of GitLab CI has no ${name}`, (audience) =>
    `Add to the job: id_tokens: { ${name}: { aud: ${audience} } }`);
}

function findCircle(environment: NodeJS.ProcessEnv): Found {
  return given(environment, ['CIRCLE_OIDC_TOKEN_V2', 'CIRCLE_OIDC_TOKEN']) ?? missing('CIRCLECI', 'this job of CircleCI has no CIRCLE_OIDC_TOKEN_V2', () =>
    'CircleCI gives it to jobs that use at least one context: name one under context: in the workflow.');
}

function findBuildkite(environment: NodeJS.ProcessEnv): Found {
  return { source: 'buildkite-agent', place: { kind: 'agent', environment } };
}

const terraformVariables = ['TFC_WORKLOAD_IDENTITY_TOKEN_GATE', 'TFC_WORKLOAD_IDENTITY_TOKEN'] as const;

function findTerraform(environment: NodeJS.ProcessEnv): Found {
  return given(environment, terraformVariables) ?? missing('TFC_RUN_ID', 'this run of Terraform Cloud has no workload identity token', (audience) =>
    `Set the workspace's environment variable TFC_WORKLOAD_IDENTITY_AUDIENCE_GATE to ${audience}.`);
}

/** Names of a Google product only: a host that does not answer would be waited for on every other machine. */
function isGoogleEvident(environment: NodeJS.ProcessEnv): boolean {
  if (environment['GCE_METADATA_HOST'] || environment['CLOUD_RUN_JOB']) return true;
  return Boolean((environment['K_SERVICE'] || environment['BUILD_ID']) && environment['GOOGLE_CLOUD_PROJECT']);
}

function findGoogle(environment: NodeJS.ProcessEnv): Found {
  const host = environment['GCE_METADATA_HOST'];
  return { source: host ? 'GCE_METADATA_HOST' : 'metadata server', place: { kind: 'metadata', host: host || 'metadata.google.internal' } };
}

function given(environment: NodeJS.ProcessEnv, names: readonly string[]): Found | undefined {
  const source = names.find((name) => environment[name]?.trim());
  if (source === undefined) return undefined;
  return { source, place: { kind: 'given', token: environment[source]?.trim() ?? '' } };
}

function missing(source: string, message: string, hint: (audience: string) => string): Found {
  return { source, place: { kind: 'missing', message, hint } };
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then((found) => found.isFile(), () => false);
}

/** What the environment says of the run that this is: claims for the record, for whatever the token itself does not prove. */
import type { ClaimedLink } from '../api/workload-api.ts';
import { evidentPlatform, type PlatformName } from './platform.ts';

export type RunFacts = {
  readonly links: readonly ClaimedLink[];
  /** The hash of the commit that runs, where the platform names one. */
  readonly commit?: string;
};

const valueLengthMax = 300;
const urlLengthMax = 1000;

type Variables = (name: string) => string | undefined;
type Draft = { readonly [Part in 'value' | 'id' | 'url']?: string | undefined };
type Drafts = { readonly [Kind in ClaimedLink['kind']]?: Draft };

/** Nothing on a person's machine. */
export function readRunFacts(environment: NodeJS.ProcessEnv): RunFacts {
  const platform = evidentPlatform(environment);
  if (platform === undefined) return { links: [] };
  const drafts = readers[platform]((name) => environment[name]?.trim() || undefined);
  const links = Object.entries(drafts).flatMap(([kind, draft]) => toLink(kind as ClaimedLink['kind'], draft) ?? []);
  const commit = drafts.commit?.value;
  return { links, ...(commit !== undefined && isHash(commit) && { commit }) };
}

function isHash(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text);
}

function toLink(kind: ClaimedLink['kind'], { value, id, url }: Draft): ClaimedLink | undefined {
  const text = value ?? id;
  // BUILDKITE_COMMIT may be the word HEAD.
  if (text === undefined || (kind === 'commit' && !isHash(text))) return undefined;
  const link = url === undefined ? undefined : publicUrl(url);
  return {
    kind,
    value: (link !== undefined && text === url ? link : withoutLogin(text)).slice(0, valueLengthMax),
    ...(id !== undefined && id.length <= valueLengthMax && { id }),
    ...(link !== undefined && link.length <= urlLengthMax && { url: link }),
  };
}

/** Clone URLs of CI hold a token now and then. Undefined for what nobody could open. */
function publicUrl(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return undefined;
  [url.username, url.password] = ['', ''];
  return url.href;
}

function withoutLogin(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, '$1');
}

const readers: Readonly<Record<PlatformName, (variable: Variables) => Drafts>> = {
  'github-actions': readGitHub,
  'gitlab-ci': (variable) => ({
    run: { value: joined(' of ', named('job', variable('CI_JOB_ID')), named('pipeline', variable('CI_PIPELINE_ID'))), id: variable('CI_JOB_ID'), url: variable('CI_JOB_URL') },
    repository: { value: variable('CI_PROJECT_PATH'), id: variable('CI_PROJECT_ID'), url: variable('CI_PROJECT_URL') },
    ref: { value: variable('CI_COMMIT_REF_NAME') },
    commit: { value: variable('CI_COMMIT_SHA') },
    environment: { value: variable('CI_ENVIRONMENT_NAME'), url: variable('CI_ENVIRONMENT_URL') },
    actor: { value: variable('GITLAB_USER_LOGIN'), id: variable('GITLAB_USER_ID') },
  }),
  circleci: (variable) => ({
    run: { value: named('build', variable('CIRCLE_BUILD_NUM')), id: variable('CIRCLE_WORKFLOW_JOB_ID') ?? variable('CIRCLE_WORKFLOW_ID'), url: variable('CIRCLE_BUILD_URL') },
    repository: { value: joined('/', variable('CIRCLE_PROJECT_USERNAME'), variable('CIRCLE_PROJECT_REPONAME')), id: variable('CIRCLE_PROJECT_ID') },
    ref: { value: variable('CIRCLE_TAG') ?? variable('CIRCLE_BRANCH') },
    commit: { value: variable('CIRCLE_SHA1') },
    actor: { value: variable('CIRCLE_USERNAME') },
  }),
  buildkite: (variable) => ({
    run: {
      value: attempt(joined(' ', joined('/', variable('BUILDKITE_ORGANIZATION_SLUG'), variable('BUILDKITE_PIPELINE_SLUG')), named('build', variable('BUILDKITE_BUILD_NUMBER'))), after(variable('BUILDKITE_RETRY_COUNT'))),
      id: variable('BUILDKITE_JOB_ID') ?? variable('BUILDKITE_BUILD_ID'),
      url: variable('BUILDKITE_BUILD_URL'),
    },
    repository: { value: variable('BUILDKITE_REPO') },
    ref: { value: variable('BUILDKITE_TAG') ?? variable('BUILDKITE_BRANCH') },
    commit: { value: variable('BUILDKITE_COMMIT') },
    actor: { value: variable('BUILDKITE_UNBLOCKER') ?? variable('BUILDKITE_BUILD_CREATOR'), id: variable('BUILDKITE_UNBLOCKER_ID') ?? variable('BUILDKITE_BUILD_CREATOR_EMAIL') },
  }),
  'terraform-cloud': (variable) => ({
    run: { value: variable('TFC_RUN_ID'), id: variable('TFC_RUN_ID') },
    ref: { value: variable('TFC_CONFIGURATION_VERSION_GIT_TAG') ?? variable('TFC_CONFIGURATION_VERSION_GIT_BRANCH') },
    commit: { value: variable('TFC_CONFIGURATION_VERSION_GIT_COMMIT_SHA') },
    environment: { value: variable('TFC_WORKSPACE_SLUG') ?? variable('TFC_WORKSPACE_NAME') },
  }),
  kubernetes: (variable) => ({
    run: { value: named('pod', variable('POD_NAME') ?? variable('HOSTNAME')) },
    environment: { value: named('namespace', variable('POD_NAMESPACE')) },
  }),
  google: (variable) => ({
    run: readGoogleRun(variable),
    repository: { value: variable('REPO_FULL_NAME') ?? variable('REPO_NAME') },
    ref: { value: variable('TAG_NAME') ?? variable('BRANCH_NAME') },
    commit: { value: variable('COMMIT_SHA') },
    environment: { value: named('project', variable('GOOGLE_CLOUD_PROJECT') ?? variable('PROJECT_ID')) },
  }),
};

function readGitHub(variable: Variables): Drafts {
  const [server, repository, run] = [variable('GITHUB_SERVER_URL'), variable('GITHUB_REPOSITORY'), variable('GITHUB_RUN_ID')];
  const project = server !== undefined && repository !== undefined ? `${server}/${repository}` : undefined;
  const times = variable('GITHUB_RUN_ATTEMPT');
  const page = project !== undefined && run !== undefined ? `${project}/actions/runs/${run}` : undefined;
  return {
    run: {
      value: attempt(named('run', run), times),
      id: run,
      url: page !== undefined && times !== undefined ? `${page}/attempts/${times}` : page,
    },
    repository: { value: repository, id: variable('GITHUB_REPOSITORY_ID'), url: project },
    ref: { value: variable('GITHUB_REF') },
    commit: { value: variable('GITHUB_SHA') },
    actor: { value: variable('GITHUB_ACTOR'), id: variable('GITHUB_ACTOR_ID') },
  };
}

function readGoogleRun(variable: Variables): Draft {
  const job = variable('CLOUD_RUN_JOB');
  if (job !== undefined) return { value: attempt(named('job', job), after(variable('CLOUD_RUN_TASK_ATTEMPT'))), id: variable('CLOUD_RUN_EXECUTION') };
  const service = variable('K_SERVICE');
  if (service !== undefined) return { value: named('service', service), id: variable('K_REVISION') };
  return { value: named('build', variable('BUILD_ID')), id: variable('BUILD_ID') };
}

function joined(by: string, first: string | undefined, second: string | undefined): string | undefined {
  return first === undefined || second === undefined ? (first ?? second) : `${first}${by}${second}`;
}

function named(what: string, name: string | undefined): string | undefined {
  return name === undefined ? undefined : `${what} ${name}`;
}

function attempt(run: string | undefined, times: string | undefined): string | undefined {
  return run === undefined ? undefined : joined(' ', run, named('attempt', times));
}

/** Platforms that count repetitions from 0. */
function after(retries: string | undefined): string | undefined {
  return retries !== undefined && /^\d{1,6}$/.test(retries) ? String(Number(retries) + 1) : undefined;
}

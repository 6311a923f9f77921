/** What each platform's token says of a run: which it is, of what repository and commit, and who started it. */
import type { Link } from '../principal/principal.ts';
import { textOf } from './claims.ts';
import { wellFormed } from './one-line.ts';
import { presetOf } from './presets.ts';
import type { Claims, PresetName, TrustedIssuer } from './workload.ts';

export type LinkFacts = Pick<Link, 'kind' | 'value' | 'id' | 'url'>;

/** Facts that the token lacks are left out; values are as the token has them. */
export function linksOf({ preset, url }: Pick<TrustedIssuer, 'preset' | 'url'>, claims: Claims): LinkFacts[] {
  const read: Claim = (name) => textOf(claims, name);
  return readers[preset](read, url, claims).flatMap(({ kind, value, id, url: address }) =>
    value === undefined || value === '' ? [] : [{ kind, value, ...(id !== undefined && { id }), ...(address !== undefined && { url: address }) }],
  );
}

/** The hash of the commit that the token names. */
export function commitOf(preset: PresetName, claims: Claims): string | undefined {
  const name = presetOf({ preset }).commit;
  const hash = name === undefined ? undefined : textOf(claims, name)?.toLowerCase();
  return hash !== undefined && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash) ? hash : undefined;
}

/** The id of the account that started the run: one that the platform gives to nobody else, ever. */
export function accountOf(preset: PresetName, claims: Claims): string | undefined {
  if (preset === 'circleci') return circleUser(textOf(claims, 'sub'));
  const name = presetOf({ preset }).account;
  return name === undefined ? undefined : textOf(claims, name);
}

type Claim = (name: string) => string | undefined;
type Found = { readonly kind: Link['kind']; readonly value: string | undefined; readonly id?: string | undefined; readonly url?: string | undefined };
type Reader = (claim: Claim, issuer: string, claims: Claims) => Found[];

const readers: { readonly [name in PresetName]: Reader } = {
  'github-actions'(claim, issuer, claims) {
    const server = githubServer(issuer);
    const repository = claim('repository');
    const home = link(server, repository);
    const [run, attempt, actor] = [claim('run_id'), claim('run_attempt'), claim('actor')];
    return [
      { kind: 'environment', value: claim('environment') },
      { kind: 'run', value: run && `run ${run}${attempt === undefined ? '' : ` attempt ${attempt}`}`, id: run, url: link(home, path('actions/runs', run)) },
      { kind: 'repository', value: repository, id: claim('repository_id'), url: home },
      { kind: 'ref', value: claim('ref') },
      commitLink('github-actions', claims, home, 'commit'),
      { kind: 'actor', value: actor ?? claim('actor_id'), id: claim('actor_id'), url: actor === undefined || !/^[\w-]+$/.test(actor) ? undefined : link(server, actor) },
    ];
  },
  'gitlab-ci'(claim, issuer, claims) {
    const project = claim('project_path');
    const home = link(issuer, project);
    // In a pipeline of a fork the job runs elsewhere than the project that it is of.
    const ran = claim('job_project_path') ?? project;
    const [job, pipeline, user] = [claim('job_id'), claim('pipeline_id'), claim('user_login')];
    return [
      { kind: 'environment', value: claim('environment') },
      { kind: 'run', value: job && `job ${job}${pipeline === undefined ? '' : ` of pipeline ${pipeline}`}`, id: job, url: link(link(issuer, ran), path('-/jobs', job)) },
      { kind: 'repository', value: project, id: claim('project_id'), url: home },
      { kind: 'ref', value: claim('ref_path') ?? claim('ref') },
      commitLink('gitlab-ci', claims, home, '-/commit'),
      { kind: 'actor', value: user ?? claim('user_id'), id: claim('user_id'), url: link(issuer, user) },
    ];
  },
  google(claim) {
    const machine = (name: string) => claim(`google/compute_engine/${name}`);
    const place = [machine('project_id'), machine('zone'), machine('instance_name')];
    const email = claim('email_verified') === 'true' ? claim('email') : undefined;
    return [
      { kind: 'environment', value: place.filter((part) => part !== undefined).join('/'), id: machine('instance_id') },
      { kind: 'actor', value: email ?? claim('sub'), id: claim('sub') },
    ];
  },
  kubernetes(claim) {
    const cluster = (name: string) => claim(`kubernetes.io/${name}`);
    const [namespace, pod, account] = [cluster('namespace'), cluster('pod/name'), cluster('serviceaccount/name')];
    return [
      { kind: 'environment', value: namespace && `namespace ${namespace}` },
      { kind: 'run', value: pod && `pod ${pod}`, id: cluster('pod/uid') },
      { kind: 'actor', value: account && `service account ${path(namespace, account) ?? account}`, id: cluster('serviceaccount/uid') },
    ];
  },
  circleci(claim) {
    const circle = (name: string) => claim(`oidc.circleci.com/${name}`);
    const user = circleUser(claim('sub'));
    const [origin, job, workflow] = [circle('vcs-origin'), circle('job-id'), circle('workflow-id')];
    return [
      { kind: 'run', value: job && `job ${job}`, id: job, url: workflow && link('https://app.circleci.com/pipelines/workflows', workflow) },
      { kind: 'repository', value: origin, id: circle('project-id'), url: origin && link(`https://${origin.split('/')[0]}`, origin.split('/').slice(1).join('/')) },
      { kind: 'ref', value: circle('vcs-ref') },
      { kind: 'actor', value: user && `user ${user}`, id: user },
    ];
  },
  buildkite(claim, _issuer, claims) {
    const [organization, pipeline, build, job, tag, branch] = ['organization_slug', 'pipeline_slug', 'build_number', 'job_id', 'build_tag', 'build_branch'].map(claim);
    const name = path(organization, pipeline);
    const page = link('https://buildkite.com', path(name, 'builds', build));
    return [
      { kind: 'run', value: build && `${name ?? 'pipeline'} build ${build}`, id: claim('build_id') ?? job, url: page && (job === undefined ? page : `${page}#${encodeURIComponent(job)}`) },
      { kind: 'ref', value: tag === undefined ? branch && `refs/heads/${branch}` : `refs/tags/${tag}` },
      commitLink('buildkite', claims, undefined, 'commit'),
    ];
  },
  'terraform-cloud'(claim, issuer) {
    const [organization, workspace, run, phase] = ['terraform_organization_name', 'terraform_workspace_name', 'terraform_run_id', 'terraform_run_phase'].map(claim);
    return [
      { kind: 'environment', value: path(organization, workspace), id: claim('terraform_workspace_id') },
      { kind: 'run', value: run && `${phase ?? 'run'} ${run}`, id: run, url: link(issuer, path('app', organization, 'workspaces', workspace, 'runs', run)) },
    ];
  },
  generic(claim, _issuer, claims) {
    const run = claim('run_id');
    return [
      { kind: 'environment', value: claim('environment') },
      { kind: 'run', value: run && `run ${run}`, id: run },
      { kind: 'repository', value: claim('repository'), id: claim('repository_id') },
      { kind: 'ref', value: claim('ref') },
      commitLink('generic', claims, undefined, 'commit'),
      { kind: 'actor', value: claim('actor') ?? claim('actor_id'), id: claim('actor_id') },
    ];
  },
};

function commitLink(preset: PresetName, claims: Claims, home: string | undefined, page: string): Found {
  const hash = commitOf(preset, claims);
  return { kind: 'commit', value: hash, id: hash, url: link(home, path(page, hash)) };
}

/** Tokens of github.com and of ghe.com come from a host of their own, those of a server from the server itself. */
function githubServer(issuer: string): string | undefined {
  const url = parse(issuer);
  if (url === undefined) return undefined;
  if (url.hostname === 'token.actions.githubusercontent.com') return 'https://github.com';
  const enterprise = /^token\.actions\.([a-z0-9-]+\.ghe\.com)$/.exec(url.hostname)?.[1];
  return enterprise === undefined ? url.origin : `https://${enterprise}`;
}

/** `org/<id>/project/<id>/user/<id>`, and more behind it in the second version. */
function circleUser(subject: string | undefined): string | undefined {
  return /^org\/[^/]+\/project\/[^/]+\/user\/([^/]+)(?:\/|$)/.exec(subject ?? '')?.[1];
}

function path(...parts: readonly (string | undefined)[]): string | undefined {
  return parts.includes(undefined) ? undefined : parts.join('/');
}

/** The page below an address; none where a part of the path is missing or would lead elsewhere. */
function link(base: string | undefined, below: string | undefined): string | undefined {
  const url = base === undefined ? undefined : parse(base);
  if (url === undefined || below === undefined) return undefined;
  const segments = below.split('/');
  if (segments.some((segment) => segment === '' || /^\.{1,2}$/.test(segment))) return undefined;
  return `${url.href.replace(/[?#].*$/, '').replace(/\/$/, '')}/${segments.map((segment) => encodeURIComponent(wellFormed(segment))).join('/')}`;
}

function parse(text: string): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url?.protocol === 'https:' || url?.protocol === 'http:' ? url : undefined;
}

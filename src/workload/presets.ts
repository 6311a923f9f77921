/** What is known of each platform's tokens: what they must say, what of it never changes, and what must be pinned. */
import type { PresetName, TrustedIssuer } from './workload.ts';

export type Preset = {
  readonly name: PresetName;
  /** The issuer of the public service; presets without one need `url:`. */
  readonly url?: string;
  /** Claims every token must have (beside exp, iat, sub). */
  readonly requiredClaims: readonly string[];
  /** Claim names that never change and are never reused. A workload must pin all of at least one of these sets. */
  readonly anchors: readonly (readonly string[])[];
  /** Claims out of which the principal's subject is made. */
  readonly identity: readonly string[];
  /** `typ` headers that its tokens may have, in lower case; undefined stands for none. */
  readonly types: readonly (string | undefined)[];
  /** From iat to exp, at most, where the policy does not say. */
  readonly lifetimeSecondsMax: number;
  /** Without these a workload cannot keep forks out: it must pin them as well, unless it says `untrusted: allow`. */
  readonly pins: readonly string[];
  /** The claim with the hash of the commit that runs. */
  readonly commit?: string;
  /** The claim that holds the id of the account that started the run; without it no token leads to a person. */
  readonly account?: string;
  /** Names of claims, to tell slips of the fingers. Platforms add others. */
  readonly claims: readonly string[];
};

const minutes = 60;
const hours = 60 * minutes;
const jwtOnly = ['jwt'];
const jwtOrNone = ['jwt', undefined];

const presets: { readonly [name in PresetName]: Preset } = {
  'github-actions': {
    name: 'github-actions',
    url: 'https://token.actions.githubusercontent.com',
    requiredClaims: ['jti', 'repository_id', 'repository_owner_id', 'event_name', 'ref', 'run_id'],
    anchors: [['repository_id', 'repository_owner_id']],
    identity: ['repository_owner_id', 'repository_id'],
    types: jwtOnly,
    lifetimeSecondsMax: 15 * minutes,
    pins: [],
    commit: 'sha',
    account: 'actor_id',
    claims: [
      'sub', 'actor', 'actor_id', 'base_ref', 'check_run_id', 'enterprise', 'enterprise_id', 'environment', 'environment_node_id', 'event_name', 'head_ref',
      'job_workflow_ref', 'job_workflow_sha', 'ref', 'ref_protected', 'ref_type', 'repository', 'repository_id', 'repository_owner', 'repository_owner_id',
      'repository_visibility', 'run_attempt', 'run_id', 'run_number', 'runner_environment', 'sha', 'workflow', 'workflow_ref', 'workflow_sha',
    ],
  },
  'gitlab-ci': {
    name: 'gitlab-ci',
    url: 'https://gitlab.com',
    requiredClaims: ['jti', 'project_id', 'pipeline_source', 'ref_protected', 'job_id'],
    anchors: [['project_id']],
    identity: ['project_id'],
    types: jwtOnly,
    lifetimeSecondsMax: hours,
    pins: [],
    commit: 'sha',
    account: 'user_id',
    claims: [
      'sub', 'namespace_id', 'namespace_path', 'project_id', 'project_path', 'project_visibility', 'job_project_id', 'job_project_path', 'job_namespace_id',
      'job_namespace_path', 'user_id', 'user_login', 'user_email', 'user_access_level', 'groups_direct', 'pipeline_id', 'pipeline_source', 'job_id', 'job_source',
      'ref', 'ref_type', 'ref_path', 'ref_protected', 'environment', 'environment_protected', 'environment_action', 'deployment_tier', 'runner_id',
      'runner_environment', 'sha', 'ci_config_ref_uri', 'ci_config_sha',
    ],
  },
  google: {
    name: 'google',
    url: 'https://accounts.google.com',
    requiredClaims: [],
    anchors: [['sub']],
    identity: ['sub'],
    types: jwtOnly,
    lifetimeSecondsMax: hours,
    pins: [],
    claims: ['sub', 'azp', 'email', 'email_verified', ...['instance_creation_timestamp', 'instance_id', 'instance_name', 'instance_confidentiality', 'project_id', 'project_number', 'zone'].map((name) => `google/compute_engine/${name}`)],
  },
  kubernetes: {
    name: 'kubernetes',
    requiredClaims: ['kubernetes.io/namespace', 'kubernetes.io/serviceaccount/uid', 'kubernetes.io/serviceaccount/name'],
    anchors: [['kubernetes.io/serviceaccount/uid', 'kubernetes.io/namespace']],
    identity: ['kubernetes.io/namespace', 'kubernetes.io/serviceaccount/uid'],
    types: jwtOrNone,
    lifetimeSecondsMax: hours,
    pins: [],
    claims: ['sub', ...['namespace', 'serviceaccount/name', 'serviceaccount/uid', 'pod/name', 'pod/uid', 'node/name', 'node/uid', 'warnafter'].map((name) => `kubernetes.io/${name}`)],
  },
  circleci: {
    name: 'circleci',
    requiredClaims: ['oidc.circleci.com/project-id', 'oidc.circleci.com/ssh-rerun'],
    anchors: [['oidc.circleci.com/project-id']],
    identity: ['oidc.circleci.com/project-id'],
    types: jwtOrNone,
    lifetimeSecondsMax: hours,
    pins: ['oidc.circleci.com/vcs-origin'],
    // In its path: org/…/project/…/user/<id>.
    account: 'sub',
    claims: ['sub', ...['project-id', 'vcs-origin', 'vcs-ref', 'context-ids', 'ssh-rerun', 'org-id', 'job-id', 'pipeline-id', 'workflow-id'].map((name) => `oidc.circleci.com/${name}`)],
  },
  buildkite: {
    name: 'buildkite',
    url: 'https://agent.buildkite.com',
    requiredClaims: ['organization_id', 'pipeline_id', 'build_branch', 'job_id'],
    anchors: [['organization_id', 'pipeline_id']],
    identity: ['organization_id', 'pipeline_id'],
    types: jwtOrNone,
    lifetimeSecondsMax: 15 * minutes,
    pins: ['build_branch'],
    commit: 'build_commit',
    claims: [
      'sub', 'organization_id', 'organization_slug', 'pipeline_id', 'pipeline_slug', 'build_id', 'build_number', 'build_branch', 'build_tag', 'build_commit', 'build_source',
      'step_key', 'job_id', 'agent_id', 'runner_environment', 'cluster_id', 'cluster_name', 'queue_id', 'queue_key',
    ],
  },
  'terraform-cloud': {
    name: 'terraform-cloud',
    url: 'https://app.terraform.io',
    requiredClaims: ['jti', 'terraform_organization_id', 'terraform_workspace_id', 'terraform_run_phase', 'terraform_run_id'],
    anchors: [['terraform_organization_id', 'terraform_workspace_id']],
    identity: ['terraform_organization_id', 'terraform_workspace_id'],
    types: jwtOnly,
    // A token lives as long as its phase may take, and an apply may take a day.
    lifetimeSecondsMax: 24 * hours,
    pins: [],
    claims: [
      'sub', 'terraform_organization_id', 'terraform_organization_name', 'terraform_project_id', 'terraform_project_name', 'terraform_workspace_id',
      'terraform_workspace_name', 'terraform_full_workspace', 'terraform_run_id', 'terraform_run_phase',
    ],
  },
  generic: {
    name: 'generic',
    requiredClaims: [],
    anchors: [['sub']],
    identity: ['sub'],
    types: jwtOrNone,
    lifetimeSecondsMax: 15 * minutes,
    pins: [],
    commit: 'sha',
    account: 'actor_id',
    claims: [],
  },
};

export function presetOf({ preset }: Pick<TrustedIssuer, 'preset'>): Preset {
  return presets[preset];
}

/** What the tokens of CI platforms, clouds and clusters say, as their documentation shows them; for tests and the demo. */
import { createHash, randomUUID } from 'node:crypto';
import type { PresetName } from '../workload/workload.ts';

export type TokenClaims = Readonly<Record<string, unknown>>;

const sha = createHash('sha1').update('a commit of the demo').digest('hex');
const id = (name: string) => createHash('sha256').update(name).digest('hex').replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-4$3-8$4-$5');
const organization = id('acme');

type Sample = {
  readonly issuer?: string;
  /** Of a token whose job asks for none. */
  readonly audience: string;
  readonly seconds: number;
  readonly hasTokenId: boolean;
  readonly header: TokenClaims;
  claims(): TokenClaims;
};

const jwt = { typ: 'JWT' };

/** A trusted run of each platform: a push to main, an apply, a pod. */
export const sampleTokens: { readonly [name in PresetName]: Sample } = {
  'github-actions': {
    audience: 'https://github.com/acme',
    seconds: 300,
    hasTokenId: true,
    header: jwt,
    claims: () => ({
      sub: 'repo:acme@9001/shop@4711:environment:production',
      environment: 'production',
      ref: 'refs/heads/main',
      ref_type: 'branch',
      ref_protected: 'true',
      sha,
      repository: 'acme/shop',
      repository_id: '4711',
      repository_owner: 'acme',
      repository_owner_id: '9001',
      repository_visibility: 'private',
      run_id: '16101844123',
      run_number: '57',
      run_attempt: '1',
      check_run_id: '45430988120',
      actor: 'ada',
      actor_id: '1815',
      event_name: 'push',
      base_ref: '',
      head_ref: '',
      workflow: 'migrate',
      workflow_ref: 'acme/shop/.github/workflows/migrate.yml@refs/heads/main',
      workflow_sha: sha,
      job_workflow_ref: 'acme/shop/.github/workflows/migrate.yml@refs/heads/main',
      job_workflow_sha: sha,
      runner_environment: 'github-hosted',
    }),
  },
  'gitlab-ci': {
    audience: 'https://gitlab.com',
    seconds: 3600,
    hasTokenId: true,
    header: jwt,
    claims: () => ({
      sub: 'project_path:acme/shop:ref_type:branch:ref:main',
      namespace_id: '72',
      namespace_path: 'acme',
      project_id: '20',
      project_path: 'acme/shop',
      project_visibility: 'private',
      job_namespace_id: '72',
      job_namespace_path: 'acme',
      job_project_id: '20',
      job_project_path: 'acme/shop',
      user_id: '1815',
      user_login: 'ada',
      user_email: 'ada@acme.example',
      user_access_level: 'maintainer',
      pipeline_id: '574',
      pipeline_source: 'push',
      job_id: '302',
      ref: 'main',
      ref_type: 'branch',
      ref_path: 'refs/heads/main',
      ref_protected: 'true',
      environment: 'production',
      environment_protected: 'true',
      deployment_tier: 'production',
      runner_id: 1,
      runner_environment: 'self-hosted',
      sha,
      ci_config_ref_uri: 'gitlab.com/acme/shop//.gitlab-ci.yml@refs/heads/main',
      ci_config_sha: sha,
    }),
  },
  google: {
    audience: 'https://service.example.com',
    seconds: 3600,
    hasTokenId: false,
    header: jwt,
    claims: () => ({
      sub: '104479897743394244856',
      azp: '104479897743394244856',
      email: 'migrate@acme-prod.iam.gserviceaccount.com',
      email_verified: true,
      google: {
        compute_engine: {
          instance_creation_timestamp: 1_733_252_450,
          instance_id: '6140691338085198734',
          instance_name: 'batch-1',
          project_id: 'acme-prod',
          project_number: 405_721_773_632,
          zone: 'europe-west10-a',
        },
      },
    }),
  },
  kubernetes: {
    audience: 'https://kubernetes.default.svc',
    seconds: 3600,
    hasTokenId: true,
    header: {},
    claims: () => ({
      sub: 'system:serviceaccount:shop:migrate',
      'kubernetes.io': {
        namespace: 'shop',
        node: { name: 'node-1', uid: id('node-1') },
        pod: { name: 'migrate-29012345-x7k2p', uid: id('pod') },
        serviceaccount: { name: 'migrate', uid: id('serviceaccount') },
      },
    }),
  },
  circleci: {
    audience: organization,
    seconds: 3600,
    hasTokenId: false,
    header: jwt,
    claims: () => ({
      sub: `org/${organization}/project/${id('shop')}/user/${id('ada')}/vcs-origin/github.com/acme/shop/vcs-ref/refs/heads/main`,
      'oidc.circleci.com/project-id': id('shop'),
      'oidc.circleci.com/vcs-origin': 'github.com/acme/shop',
      'oidc.circleci.com/vcs-ref': 'refs/heads/main',
      'oidc.circleci.com/context-ids': [id('context')],
      'oidc.circleci.com/ssh-rerun': false,
    }),
  },
  buildkite: {
    audience: 'https://buildkite.com/acme',
    seconds: 300,
    hasTokenId: true,
    header: jwt,
    claims: () => ({
      sub: `organization:acme:pipeline:shop:ref:refs/heads/main:commit:${sha}:step:migrate`,
      organization_id: organization,
      organization_slug: 'acme',
      pipeline_id: id('pipeline'),
      pipeline_slug: 'shop',
      build_id: id('build'),
      build_number: 42,
      build_branch: 'main',
      build_commit: sha,
      build_source: 'webhook',
      step_key: 'migrate',
      job_id: id('job'),
      agent_id: id('agent'),
      runner_environment: 'self-hosted',
    }),
  },
  'terraform-cloud': {
    audience: 'terraform.workload.identity',
    seconds: 7200,
    hasTokenId: true,
    header: jwt,
    claims: () => ({
      sub: 'organization:acme:project:Default Project:workspace:shop-db:run_phase:apply',
      terraform_organization_id: 'org-GRNbCjYNpBB6NEH9',
      terraform_organization_name: 'acme',
      terraform_project_id: 'prj-vegSA59s1XPwMr2t',
      terraform_project_name: 'Default Project',
      terraform_workspace_id: 'ws-mbsd5E3Ktt5Rg2Xm',
      terraform_workspace_name: 'shop-db',
      terraform_full_workspace: 'organization:acme:project:Default Project:workspace:shop-db',
      terraform_run_id: 'run-X3n1AUXNGWbfECsJ',
      terraform_run_phase: 'apply',
    }),
  },
  generic: { audience: 'gate-relay', seconds: 300, hasTokenId: true, header: jwt, claims: () => ({ sub: 'machine-7' }) },
};

/** The whole payload of a new token. A claim that is set to undefined is left out. */
export function payloadOf(preset: PresetName, issuer: string, now: Date, claims: TokenClaims): Record<string, unknown> {
  const sample = sampleTokens[preset];
  const iat = Math.floor(now.getTime() / 1000);
  const whole = {
    ...(sample.hasTokenId && { jti: randomUUID() }),
    iss: issuer,
    aud: sample.audience,
    iat,
    nbf: iat,
    exp: iat + sample.seconds,
    ...sample.claims(),
    ...claims,
  };
  // Kubernetes writes a list, also of one audience.
  if (preset === 'kubernetes' && typeof whole.aud === 'string') return payloadOf(preset, issuer, now, { ...claims, aud: [whole.aud] });
  return Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined));
}

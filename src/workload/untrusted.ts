/** Which runs somebody outside of a repository can cause, by what each platform says of them. */
import { textOf } from './claims.ts';
import type { Claims, PresetName } from './workload.ts';

/** Events that only people with write access to the repository cause. All others are not trusted, new ones included. */
const trustedEvents = new Set(['push', 'schedule', 'workflow_dispatch', 'repository_dispatch', 'release', 'deployment', 'merge_group']);
const outsideSources = new Set(['merge_request_event', 'external_pull_request_event']);

/** A sentence's end, as in "the run is of …"; undefined for a run that is trusted. */
export function untrustedBecause(preset: PresetName, claims: Claims): string | undefined {
  return checks[preset]?.((name) => textOf(claims, name));
}

type Check = (claim: (name: string) => string | undefined) => string | undefined;

const checks: { readonly [name in PresetName]?: Check } = {
  'github-actions'(claim) {
    const event = claim('event_name');
    if (event === undefined || !trustedEvents.has(event)) return `the event is ${quote(event)}, which can come from outside of the repository`;
    if (claim('head_ref') !== undefined) return `it is of the pull request from ${quote(claim('head_ref'))}`;
    return isOfChangeRequest(claim('ref')) ? `the ref is ${quote(claim('ref'))}` : undefined;
  },
  'gitlab-ci'(claim) {
    const source = claim('pipeline_source');
    if (source === undefined || outsideSources.has(source)) return `the pipeline's source is ${quote(source)}`;
    if (claim('ref_protected') !== 'true') return `the ref ${quote(claim('ref'))} is not protected`;
    const ran = claim('job_project_id');
    return ran !== undefined && ran !== claim('project_id') ? `it is of a fork and ran in the project ${quote(ran)}` : undefined;
  },
  circleci(claim) {
    if (claim('oidc.circleci.com/ssh-rerun') !== 'false') return 'it was started again with SSH, so somebody can sit in it';
    const ref = claim('oidc.circleci.com/vcs-ref');
    return isOfChangeRequest(ref) ? `the ref is ${quote(ref)}` : undefined;
  },
  buildkite(claim) {
    const branch = claim('build_branch');
    // No branch has a colon in its name: Buildkite writes the owner of a fork before it.
    if (branch?.includes(':')) return `the branch is ${quote(branch)}, of a fork`;
    return isOfChangeRequest(branch) ? `the branch is ${quote(branch)}` : undefined;
  },
  'terraform-cloud'(claim) {
    const phase = claim('terraform_run_phase');
    return phase === 'apply' ? undefined : `the phase is ${quote(phase)}, and nobody has confirmed what it runs yet`;
  },
};

function isOfChangeRequest(ref: string | undefined): boolean {
  return ref !== undefined && /^refs\/(?:pull|pull-requests|merge-requests)\//.test(ref);
}

function quote(text: string | undefined): string {
  return JSON.stringify((text ?? '').slice(0, 100));
}

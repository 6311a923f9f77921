/** The login of a machine: a platform's token, exchanged once for a token of the relay, which later commands of the same job find again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RelayInfo } from '../api/api.ts';
import { TokenAnswer, type TokenExchange } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import { readCommitObject, type CommitPlace } from './commit-object.ts';
import { titleOf, type Platform } from './platform.ts';
import { fetchPlatformToken } from './platform-token.ts';
import { requestJson } from './relay-http.ts';
import type { RunFacts } from './run-facts.ts';
import type { KeptLogin, KeptLogins } from './kept-login.ts';
import { readTokenClaims } from './token-claims.ts';
import type { AccessTokens } from './token-source.ts';

/** The relay's own tokens begin so. */
const ownPrefix = 'gw_';
/** A token is handed out without asking for another if it lives at least this long. */
const freshMsMin = 60_000;

export type WorkloadLoginOptions = {
  readonly platform: Platform;
  readonly relay: string;
  readonly info: () => Promise<RelayInfo>;
  readonly run: RunFacts;
  /** Where the commit is looked for. */
  readonly checkout?: CommitPlace;
  /** Where a login is found again by the next command with the same token. */
  readonly kept?: KeptLogins;
};

type Issuer = NonNullable<RelayInfo['workloadIssuers']>[number];
type Login = KeptLogin;
/** `isFound`: an earlier command has left it. */
type Taken = Login & { readonly isFound?: true };
/** A platform's token, and the issuer that the relay trusts it for; without one it is itself what the relay takes. */
type Found = { readonly token: string; readonly issuer?: Issuer };

/** Asks for nothing before the first call; calls at the same time share one exchange. */
export function createWorkloadLogin(options: WorkloadLoginOptions): AccessTokens {
  const { platform } = options;
  let login: Login | undefined;
  let spent: string | undefined;
  let running: Promise<Login> | undefined;
  const logIn = async (why: string | undefined): Promise<Login> => {
    const found = await findToken(options);
    if (found.token === spent) throw usedUp(platform, why);
    const { isFound, ...made }: Taken = found.issuer === undefined ? asItIs(found.token) : await takeLogin(options, found.token, why !== undefined);
    // The relay may not know what another command has left: then the token is worth trying.
    if (isFound !== true) spent = found.token;
    return (login = made);
  };
  const logInOnce = (why?: string): Promise<Login> =>
    (running ??= logIn(why).finally(() => {
      running = undefined;
    }));

  return {
    async current() {
      const known = login;
      if (known === undefined) return (await logInOnce()).accessToken;
      const livesMs = known.expiresAtMs - Date.now();
      if (livesMs >= freshMsMin) return known.accessToken;
      try {
        return (await logInOnce('its login has ended')).accessToken;
      } catch (error) {
        if (livesMs > 0 && error instanceof GateError) return known.accessToken;
        throw error;
      }
    },
    async renew(rejected, refusal) {
      if (login !== undefined && login.accessToken !== rejected) return login.accessToken;
      try {
        return (await logInOnce(refusal?.message)).accessToken;
      } catch (error) {
        // A token that was given as it is has nothing behind it: the relay's own words are the news.
        if (spent === rejected && error instanceof GateError) return undefined;
        throw error;
      }
    },
  };
}

function asItIs(token: string): Login {
  return { accessToken: token, expiresAtMs: readTokenClaims(token)?.expiresAtMs ?? Number.POSITIVE_INFINITY };
}

async function findToken(options: WorkloadLoginOptions): Promise<Found> {
  const { platform, relay, info } = options;
  const isAnybodys = platform.name === 'token' || platform.name === 'token-file';
  if (isAnybodys) {
    const token = await fetchPlatformToken(platform, '');
    const claims = token.startsWith(ownPrefix) ? undefined : readTokenClaims(token);
    if (claims === undefined) return { token };
    const { issuer, workloadIssuers = [] } = await info();
    const known = workloadIssuers.find(({ url }) => url === claims.issuer);
    // People may log in at an issuer that machines have tokens of as well; the audience tells them apart.
    if (known === undefined || (known.url === issuer && !claims.audiences.includes(known.audience))) return { token };
    return { token, issuer: checkUse(platform, token, known) };
  }
  const { workloadIssuers = [] } = await info();
  const [first, ...others] = candidates(platform.name, workloadIssuers);
  if (first === undefined) {
    throw new GateError('login-required', `${relay} trusts no issuer of ${titleOf(platform.name)}`, {
      hint: `The policy needs one under issuers: with preset: ${platform.name}. Or log in: gate login.`,
    });
  }
  const token = await fetchPlatformToken(platform, first.audience);
  const issuer = readTokenClaims(token)?.issuer;
  const meant = [first, ...others].find(({ url }) => url === issuer);
  if (meant === undefined) {
    throw new GateError('login-required', `${relay} does not trust the issuer ${JSON.stringify(issuer ?? 'of a token that is no JWT')} of ${platform.source}`, {
      hint: `It trusts: ${[first, ...others].map(({ url }) => url).join(', ')}.`,
    });
  }
  if (meant.audience === first.audience) return { token, issuer: checkUse(platform, token, meant) };
  const second = await fetchPlatformToken(platform, meant.audience);
  return { token: second, issuer: checkUse(platform, second, meant) };
}

/** Those of the platform's preset, then those without any, as for a server of one's own. */
function candidates(name: string, issuers: readonly Issuer[]): readonly Issuer[] {
  return [...issuers.filter(({ preset }) => preset === name), ...issuers.filter(({ preset }) => preset === 'generic')];
}

/** What the relay would refuse is told here in the platform's own words, before the token is sent. */
function checkUse({ name, source }: Platform, token: string, issuer: Issuer): Issuer {
  const claims = readTokenClaims(token);
  if (claims === undefined) throw new GateError('login-required', `${source} holds no JWT`, { hint: 'Tokens of platforms are JWTs, in three parts with dots between them.' });
  if (!claims.audiences.includes(issuer.audience)) {
    throw new GateError('login-required', `the token of ${source} is for ${JSON.stringify(claims.audiences.join(', '))}, and the relay takes tokens for ${issuer.audience}`, {
      hint: name === 'circleci' ? 'CircleCI puts the id of the organization there: write it as the audience of the issuer in the policy.' : `Ask the platform for one with the audience ${issuer.audience}.`,
    });
  }
  return issuer;
}

/** How often, and how far apart, another command of the job that has just used the token is waited for. */
const otherAttempts = 6;
const otherMs = 250;

/** The login that an earlier command of this job has left, else a new one. `isOver`: what was left is known to be good for nothing. */
async function takeLogin(options: WorkloadLoginOptions, token: string, isOver: boolean): Promise<Taken> {
  const { kept, platform } = options;
  if (isOver) await kept?.drop(token);
  const known = await kept?.find(token);
  if (known !== undefined) return { ...known, isFound: true };
  const { expiresAtMs } = readTokenClaims(token) ?? {};
  if (expiresAtMs !== undefined && expiresAtMs <= Date.now()) {
    throw new GateError('login-required', `the token of ${platform.source} has expired`, { hint: 'Call gate nearer to the start of the job, or let the platform make tokens that live longer.' });
  }
  try {
    const made = await exchange(options, token);
    await kept?.keep(token, made);
    return made;
  } catch (error) {
    if (!(error instanceof GateError) || error.code !== 'login-failed' || kept === undefined) throw error;
    for (let attempt = 0; attempt < otherAttempts; attempt++) {
      const others = await kept.find(token);
      if (others !== undefined) return { ...others, isFound: true };
      await sleep(otherMs);
    }
    throw error;
  }
}

/** The token is used up by the request, whatever comes of it. */
async function exchange({ relay, run, checkout }: WorkloadLoginOptions, token: string): Promise<Login> {
  const commit = checkout && (await readCommitObject(checkout, run.commit));
  const body: TokenExchange = {
    token,
    ...(run.links.length > 0 && { links: [...run.links] }),
    ...(commit !== undefined && { commit: commit.toString('base64') }),
  };
  const answer = await requestJson({ relay, method: 'POST', path: '/v1/token', body }, TokenAnswer);
  return { accessToken: answer.accessToken, expiresAtMs: Date.parse(answer.expiresAt) };
}

function usedUp({ source, place }: Platform, why: string | undefined): GateError {
  const because = why === undefined ? '' : ` (${why})`;
  return new GateError('login-required', `the token of ${source} is used up, and there is no other${because}`, {
    hint: place.kind === 'file'
      ? 'Tokens count once: run gate again when the platform has put a new one there.'
      : 'Tokens count once, and the login that it gave is over. Let the policy give longer ones with session:, or begin another job.',
  });
}

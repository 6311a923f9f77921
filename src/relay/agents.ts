/** Programs that act for a person with the person's token: who they are then, and how little of the API is theirs. */
import type { Hono } from 'hono';
import { agentHeader } from '../api/workload-api.ts';
import { GateError } from '../errors/errors.ts';
import { humanBehind, type Principal } from '../principal/principal.ts';

/** `name/version`: characters that forge neither another header nor somebody else's name. */
const agentPattern = /^[A-Za-z0-9][\w.+-]{0,63}(?:\/[\w.+-]{1,32})?$/;

/** All that an agent may call. What is not here is for people: to vote, revoke, kill, read the record, administer. */
const agentRoutes: readonly { readonly method: string; readonly path: RegExp }[] = [
  { method: 'POST', path: /^\/v1\/token$/ },
  { method: 'GET', path: /^\/v1\/(?:whoami|targets|grants|requests)$/ },
  { method: 'POST', path: /^\/v1\/(?:grants|requests|sessions|policy\/explain)$/ },
  { method: 'GET', path: /^\/v1\/requests\/[^/]+(?:\/wait)?$/ },
  { method: 'POST', path: /^\/v1\/requests\/[^/]+\/cancel$/ },
  { method: 'POST', path: /^\/v1\/sessions\/[^/]+\/end$/ },
];

/** Before any route: what is not listed fails with `denied` for whoever says that it is an agent. */
export function limitAgents(app: Hono): void {
  app.use('*', async (context, next) => {
    const { method, path } = context.req;
    if (context.req.header(agentHeader) === undefined || !path.startsWith('/v1/')) return next();
    if (agentRoutes.some((route) => route.method === method && route.path.test(path))) return next();
    throw new GateError('denied', `${method} ${path.slice(0, 200)} is for people, and this is an agent`, {
      rule: 'agents',
      hint: 'Agents ask for grants and run statements. The person whose login this is can do the rest with gate.',
    });
  });
}

/** Of an HTTP header as Node gives it. */
export function agentOf(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === 'string' || header === undefined ? header : header.join(',');
}

/**
 * The person as an agent: the same issuer, subject and groups, and never more rights. Anybody may say to be an agent, so
 * the link is claimed; who stands behind it is as sure as before. Fails with `usage` for a malformed name.
 */
export function asAgent(principal: Principal, agent: string): Principal {
  if (!agentPattern.test(agent)) {
    throw new GateError('usage', 'the header Gate-Agent must be a name, or name/version, of letters, digits and . _ + -');
  }
  const person = humanBehind(principal);
  const chain = principal.chain ?? (person === undefined ? [] : [person]);
  return {
    ...principal,
    kind: 'agent',
    name: agent.split('/', 1)[0] as string,
    chain: [{ kind: 'agent', value: agent, strength: 'claimed', source: 'client' }, ...chain],
  };
}

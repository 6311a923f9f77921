/** The part of oidc-provider's interface that the demo uses (the package has no types), loaded without its prints. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { GateError } from '../errors/errors.ts';
import { loadPeer, PEERS_INSTALL } from './peers.ts';

export type OidcContext = {
  body: unknown;
  set(headers: Readonly<Record<string, string>>): void;
  readonly status: number;
  readonly oidc: {
    readonly route: string;
    readonly result?: { login?: unknown; consent?: { grantId?: string } };
  };
};

export type OidcProvider = {
  silent: boolean;
  readonly Grant: {
    new (init: { accountId: string | undefined; clientId: string }): {
      addOIDCScope(scope: string): void;
      save(): Promise<string>;
    };
    find(id: string): Promise<unknown>;
  };
  use(middleware: (ctx: OidcContext, next: () => Promise<void>) => Promise<void>): void;
  callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  interactionDetails(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<{
    readonly prompt: { readonly name: string };
    readonly params: { readonly client_id: string; readonly scope?: string };
    readonly session?: { readonly accountId?: string };
  }>;
  interactionFinished(
    request: IncomingMessage,
    response: ServerResponse,
    result: object,
    options: { mergeWithLastSubmission: boolean },
  ): Promise<void>;
};

type Prompts = { get(name: string): { checks: { add(check: unknown): void } } };

export type OidcLibrary = {
  readonly Provider: new (issuer: string, configuration: object) => OidcProvider;
  readonly interactionPolicy: {
    readonly base: () => Prompts;
    readonly Check: {
      new (reason: string, description: string, check: (ctx: OidcContext) => boolean): unknown;
      readonly REQUEST_PROMPT: boolean;
      readonly NO_NEED_TO_PROMPT: boolean;
    };
  };
};

/** Fails with `usage` when the package is not installed. */
export async function loadOidcLibrary(): Promise<OidcLibrary> {
  muteNotices();
  // The name is kept from the compiler, which would ask for the types that do not exist.
  const name: string = 'oidc-provider';
  const library: unknown = await loadPeer(name, () => import(name));
  if (isOidcLibrary(library)) return library;
  throw new GateError('usage', `The installed ${name} is not a version that gate dev knows.`, {
    hint: `Run: ${PEERS_INSTALL}`,
  });
}

function isOidcLibrary(value: unknown): value is OidcLibrary {
  return typeof value === 'object' && value !== null && 'Provider' in value && 'interactionPolicy' in value;
}

let isMuted = false;

/** Its notices go to the global console at import and at run time; only lines that carry its name are dropped. */
function muteNotices(): void {
  if (isMuted) return;
  isMuted = true;
  const { console: outlet } = globalThis;
  for (const level of ['info', 'warn'] as const) {
    const print = outlet[level].bind(outlet);
    outlet[level] = (...words: unknown[]) => {
      if (!String(words[0]).includes('oidc-provider ')) print(...words);
    };
  }
}
